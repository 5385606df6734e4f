"""Smoothed targets: equal to a cross-entropy with the smoothed distribution, over the right neighbours."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from bridges.errors import BridgeError
from bridges.protocols import ScoredBatch
from bridges.sharing import ExchangeStore
from bridges.smoothing import SmoothedTargets

N_ITEMS, LLM_WIDTH = 30, 48


def _bridge(store: ExchangeStore, weight: float = 0.3, neighbours: int = 4) -> SmoothedTargets:
    return SmoothedTargets(store, N_ITEMS, LLM_WIDTH, weight, neighbours, temperature=0.1, components=16)


def _batch() -> ScoredBatch:
    states, table = torch.randn(7, 5, requires_grad=True), torch.randn(N_ITEMS, 5, requires_grad=True)
    return ScoredBatch(states, table, torch.randint(1, N_ITEMS, (7,)), torch.arange(7))


def _smoothed(bridge: SmoothedTargets, targets: Tensor) -> Tensor:
    """The target distribution written out, [M, N]."""
    wanted = (1 - bridge.weight) * F.one_hot(targets, N_ITEMS).float()
    for row, target in enumerate(targets.tolist()):
        for item, share in zip(bridge.near.ids[target].tolist(), bridge.near.shares[target].tolist(), strict=True):
            wanted[row, item] += bridge.weight * share
    return wanted


def test_hard_loss_and_bridge_are_the_smoothed_loss(full_store: ExchangeStore) -> None:
    bridge, batch = _bridge(full_store), _batch()
    bridge.refresh()
    logits = batch.states @ batch.item_matrix.T
    added = bridge.loss("id", batch)
    assert added is not None
    ours = F.cross_entropy(logits, batch.targets) + added
    wanted = F.cross_entropy(logits, _smoothed(bridge, batch.targets))
    assert ours.item() == pytest.approx(wanted.item(), abs=1e-5)
    for a, b in zip(
        torch.autograd.grad(ours, (batch.states, batch.item_matrix), retain_graph=True),
        torch.autograd.grad(wanted, (batch.states, batch.item_matrix)),
        strict=True,
    ):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_nothing_before_the_llm_has_written_and_nothing_for_the_llm(
    store: ExchangeStore, full_store: ExchangeStore
) -> None:
    bridge = _bridge(full_store)
    assert bridge.loss("id", _batch()) is None
    bridge.refresh()
    assert bridge.loss("llm", _batch()) is None


def test_settings_out_of_range_are_refused(store: ExchangeStore) -> None:
    with pytest.raises(BridgeError, match=r"weight 1\.5 must be 0 to 1"):
        _bridge(store, weight=1.5)


def test_a_target_without_text_stays_hard(full_store: ExchangeStore) -> None:
    bridge, batch = _bridge(full_store), _batch()
    bridge.refresh()
    bridge.near.shares[batch.targets[:3]] = 0
    known = ~torch.isin(batch.targets, batch.targets[:3])
    rest = ScoredBatch(batch.states[known], batch.item_matrix, batch.targets[known], batch.rows[known])
    added, theirs = bridge.loss("id", batch), bridge.loss("id", rest)
    assert added is not None
    assert theirs is not None
    assert added.item() == pytest.approx(theirs.item() * int(known.sum()) / len(known), rel=1e-5)
    assert not torch.autograd.grad(added, batch.states)[0][:3].any()
