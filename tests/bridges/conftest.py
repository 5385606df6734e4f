"""Stores, prompts and settings that the tests of the bridges share."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from bridges.protocols import PromptContext, Side
from bridges.sharing import ExchangeStore, Kind

MAP = "item-map"
N_ITEMS, N_ROWS, ID_WIDTH, LLM_WIDTH, LLM_SPACE = 30, 50, 16, 48, 12


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def store() -> ExchangeStore:
    """An empty store."""
    return ExchangeStore(N_ITEMS, N_ROWS, MAP, momentum=0.5)


@pytest.fixture
def put() -> Callable[..., None]:
    """Write values into a store at a step; the item map is the store's own."""

    def write(
        store: ExchangeStore, side: Side, kind: Kind, values: Tensor, rows: list[int] | None = None, step: int = 1
    ) -> None:
        index = None if rows is None else torch.tensor(rows, dtype=torch.long)
        store.write(side, kind, values, step=step, fingerprint=store.fingerprint, index=index)

    return write


@pytest.fixture
def full_store(store: ExchangeStore, put: Callable[..., None]) -> ExchangeStore:
    """A store both sides have written to: all items, and the user states of rows 0 to 19."""
    put(store, "llm", "text", torch.randn(N_ITEMS, LLM_WIDTH))
    for side, width in (("id", ID_WIDTH), ("llm", LLM_SPACE)):
        put(store, side, "item", torch.randn(N_ITEMS, width))
        put(store, side, "user", torch.randn(20, width), list(range(20)))
    return store


@pytest.fixture
def context() -> PromptContext:
    """Three prompts with histories of 6, 2 and no items; the second user's state is unknown."""
    return PromptContext(
        id_states=torch.randn(3, 6, ID_WIDTH),
        id_mask=torch.arange(6) < torch.tensor([[6], [2], [0]]),
        user_rows=torch.tensor([3, -1, 19]),
        item_ids=torch.tensor([4, 5, 4, 29]),
    )
