"""Which of a long history's items the LLM reads: those that the ID model's state attends to (id2llm).

The LLM reads a few dozen items, the ID model hundreds. Beside the newest ones, which it learns to predict from, the LLM
then reads those of the older ones that matter most now by the ID model: the state before the prompt's first target is
the query, the item vectors are the keys, and the inner product says how much is attended to, as in the search of SIM
(arXiv 2006.05639).
"""

from collections.abc import Collection
from typing import ClassVar

import torch
from torch import Tensor

from bridges.protocols import Bridge, Direction, Kind, Place, Side
from bridges.sharing import ExchangeStore


class AttendedHistory(Bridge):
    """Ranks the older items of a prompt's history by the store's ID states and item table. Has no parameters."""

    name: ClassVar[str] = "attended_history"
    direction: ClassVar[Direction] = "id2llm"
    place: ClassVar[Place] = "data"
    needs_id_states: ClassVar[bool] = True

    def __init__(self, store: ExchangeStore) -> None:
        super().__init__()
        self._store = store

    def reads(self, directions: Collection[Direction]) -> set[tuple[Side, Kind]]:
        """See `Bridge`."""
        return {("id", "item"), ("id", "user")}

    @torch.no_grad()
    def attention(self, rows: Tensor, items: Tensor) -> Tensor | None:
        """How much the user of store row [B] attends to each of the items [B, L]: [B, L], on the CPU.

        NaN where no state of the row was written; None where there is none at all.
        """
        if not (self._store.has("id", "user") and self._store.has("id", "item")):
            return None
        known = self._store.written("id", "user", rows)
        found = torch.full(items.shape, torch.nan)
        states, table = self._store.read("id", "user", rows[known]).float(), self._store.read("id", "item").float()
        with torch.autocast("cpu", enabled=False):
            for row, state in zip(known.nonzero().flatten().tolist(), states, strict=True):
                found[row] = table[items[row]] @ state
        return found
