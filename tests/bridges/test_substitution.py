"""Substitutions by text: the right share, the right neighbours, and nothing else than real inputs."""

import pytest
import torch
from torch import Tensor

from bridges.errors import BridgeError
from bridges.sharing import ExchangeStore
from bridges.substitution import Substitutions

N_ITEMS, LLM_WIDTH = 30, 48


def make(store: ExchangeStore, share: float, longest: int = 0, source: str = "text") -> Substitutions:
    settings = {"share": share, "longest": longest, "neighbours": 3, "temperature": 0.3, "components": 16}
    bridge = Substitutions(store, N_ITEMS, LLM_WIDTH, source, **settings)
    bridge.refresh()
    return bridge


def replaced(bridge: Substitutions, items: Tensor) -> Tensor:
    """Neighbours by text are the same for all users and whatever comes next."""
    return bridge.histories(items, torch.zeros_like(items), torch.full_like(items, -1))


def test_every_input_becomes_a_neighbour_by_its_share(full_store: ExchangeStore) -> None:
    bridge = make(full_store, 1.0)
    found = replaced(bridge, torch.full((40, 200), 7))
    near, shares = bridge.near.ids[7].tolist(), bridge.near.shares[7].tolist()
    assert set(found.unique().tolist()) == set(near)
    for item, share in zip(near, shares, strict=True):  # 8,000 draws: five standard errors are below 0.03
        assert (found == item).float().mean().item() == pytest.approx(share, abs=0.03)


def test_the_share_is_of_the_real_inputs(full_store: ExchangeStore) -> None:
    items = torch.randint(1, N_ITEMS, (50, 160))
    items[:, 100:] = 0
    found = replaced(make(full_store, 0.3), items)
    assert not found[:, 100:].any()
    assert (found != items)[:, :100].float().mean().item() == pytest.approx(0.3, abs=0.035)


def test_long_histories_stay_where_short_ones_alone_are_meant(full_store: ExchangeStore) -> None:
    items = torch.zeros(3, 6, dtype=torch.long)
    for row, length in enumerate((2, 3, 6)):
        items[row, :length] = torch.arange(1, length + 1)
    changed = replaced(make(full_store, 1.0, longest=3), items) != items
    assert changed.tolist() == [[True] * 2 + [False] * 4, [True] * 3 + [False] * 3, [False] * 6]


def test_items_without_text_stay(full_store: ExchangeStore) -> None:
    bridge = make(full_store, 1.0)
    bridge.near.shares[5] = 0
    assert (replaced(bridge, torch.tensor([[5, 6, 5]])) == torch.tensor([[5, 6, 5]])).tolist() == [[True, False, True]]


def test_nothing_happens_before_the_llm_has_written_or_with_share_0(full_store: ExchangeStore) -> None:
    items, empty = torch.randint(1, N_ITEMS, (5, 5)), ExchangeStore(N_ITEMS, 50, "map", 0.5)
    assert torch.equal(replaced(make(empty, 1.0), items), items)
    assert torch.equal(replaced(make(full_store, 0.0), items), items)


def test_the_given_histories_are_not_written_to(full_store: ExchangeStore) -> None:
    items = torch.randint(1, N_ITEMS, (5, 5))
    before = items.clone()
    replaced(make(full_store, 1.0), items)
    assert torch.equal(items, before)


def test_settings_out_of_range_are_refused(store: ExchangeStore) -> None:
    with pytest.raises(BridgeError, match=r"share 1\.5 must be 0 to 1, longest 0 not negative"):
        make(store, 1.5)
    with pytest.raises(BridgeError, match=r"share 0\.5 must be 0 to 1, longest -1 not negative"):
        make(store, 0.5, longest=-1)
    with pytest.raises(BridgeError, match=r"substitution: unknown source 'rankings'; did you mean 'ranking'\?"):
        make(store, 0.5, source="rankings")
