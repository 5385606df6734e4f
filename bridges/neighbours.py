"""Shared offsets: in the ID item table an item has a part in what its nearest by text have learned (llm2id).

``e_i = b_i + w_i sum_j p(j | i) b_j``, with b the ID model's own item vectors and p as in `bridges.smoothing`: one step
of propagation over the graph of texts, as LightGCN (arXiv 2002.02126) takes over that of interactions. What is learned
of j so moves its neighbours too, which helps rare items most. At export the sum is the table: serving costs the same.
"""

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from bridges.errors import BridgeError
from bridges.protocols import Direction, Place
from bridges.sharing import ExchangeStore
from bridges.text_neighbours import TextGraphBridge, TextNeighbours


class SharedOffsets(TextGraphBridge):
    """Adds w A b [N, D] to the item table b; has no parameters, its gradient reaches b.

    ``rarity`` k: w of an item with n train interactions is ``weight k / (k + n)``; 0: ``weight``. ``popularity`` gives
    n of every item [N], once known.

    Raises BridgeError for settings out of range.
    """

    name: ClassVar[str] = "neighbours"
    direction: ClassVar[Direction] = "llm2id"
    place: ClassVar[Place] = "features"

    def __init__(
        self,
        store: ExchangeStore,
        own_items: Callable[[], Tensor],
        n_items: int,
        llm_width: int,
        popularity: Callable[[], Tensor | None],
        weight: float,
        rarity: float,
        neighbours: int,
        temperature: float,
        components: int,
    ) -> None:
        if weight < 0 or rarity < 0:
            raise BridgeError(f"neighbours: weight {weight} and rarity {rarity} must not be negative")
        super().__init__(store, weight, TextNeighbours(n_items, llm_width, neighbours, temperature, components))
        self._own_items, self._popularity, self.rarity = own_items, popularity, rarity

    def item_features(self) -> Tensor | None:
        """w A b [N, D], row 0 zero; None without neighbours."""
        if not self.near.ready:
            return None
        own = self._own_items()
        with torch.autocast(own.device.type, enabled=False):
            return self._weights() * self.near.mean_of(own)

    def _weights(self) -> Tensor | float:
        """w of every item [N, 1], or of all."""
        counts = self._popularity()
        if not self.rarity or counts is None:
            return self.weight
        return self.weight * (self.rarity / (self.rarity + counts)).unsqueeze(1)
