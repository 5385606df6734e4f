"""Collaborative features: what the LLM's item vectors get of the ID model's table."""

import pytest
import torch

from bridges.collaborative import CollaborativeFeatures
from bridges.errors import BridgeError


def test_a_known_table_gives_known_features(store, put) -> None:
    bridge = CollaborativeFeatures(store, n_items=30, id_width=2, score_width=2)
    bridge.refresh()
    assert bridge.scored_items() is None  # the ID model has written nothing
    table = torch.zeros(30, 2)
    table[3], table[4] = torch.tensor([1.0, 5.0]), torch.tensor([-2.0, -6.0])
    put(store, "id", "item", table)
    bridge.refresh()
    bridge.projection.weight.data = torch.tensor([[1.0, 0.0], [2.0, 1.0]])
    features = bridge.scored_items()
    # Layer norm makes (1, 5) to (-1, 1) and (-2, -6) to (1, -1), whatever their size.
    torch.testing.assert_close(features[3], torch.tensor([-1.0, -1.0]), atol=1e-4, rtol=0)
    torch.testing.assert_close(features[4], torch.tensor([1.0, 1.0]), atol=1e-4, rtol=0)
    assert not features[0].any()


def test_the_id_model_gets_no_gradient(full_store) -> None:
    bridge = CollaborativeFeatures(full_store, n_items=30, id_width=16, score_width=12)
    bridge.refresh()
    bridge.scored_items().sum().backward()
    assert bridge.projection.weight.grad is not None
    assert not bridge.table.requires_grad


def test_a_table_of_another_width_is_refused(full_store) -> None:
    bridge = CollaborativeFeatures(full_store, n_items=30, id_width=8, score_width=12)
    with pytest.raises(BridgeError, match=r"id/item is \[30, 16\], expected \[30, 8\]"):
        bridge.refresh()
