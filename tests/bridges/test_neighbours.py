"""Shared offsets: a step of propagation over the graph of texts, with gradient."""

import pytest
import torch
from torch import nn

from bridges.errors import BridgeError
from bridges.neighbours import SharedOffsets

SETTINGS = {
    "popularity": lambda: torch.arange(30),
    "rarity": 0.0,
    "n_items": 30,
    "llm_width": 48,
    "neighbours": 4,
    "temperature": 0.1,
    "components": 16,
}


def test_features_are_the_graph_times_the_own_vectors(full_store) -> None:
    own = nn.Parameter(torch.randn(30, 6))
    bridge = SharedOffsets(full_store, lambda: own, weight=0.5, **SETTINGS)
    assert bridge.item_features() is None  # no neighbours yet
    bridge.refresh()
    graph = torch.zeros(30, 30).scatter_(1, bridge.near.ids, bridge.near.shares)
    assert not graph.diagonal().any()
    features = bridge.item_features()
    torch.testing.assert_close(features, 0.5 * graph @ own)
    assert not features[0].any()
    features[7].sum().backward()  # what item 7 learns, its neighbours learn, by their shares
    torch.testing.assert_close(own.grad, 0.5 * graph[7][:, None].expand(30, 6))


def test_frequent_items_keep_to_themselves(full_store) -> None:
    own = torch.randn(30, 6)
    all_of_it, rare = (
        SharedOffsets(full_store, lambda: own, weight=0.5, **{**SETTINGS, "rarity": rarity}) for rarity in (0.0, 10.0)
    )
    for bridge in (all_of_it, rare):
        bridge.refresh()
    shares = 10 / (10 + torch.arange(30))
    torch.testing.assert_close(rare.item_features(), all_of_it.item_features() * shares[:, None])


def test_a_negative_weight_is_refused(store) -> None:
    with pytest.raises(BridgeError, match=r"neighbours: weight -1 and rarity 0.0 must not be negative"):
        SharedOffsets(store, lambda: torch.zeros(30, 6), weight=-1, **SETTINGS)
