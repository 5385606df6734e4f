"""Smoothed targets: the ID model is asked for the next item, and a little for items whose text is near it (llm2id).

The target distribution at a position with target t is ``(1 - w) [i = t] + w p(i | t)``, with p a softmax over the
cosines between the LLM's whitened vectors of t and its nearest items. Rare items so learn from their neighbours'
interactions.
"""

from typing import ClassVar

from torch import Tensor

from bridges.errors import BridgeError
from bridges.protocols import Direction, Place, ScoredBatch, Side
from bridges.running import RunningMeans
from bridges.sharing import ExchangeStore
from bridges.target_pull import target_pull
from bridges.text_neighbours import TextGraphBridge, TextNeighbours


class SmoothedTargets(TextGraphBridge):
    """Adds what turns a softmax cross-entropy with hard targets into the one with smoothed targets.

    The difference is ``w (e_t - sum_i p(i | t) e_i) . s``, see `target_pull`. Raises BridgeError for settings out of
    range.
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
        if not 0 <= weight <= 1:
            raise BridgeError(f"smoothing: weight {weight} must be 0 to 1")
        super().__init__(store, weight, TextNeighbours(n_items, llm_width, neighbours, temperature, components))
        self._means = RunningMeans(["pull"])

    def loss(self, learner: Side, batch: ScoredBatch) -> Tensor | None:
        """Mean over the positions of ``w (e_t - sum_i p(i | t) e_i) . s``; None for the LLM and without neighbours."""
        if learner != "id" or not self.near.ready:
            return None
        pull = target_pull(batch, self.near.ids[batch.targets], self.near.shares[batch.targets])  # [M]
        self._means.add("pull", pull)
        return self.weight * pull.mean()

    def metrics(self) -> dict[str, float]:
        """Mean difference of the target's logit and its neighbours' mean logit."""
        return self._means.take()
