"""Neighbours by text: the right ones, shares that sum to one, axes that stay."""

from collections.abc import Callable

import pytest
import torch
from torch.nn import functional as F

from bridges.errors import BridgeError
from bridges.sharing import ExchangeStore
from bridges.text_neighbours import TextNeighbours, nearest_items

N_ITEMS, LLM_WIDTH = 30, 48


def test_items_of_one_kind_are_each_others_neighbours(store: ExchangeStore, put: Callable[..., None]) -> None:
    kinds = torch.arange(N_ITEMS) % 5
    put(store, "llm", "text", F.one_hot(kinds, LLM_WIDTH).float() * 10 + 0.01 * torch.randn(N_ITEMS, LLM_WIDTH))
    near = TextNeighbours(N_ITEMS, LLM_WIDTH, neighbours=3, temperature=0.05, components=4)
    near.refresh(store)
    assert (kinds[near.ids[1:]] == kinds[1:, None]).all()
    assert (near.ids[1:] != torch.arange(1, N_ITEMS)[:, None]).all()
    assert (near.ids[1:] > 0).all()
    assert near.shares.sum(dim=1).tolist() == pytest.approx([0.0] + [1.0] * (N_ITEMS - 1))


def test_neighbours_equal_a_sort_of_all_cosines() -> None:
    unit = F.normalize(torch.randn(12, 6, dtype=torch.float64), dim=1)
    cosines, ids = nearest_items(unit, 3)
    for item in range(1, 12):
        wanted = sorted(((unit[item] @ unit[other]).item(), other) for other in range(1, 12) if other != item)[:-4:-1]
        assert ids[item].tolist() == [other for _, other in wanted]
        assert cosines[item].tolist() == pytest.approx([cosine for cosine, _ in wanted])


def test_axes_stay_when_the_llm_encodes_again(full_store: ExchangeStore, put: Callable[..., None]) -> None:
    near = TextNeighbours(N_ITEMS, LLM_WIDTH, neighbours=4, temperature=0.1, components=16)
    near.refresh(full_store)
    basis, ids = near.whitening.basis.clone(), near.ids.clone()
    put(full_store, "llm", "text", torch.randn(N_ITEMS, LLM_WIDTH), step=2)
    near.refresh(full_store)
    assert torch.equal(near.whitening.basis, basis)
    assert not torch.equal(near.ids, ids)


def test_items_without_text_have_no_neighbours_and_are_none(store: ExchangeStore, put: Callable[..., None]) -> None:
    vectors = torch.randn(N_ITEMS, LLM_WIDTH)
    silent = torch.arange(N_ITEMS) % 2 == 1
    vectors[silent] = vectors[~silent][1:].mean(dim=0)  # what an item without text gets; row 0 is padding
    put(store, "llm", "text", vectors)
    near = TextNeighbours(N_ITEMS, LLM_WIDTH, neighbours=4, temperature=0.1, components=16)
    near.refresh(store)
    assert not near.shares[silent].any()
    assert near.shares[~silent][1:].sum(dim=1).tolist() == pytest.approx([1.0] * (N_ITEMS // 2 - 1))
    assert not silent[near.ids[~silent][1:]].any()


def test_items_without_text_stay_nobodys_neighbours_when_the_llm_encodes_again(
    store: ExchangeStore, put: Callable[..., None]
) -> None:
    silent = torch.arange(N_ITEMS) % 10 == 0  # padding and two items
    near = TextNeighbours(N_ITEMS, LLM_WIDTH, neighbours=4, temperature=0.1, components=16)
    first = torch.randn(N_ITEMS, LLM_WIDTH)
    for step, vectors in enumerate((first, first + 0.5 * torch.randn(N_ITEMS, LLM_WIDTH)), start=1):
        vectors[silent] = vectors[~silent].mean(dim=0)
        put(store, "llm", "text", vectors, step=step)
        near.refresh(store)
        assert not near.shares[silent].any()
        assert not silent[near.ids[~silent]].any()


def test_texts_that_are_all_the_same_make_no_neighbours(store: ExchangeStore, put: Callable[..., None]) -> None:
    put(store, "llm", "text", torch.ones(N_ITEMS, LLM_WIDTH))
    near = TextNeighbours(N_ITEMS, LLM_WIDTH, neighbours=4, temperature=0.1, components=16)
    near.refresh(store)
    assert not near.shares.any()


def test_the_search_is_not_repeated_until_texts_are_written_or_other_weights_loaded(
    full_store: ExchangeStore, put: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    searches = []

    def counted(unit: torch.Tensor, count: int, told: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        searches.append(count)
        return nearest_items(unit, count, told)

    monkeypatch.setattr("bridges.text_neighbours.nearest_items", counted)
    near = TextNeighbours(N_ITEMS, LLM_WIDTH, neighbours=4, temperature=0.1, components=16)
    for _ in range(2):
        near.refresh(full_store)
    assert len(searches) == 1
    put(full_store, "llm", "text", torch.randn(N_ITEMS, LLM_WIDTH), step=2)
    near.refresh(full_store)
    assert len(searches) == 2
    near.load_state_dict({**near.state_dict(), "ids": torch.zeros_like(near.ids)})
    near.refresh(full_store)
    assert len(searches) == 3
    assert near.ids.any()


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(BridgeError, match=r"neighbours 3 and temperature 0 must be positive"):
        TextNeighbours(N_ITEMS, LLM_WIDTH, neighbours=3, temperature=0, components=4)
