"""What may stand in the place of a history item: items whose text is near, or items that the LLM ranks high there.

Letters: B batch, L history length, S chosen places, K substitutes, N items (row 0 is padding), P width of the LLM's
score space.
"""

from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bridges.candidates import chunks
from bridges.errors import BridgeError
from bridges.protocols import Kind, Side
from bridges.sharing import ExchangeStore
from bridges.text_neighbours import TextNeighbours


class Substitutes(Protocol):
    """Proposes K items for a place of a history, each with its share of the draws."""

    tables: ClassVar[frozenset[tuple[Side, Kind]]]
    """What it reads of the exchange store."""

    @property
    def ready(self) -> bool:
        """Whether the LLM has written what it reads."""

    def refresh(self, store: ExchangeStore) -> None:
        """Read the store again."""

    def known(self, items: Tensor, rows: Tensor) -> Tensor:
        """Where a history has places that it can propose for, [B, L] bool; False at padding."""

    def of(self, chosen: Tensor, items: Tensor, targets: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Ids and shares, [S, K] each, for the S True entries of ``chosen`` [B, L]; all shares 0: there is none.

        ``items``, ``targets`` and ``rows`` [B, L] are those of `Bridge.histories`.
        """


class TextSubstitutes(TextNeighbours):
    """An item's neighbours by text, the same wherever the item stands."""

    tables: ClassVar[frozenset[tuple[Side, Kind]]] = frozenset({("llm", "text")})

    def known(self, items: Tensor, rows: Tensor) -> Tensor:
        """See `Substitutes`; items without text have no neighbours."""
        return self.shares[items].any(dim=-1)

    def of(self, chosen: Tensor, items: Tensor, targets: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """See `Substitutes`."""
        own = items[chosen]
        return self.ids[own], self.shares[own]


class RankedSubstitutes(nn.Module):
    """The first ``count`` items of the LLM's ranking for the user as of just before the item that they replace.

    None that the user has in that row, target included: a repeat is no substitute. Shares are a softmax over cosines /
    temperature of the user's state and the items, which are the LLM's own scores but for its temperature where it
    scores by cosine. Has no parameters. Raises BridgeError for settings out of range.
    """

    tables: ClassVar[frozenset[tuple[Side, Kind]]] = frozenset({("llm", "user"), ("llm", "item")})
    _store: ExchangeStore
    _items: Tensor

    def __init__(self, count: int, temperature: float) -> None:
        super().__init__()
        if count < 1 or temperature <= 0:
            raise BridgeError(f"neighbours {count} and temperature {temperature} must be positive")
        self.count, self.temperature = count, temperature
        self.ready = False

    def refresh(self, store: ExchangeStore) -> None:
        """Take the LLM's item matrix anew, once it has written both halves of its scores."""
        self.ready = all(store.has(side, kind) for side, kind in self.tables)
        if self.ready:
            self._store, self._items = store, store.read("llm", "item")

    def known(self, items: Tensor, rows: Tensor) -> Tensor:
        """See `Substitutes`; the first item of a row follows no state, others one that the LLM may not have written."""
        return self._store.written("llm", "user", _before(rows)) & (items > 0)

    @torch.no_grad()
    def of(self, chosen: Tensor, items: Tensor, targets: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """See `Substitutes`."""
        self._items = self._items.to(items.device)
        states = self._store.read("llm", "user", _before(rows)[chosen])  # [S, P]
        own = torch.cat([items, targets], dim=1)[chosen.nonzero()[:, 0]]  # [S, 2 L]
        parts = [self._best(states[part], own[part]) for part in chunks(len(states), len(self._items))]
        ids, cosines = (torch.cat(found) for found in zip(*parts, strict=True))
        return ids, (cosines / self.temperature).softmax(dim=1).nan_to_num(0.0)

    def _best(self, states: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
        """Ids and cosines of the best items that are not the user's ``own``; -inf where too few are left."""
        with torch.autocast(states.device.type, enabled=False):
            scores = states @ self._items.T
        scores[:, 0] = -torch.inf
        best = scores.scatter_(1, own, -torch.inf).topk(min(self.count, len(self._items) - 1), dim=1)
        lengths = states.norm(dim=1, keepdim=True) * self._items.norm(dim=1)[best.indices]
        return best.indices, best.values / lengths.clamp_min(torch.finfo(lengths.dtype).tiny)


def _before(rows: Tensor) -> Tensor:
    """Row of the state after which each input was chosen, [B, L]: that of the input before it; -1: none."""
    return F.pad(rows[:, :-1], (1, 0), value=-1)
