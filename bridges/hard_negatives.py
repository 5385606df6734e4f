"""Hard negatives from the other side: items that it ranks high, but not highest, must lose to the next item (both).

AlterRec's rank window (arXiv 2402.08921): the other side's best items are likely to be liked too, those far below teach
nothing, so negatives are taken from places in between. Both sides train with a softmax over the whole catalogue, where
every item is a negative already; this loss adds weight to these.
"""

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from bridges.candidates import list_scores, top_items
from bridges.errors import BridgeError
from bridges.lessons import Lesson, LessonBridge
from bridges.protocols import ScoredBatch, Side
from bridges.running import RunningMeans
from bridges.sharing import ExchangeStore


class HardNegatives(LessonBridge):
    """Adds a softmax cross-entropy of the target against places ``first`` to ``last`` of the other side's ranking.

    Places count from 1, both included; ``id_weight`` and ``llm_weight`` are the weights of the loss on either learner,
    ``positions`` bounds how many positions of a batch have it (0: all). Has no parameters.
    Raises BridgeError for settings out of range.
    """

    name: ClassVar[str] = "hard_negatives"

    def __init__(
        self,
        store: ExchangeStore,
        n_items: int,
        id_weight: float,
        llm_weight: float,
        first: int,
        last: int,
        positions: int,
    ) -> None:
        if not 1 <= first <= min(last, n_items - 1) or positions < 0:
            raise BridgeError(
                f"hard_negatives: first {first} must be from 1 to last {last}, and to the {n_items - 1} items that "
                f"there are; positions {positions} must not be negative"
            )
        super().__init__(store, {"id": id_weight, "llm": llm_weight}, {"id": "llm", "llm": "id"}, positions)
        self.first, self.last = first, last
        self._means = RunningMeans(["won_id", "won_llm"])

    def loss(self, learner: Side, batch: ScoredBatch) -> Tensor | None:
        """Mean over (drawn) positions that the other side has a state for; None where there is none, or no weight."""
        lesson = self.lesson(learner, batch)
        if lesson is None:
            return None
        with torch.autocast(batch.states.device.type, enabled=False):
            logits = self._logits(lesson)
        self._means.add(f"won_{learner}", (logits[:, :1].detach() > logits[:, 1:].detach()).float().mean(dim=1))
        return self.weights[learner] * F.cross_entropy(logits, torch.zeros_like(lesson.student.targets))

    def metrics(self) -> dict[str, float]:
        """Of each learner, the share of its hard negatives that it scores below the target."""
        return self._means.take()

    def _logits(self, lesson: Lesson) -> Tensor:
        """The learner's logits of the target, in front, and of its negatives, [M, 1 + W]; minus infinity: it again."""
        student, targets = lesson.student, lesson.student.targets[:, None]
        window = top_items(lesson.states, lesson.items, self.last, ordered=True)[:, self.first - 1 :]  # [M, W]
        ids = torch.cat([targets, window], dim=1)
        scores = list_scores(student.states.float(), student.item_matrix.float(), ids)
        again = torch.cat([torch.zeros_like(targets, dtype=torch.bool), window == targets], dim=1)
        return scores.masked_fill(again, -torch.inf)
