"""Substitutions: while the ID model learns, items of its histories give way to items whose text is near (llm2id).

Augmentation by correlated items (CoSeRec, arXiv 2108.06479), with the language model's similarity in the place of a
learned one. What is asked for stays: only inputs are replaced, so that a rare item takes part in its neighbours'
contexts. Short histories, of which there is least to learn from, may be the only ones.
"""

from typing import ClassVar

import torch
from torch import Tensor

from bridges.errors import BridgeError
from bridges.protocols import Direction, Place
from bridges.sharing import ExchangeStore
from bridges.text_neighbours import TextGraphBridge, TextNeighbours


class Substitutions(TextGraphBridge):
    """Replaces each input with probability ``share`` by a neighbour, drawn by p(j | i) as in `bridges.smoothing`.

    ``longest``: in rows of at most so many inputs (a history that is longer than a row has one that holds its rest);
    0: in all. Has no parameters. Raises BridgeError for settings out of range.
    """

    name: ClassVar[str] = "substitution"
    direction: ClassVar[Direction] = "llm2id"
    place: ClassVar[Place] = "data"

    def __init__(
        self,
        store: ExchangeStore,
        n_items: int,
        llm_width: int,
        share: float,
        longest: int,
        neighbours: int,
        temperature: float,
        components: int,
    ) -> None:
        if not 0 <= share <= 1 or longest < 0:
            raise BridgeError(f"substitution: share {share} must be 0 to 1, longest {longest} not negative")
        super().__init__(store, share, TextNeighbours(n_items, llm_width, neighbours, temperature, components))
        self.longest = longest

    def histories(self, items: Tensor) -> Tensor:
        """[B, L] inputs, of which some are replaced; drawn by torch's CPU generator, whose state a checkpoint holds."""
        if not self.near.ready or not self.weight:
            return items
        chosen = (torch.rand(items.shape) < self.weight).to(items.device)
        chosen &= self.near.shares[items].any(dim=-1)  # neither padding nor items without text have neighbours
        if self.longest:
            chosen &= ((items > 0).sum(dim=1) <= self.longest)[:, None]
        replaced = items.clone()
        replaced[chosen] = self._drawn(items[chosen])
        return replaced

    def _drawn(self, items: Tensor) -> Tensor:
        """A neighbour of each of [S] items, [S]."""
        places = torch.rand(len(items), 1).to(items.device)
        sums = self.near.shares[items].cumsum(dim=1)  # [S, K]
        which = (sums < places * sums[:, -1:]).sum(dim=1, keepdim=True)
        return self.near.ids[items].gather(1, which).flatten()
