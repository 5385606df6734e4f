"""Substitutions: while the ID model learns, items of its histories give way to others that the LLM names (llm2id).

Augmentation by correlated items (CoSeRec, arXiv 2108.06479), with the language model in the place of a learned
correlation: it names items whose text is near, or those that it ranks high where the item was chosen. What is asked for
stays: only inputs are replaced, so that a rare item takes part in the contexts of those it can stand for. Short
histories, of which there is least to learn from, may be the only ones.
"""

from collections.abc import Collection
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from bridges.errors import BridgeError, nearest
from bridges.protocols import Bridge, Direction, Kind, Place, Side
from bridges.sharing import ExchangeStore
from bridges.substitutes import RankedSubstitutes, Substitutes, TextSubstitutes

Source = Literal["text", "ranking"]


class Substitutions(Bridge):
    """Replaces each input that has substitutes with probability ``share`` by one of them, drawn by their shares.

    ``source``: which they are, see `bridges.substitutes`. ``longest``: in rows of at most so many inputs (a history
    that is longer than a row has one that holds its rest); 0: in all. Has no parameters. Raises BridgeError for
    settings out of range.
    """

    name: ClassVar[str] = "substitution"
    direction: ClassVar[Direction] = "llm2id"
    place: ClassVar[Place] = "data"

    def __init__(
        self,
        store: ExchangeStore,
        n_items: int,
        llm_width: int,
        source: Source,
        share: float,
        longest: int,
        neighbours: int,
        temperature: float,
        components: int,
    ) -> None:
        if source not in get_args(Source):
            raise BridgeError(f"substitution: unknown source {source!r}{nearest(source, get_args(Source))}")
        if not 0 <= share <= 1 or longest < 0:
            raise BridgeError(f"substitution: share {share} must be 0 to 1, longest {longest} not negative")
        super().__init__()
        self._store, self.share, self.longest = store, share, longest
        self.near: Substitutes = (
            TextSubstitutes(n_items, llm_width, neighbours, temperature, components)
            if source == "text"
            else RankedSubstitutes(neighbours, temperature)
        )

    def reads(self, directions: Collection[Direction]) -> set[tuple[Side, Kind]]:
        """See `Bridge`."""
        return set(self.near.tables) if self.share and self.direction in directions else set()

    def refresh(self) -> None:
        """Find the substitutes again from what the LLM has written."""
        if self.share:
            self.near.refresh(self._store)

    def histories(self, items: Tensor, targets: Tensor, rows: Tensor) -> Tensor:
        """[B, L] inputs, of which some are replaced; drawn by torch's CPU generator, whose state a checkpoint holds."""
        if not self.share or not self.near.ready:
            return items
        chosen = (torch.rand(items.shape) < self.share).to(items.device)
        chosen &= self.near.known(items, rows)
        if self.longest:
            chosen &= ((items > 0).sum(dim=1) <= self.longest)[:, None]
        if not chosen.any():
            return items
        replaced = items.clone()
        replaced[chosen] = _drawn(items[chosen], *self.near.of(chosen, items, targets, rows))
        return replaced


def _drawn(items: Tensor, ids: Tensor, shares: Tensor) -> Tensor:
    """One of ``ids`` [S, K] for each of ``items`` [S], drawn by ``shares`` [S, K]; the item itself if all are 0."""
    places = torch.rand(len(items), 1).to(items.device)
    sums = shares.cumsum(dim=1)
    which = (sums < places * sums[:, -1:]).sum(dim=1, keepdim=True)
    return torch.where(sums[:, -1] > 0, ids.gather(1, which).flatten(), items)
