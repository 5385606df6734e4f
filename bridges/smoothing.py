"""Smoothed targets: the ID model is asked for the next item, and a little for items whose text is near it (llm2id).

The target distribution at a position with target t is ``(1 - w) [i = t] + w p(i | t)``, with p a softmax over the
cosines between the LLM's whitened vectors of t and its nearest items. Rare items so learn from their neighbours'
interactions.
"""

from collections.abc import Collection
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from bridges.errors import BridgeError
from bridges.protocols import Bridge, Direction, Kind, Place, ScoredBatch, Side
from bridges.running import RunningMeans
from bridges.sharing import ExchangeStore
from bridges.whitening import Whitening, component_count

CHUNK_ELEMENTS = 2**24


class SmoothedTargets(Bridge):
    """Adds what turns a softmax cross-entropy with hard targets into the one with smoothed targets.

    The normaliser is the same in both, so the difference is ``w (e_t - sum_i p(i | t) e_i) . s``, a few products per
    position. The neighbours are found when the store's text vectors are read, in whitened space, whose axes are fitted
    the first time. Raises BridgeError for settings out of range.
    """

    name: ClassVar[str] = "smoothing"
    direction: ClassVar[Direction] = "llm2id"
    place: ClassVar[Place] = "targets"

    def __init__(
        self,
        store: ExchangeStore,
        n_items: int,
        llm_width: int,
        weight: float,
        neighbours: int,
        temperature: float,
        components: int,
    ) -> None:
        super().__init__()
        if not 0 <= weight <= 1 or neighbours < 1 or temperature <= 0:
            wanted = f"weight {weight} must be 0 to 1, neighbours {neighbours} and temperature {temperature} positive"
            raise BridgeError(f"smoothing: {wanted}")
        self._store = store
        self.weight, self.temperature = weight, temperature
        count = min(neighbours, n_items - 2)
        self.ready = False
        self.register_buffer("ids", torch.zeros(n_items, count, dtype=torch.long))
        self.register_buffer("shares", torch.zeros(n_items, count))
        self.register_buffer("mean", torch.zeros(llm_width))
        self.register_buffer("basis", torch.zeros(llm_width, component_count(n_items, llm_width, components)))
        self.ids: Tensor
        self.shares: Tensor
        self.mean: Tensor
        self.basis: Tensor
        self._means = RunningMeans(["pull"])

    def reads(self, directions: Collection[Direction]) -> set[tuple[Side, Kind]]:
        """See `Bridge`."""
        return {("llm", "text")} if self.weight else set()

    @torch.no_grad()
    def refresh(self) -> None:
        """Find the neighbours again from the store's text vectors."""
        if not self.weight or not self._store.has("llm", "text"):
            return
        vectors = self._store.read("llm", "text").to(self.mean.device)
        if not self.basis.any():
            whitening = Whitening.fit(vectors, self.basis.shape[1])
            self.mean.copy_(whitening.mean)
            self.basis.copy_(whitening.basis)
        unit = F.normalize(Whitening(self.mean, self.basis).apply(vectors), dim=1)
        cosines, ids = nearest_items(unit, self.ids.shape[1])
        self.ids.copy_(ids)
        self.shares.copy_((cosines / self.temperature).softmax(dim=1))
        self.ready = True

    def loss(self, learner: Side, batch: ScoredBatch) -> Tensor | None:
        """Mean over the positions of ``w (e_t - sum_i p(i | t) e_i) . s``; None for the LLM and without neighbours."""
        if learner != "id" or not self.ready:
            return None
        with torch.autocast(batch.states.device.type, enabled=False):
            table, states = batch.item_matrix.float(), batch.states.float()
            near = F.embedding_bag(
                self.ids[batch.targets], table, per_sample_weights=self.shares[batch.targets], mode="sum"
            )  # [M, P]
            pull = ((F.embedding(batch.targets, table) - near) * states).sum(dim=1)  # [M]
        self._means.add("pull", pull.detach())
        return self.weight * pull.mean()

    def metrics(self) -> dict[str, float]:
        """Mean difference of the target's logit and its neighbours' mean logit."""
        return self._means.take()


def nearest_items(unit: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The ``count`` nearest other items of each row of ``unit`` [N, C], by cosine: (cosines, ids), each [N, count].

    Row 0 is never a neighbour.
    """
    cosines, ids = [], []
    for first in range(0, len(unit), step := max(1, CHUNK_ELEMENTS // len(unit))):
        scores = unit[first : first + step] @ unit.T
        own = torch.arange(len(scores), device=unit.device)
        scores[own, first + own] = -torch.inf
        scores[:, 0] = -torch.inf
        best = scores.topk(count, dim=1)
        cosines.append(best.values)
        ids.append(best.indices)
    return torch.cat(cosines), torch.cat(ids)
