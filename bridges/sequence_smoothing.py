"""Targets smoothed by sequences: a little of the items that followed the histories most like this one (llm2id).

Where `bridges.smoothing` asks which items are like the target, this one asks which histories are like the user's: the
target distribution at a position with target t is ``(1 - w) [i = t] + w p(i)``, with p a softmax over the cosines
between the LLM's state there and its nearest states of other users, each of which votes for the item that came next.
A nearest-neighbour language model (arXiv 1911.00172) mixes such votes in when it predicts; here the ID model learns
them, and serves without.

Letters: R rows (train interactions, user after user), K neighbours, P width of the LLM's score space, M scored
positions, N items (row 0 is padding).
"""

from collections.abc import Callable, Collection
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from bridges.errors import BridgeError
from bridges.protocols import Bridge, Direction, Kind, Place, ScoredBatch, Side
from bridges.running import RunningMeans
from bridges.sharing import ExchangeStore
from bridges.target_pull import target_pull

EXACT_ROWS = 1 << 16
"""So many states are compared one by one; of more, FAISS compares those of the nearest clusters."""
CLUSTERS_SEARCHED = 16
CHUNK_ELEMENTS = 1 << 22
"""Cosines in memory at once."""


class SequenceSmoothing(Bridge):
    """Adds what turns a softmax cross-entropy with hard targets into the one with smoothed targets, see `target_pull`.

    ``next_items`` gives, [R], the item after each train interaction of the same user, 0 after the last. Neighbours are
    looked for when the ID side first learns after the LLM has written its states. Has no parameters. Raises BridgeError
    for settings out of range.
    """

    name: ClassVar[str] = "sequence_smoothing"
    direction: ClassVar[Direction] = "llm2id"
    place: ClassVar[Place] = "targets"

    def __init__(
        self,
        store: ExchangeStore,
        next_items: Callable[[], Tensor],
        weight: float,
        neighbours: int,
        temperature: float,
    ) -> None:
        if not 0 <= weight <= 1 or neighbours < 1 or temperature <= 0:
            raise BridgeError(
                f"sequence_smoothing: weight {weight} must be 0 to 1, neighbours {neighbours} and temperature "
                f"{temperature} positive"
            )
        super().__init__()
        self._store, self._next_items = store, next_items
        self.weight, self.neighbours, self.temperature = weight, neighbours, temperature
        self._seen = 0
        self._places, self._items, self._shares = torch.zeros(0), torch.zeros(0), torch.zeros(0)
        self._means = RunningMeans(["pull", "target_share"])

    def reads(self, directions: Collection[Direction]) -> set[tuple[Side, Kind]]:
        """See `Bridge`."""
        return {("llm", "user")} if self.weight and self.direction in directions else set()

    def loss(self, learner: Side, batch: ScoredBatch) -> Tensor | None:
        """Mean over the positions of ``w (e_t - sum_j p_j e_j) . s``; a position with no such neighbours stays hard."""
        if learner != "id" or not self.weight or not self._store.has("llm", "user"):
            return None
        items, shares = self.votes(batch.rows)
        pull = target_pull(batch, items, shares)  # [M]
        self._means.add("pull", pull)
        self._means.add("target_share", (shares * (items == batch.targets[:, None])).sum(dim=1))
        return self.weight * pull.mean()

    def votes(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Items that neighbours of these rows [M] vote for and their shares, both [M, K]; shares 0 where none is known.

        Row -1 is none.
        """
        if self._seen != (newest := self._store.writes("llm", "user")):
            self._search()
            self._seen = newest
        places = torch.where(rows >= 0, self._places.to(rows.device)[rows.clamp_min(0)], -1).cpu()
        return self._items[places].to(rows.device), self._shares[places].to(rows.device)

    def metrics(self) -> dict[str, float]:
        """Mean difference of the target's logit and the votes' mean logit, and the votes' mean share for the target."""
        return self._means.take()

    @torch.no_grad()
    def _search(self) -> None:
        """Find the votes of each of the W states that were written; of the W + 1 rows kept the last is of no state."""
        following = self._next_items().cpu()
        rows = self._store.written("llm", "user").nonzero().flatten()  # [W]
        voting = rows[following[rows] > 0]
        self._places = torch.full((len(following),), -1)
        self._places[rows] = torch.arange(len(rows))
        kept = len(rows) + 1, min(self.neighbours, max(1, len(voting)))
        self._items, self._shares = torch.zeros(kept, dtype=torch.long), torch.zeros(kept)
        if len(voting):
            self._vote(rows, voting, following)

    def _vote(self, rows: Tensor, voting: Tensor, following: Tensor) -> None:
        """The votes of the states ``voting`` for those of ``rows`` [W], a part at a time."""
        users = F.pad((following == 0).long().cumsum(0)[:-1], (1, 0))  # [R], a user ends where nothing follows
        index, count = _index(self._unit(voting).numpy()), self._items.shape[1]
        most = min(len(voting), count + int(torch.bincount(users[voting]).max()))  # a user's own do not vote
        for first in range(0, len(rows), step := max(1, CHUNK_ELEMENTS // most)):
            chosen = rows[first : first + step]
            cosines, found = map(torch.from_numpy, index.search(self._unit(chosen).numpy(), most))  # [., most]
            votes = voting[found.clamp_min(0)]
            cosines[(found < 0) | (users[votes] == users[chosen][:, None])] = -torch.inf
            best = cosines.topk(count, dim=1)
            places = self._places[chosen]
            self._items[places] = following[votes.gather(1, best.indices)]
            self._shares[places] = (best.values / self.temperature).softmax(dim=1).nan_to_num(0.0)

    def _unit(self, rows: Tensor) -> Tensor:
        return F.normalize(self._store.read("llm", "user", rows).float(), dim=1)


def _index(vectors: np.ndarray) -> Any:
    import faiss

    width = vectors.shape[1]
    index: Any = faiss.IndexFlatIP(width)
    if len(vectors) > EXACT_ROWS:
        index = faiss.IndexIVFFlat(index, width, int(4 * len(vectors) ** 0.5), faiss.METRIC_INNER_PRODUCT)
        index.nprobe = CLUSTERS_SEARCHED
        index.train(vectors)
    index.add(vectors)
    return index
