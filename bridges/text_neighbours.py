"""Which items are near which by their texts: the graph that knowledge of the LLM spreads along.

Letters: N items (row 0 is padding), H LLM width, C whitened components, K neighbours.
"""

from collections.abc import Collection

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bridges.errors import BridgeError
from bridges.protocols import Bridge, Direction, Kind, Side
from bridges.sharing import ExchangeStore
from bridges.whitening import KeptWhitening

CHUNK_ELEMENTS = 2**24
NOTHING = 1e-3
"""Whitened vectors have lengths of about sqrt(C); a shorter one is the mean of all: no text is known."""


class TextNeighbours(nn.Module):
    """The K nearest other items of each item, and a softmax over their cosines / temperature.

    Cosines are those of the LLM's whitened text vectors; the axes are fitted to the first vectors and kept. Raises
    BridgeError for settings out of range.
    """

    ids: Tensor
    """[N, K]; meaningless until `ready`."""
    shares: Tensor
    """[N, K] sums to one over K; zero for row 0 and for items without text, which are nobody's neighbours either."""

    def __init__(self, n_items: int, llm_width: int, neighbours: int, temperature: float, components: int) -> None:
        super().__init__()
        if neighbours < 1 or temperature <= 0:
            raise BridgeError(f"neighbours {neighbours} and temperature {temperature} must be positive")
        self.temperature = temperature
        self.ready = False
        self._seen = 0
        self.whitening = KeptWhitening(n_items, llm_width, components)
        count = min(neighbours, n_items - 2)
        self.register_buffer("ids", torch.zeros(n_items, count, dtype=torch.long))
        self.register_buffer("shares", torch.zeros(n_items, count))
        self.register_load_state_dict_post_hook(_forget_seen)

    @torch.no_grad()
    def refresh(self, store: ExchangeStore) -> None:
        """Find the neighbours again where the store has text vectors that were written since the last time."""
        if self._seen == (newest := store.writes("llm", "text")):
            return
        self._seen = newest
        raw = store.read("llm", "text")
        vectors = self.whitening(raw)
        # Without text an item has the vector of padding, row 0: the mean of the others, which the axes, once they are
        # older than the vectors, do not map to zero.
        told = (vectors.norm(dim=1) > NOTHING) & (raw != raw[0]).any(dim=1)
        cosines, ids = nearest_items(F.normalize(vectors, dim=1), self.ids.shape[1], told)
        self.ids.copy_(ids)
        self.shares.copy_((cosines / self.temperature).softmax(dim=1).nan_to_num(0.0))
        self.shares[~told] = 0
        self.ready = True

    def mean_of(self, table: Tensor) -> Tensor:
        """Weighted mean of every item's neighbours' rows of ``table`` [N, P], [N, P]."""
        return F.embedding_bag(self.ids, table, per_sample_weights=self.shares.to(table.dtype), mode="sum")


def _forget_seen(module: nn.Module, _: object) -> None:
    # Loaded neighbours may be those of older vectors than the store's.
    assert isinstance(module, TextNeighbours)
    module._seen = 0


class TextGraphBridge(Bridge):
    """A bridge over the graph of texts, whose part is weighed; with weight 0 it reads nothing."""

    def __init__(self, store: ExchangeStore, weight: float, near: TextNeighbours) -> None:
        super().__init__()
        self._store, self.weight, self.near = store, weight, near

    def reads(self, directions: Collection[Direction]) -> set[tuple[Side, Kind]]:
        """See `Bridge`."""
        return {("llm", "text")} if self.weight else set()

    def refresh(self) -> None:
        """Find the neighbours again from the store's text vectors."""
        if self.weight:
            self.near.refresh(self._store)


def nearest_items(unit: Tensor, count: int, told: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The ``count`` nearest other items of each row of ``unit`` [N, C], by cosine: (cosines, ids), each [N, count].

    Neither row 0 nor one that is not ``told`` [N] is a neighbour; where too few are left, the cosine is -inf.
    """
    left_out = torch.zeros(len(unit), dtype=torch.bool, device=unit.device) if told is None else ~told
    left_out[0] = True
    cosines, ids = [], []
    for first in range(0, len(unit), step := max(1, CHUNK_ELEMENTS // len(unit))):
        scores = unit[first : first + step] @ unit.T
        own = torch.arange(len(scores), device=unit.device)
        scores[own, first + own] = -torch.inf
        scores[:, left_out] = -torch.inf
        best = scores.topk(count, dim=1)
        cosines.append(best.values)
        ids.append(best.indices)
    return torch.cat(cosines), torch.cat(ids)
