"""Collaborative features: what the ID model knows of an item enters the LLM's item vectors (id2llm).

The mirror of `bridges.knowledge`: an item is scored by ``W z_i + V n(e_i)``, with z_i the vector of its text, e_i its
row of the ID model's item table as the exchange store has it, and n a layer norm. As CoLLM (arXiv 2310.19488) gives an
LLM collaborative vectors to read, this gives it such vectors to answer with.
"""

from collections.abc import Collection
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bridges.errors import BridgeError
from bridges.protocols import Bridge, Direction, Kind, Place, Side
from bridges.sharing import ExchangeStore


class CollaborativeFeatures(Bridge):
    """Adds V n(e) [N, P] to the LLM's item vectors once the ID model's item table is in the store.

    Raises BridgeError where that table is not ``id_width`` wide.
    """

    name: ClassVar[str] = "collaborative"
    direction: ClassVar[Direction] = "id2llm"
    place: ClassVar[Place] = "features"
    needs_id_states: ClassVar[bool] = True

    def __init__(self, store: ExchangeStore, n_items: int, id_width: int, score_width: int) -> None:
        super().__init__()
        self._store = store
        self._known = False
        self.projection = nn.Linear(id_width, score_width, bias=False)
        self.register_buffer("table", torch.zeros(n_items, id_width), persistent=False)  # the store has it
        self.table: Tensor

    def reads(self, directions: Collection[Direction]) -> set[tuple[Side, Kind]]:
        """See `Bridge`."""
        return {("id", "item")}

    def scored_items(self) -> Tensor | None:
        """V n(e) [N, P], row 0 zero; None until the ID model has written its table."""
        return self.projection(self.table) if self._known else None

    @torch.no_grad()
    def refresh(self) -> None:
        """Read the table again."""
        if not self._store.has("id", "item"):
            return
        table = self._store.read("id", "item").to(self.table.device)
        if table.shape != self.table.shape:
            raise BridgeError(f"collaborative: id/item is {list(table.shape)}, expected {list(self.table.shape)}")
        self.table.copy_(F.layer_norm(table, table.shape[-1:]))
        self.table[0] = 0
        self._known = True
