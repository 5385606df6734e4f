"""What one side knows of the positions that the other learns from, as constants read from the exchange store.

Letters: M positions, N items (row 0 is padding), P width of a score space.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from bridges.errors import BridgeError
from bridges.protocols import Direction, Kind, ScoredBatch, Side
from bridges.sharing import ExchangeStore

RECEIVERS: dict[Side, Direction] = {"id": "llm2id", "llm": "id2llm"}
"""The direction in which knowledge reaches a learner."""


@dataclass(frozen=True)
class Lesson:
    """The positions of a batch that the teacher has a state for, as both sides see them."""

    student: ScoredBatch
    """The learner's half, of these positions alone; gradients flow."""
    states: Tensor
    """[M, P] the teacher's user states, in its own score space."""
    items: Tensor
    """[N, P] the teacher's item matrix."""


class Lessons:
    """Gives the learners that have a weight both halves of a teacher's scores.

    ``weights``: of the loss on either learner, 0: it is not taught; ``sides``: whose scores it learns from;
    ``positions`` bounds how many positions of a batch are taught (0: all), and so what a step costs: the mean loss of a
    random draw has the same expectation.
    """

    def __init__(
        self, store: ExchangeStore, weights: Mapping[Side, float], sides: Mapping[Side, Side], positions: int
    ) -> None:
        self._store, self.weights, self._sides, self._positions = store, weights, sides, positions
        self._items: dict[Side, Tensor] = {}

    def reads(self, directions: Collection[Direction]) -> set[tuple[Side, Kind]]:
        """See `Bridge`."""
        taught = [side for side, way in RECEIVERS.items() if way in directions and self.weights[side]]
        kinds: tuple[Kind, ...] = ("user", "item")
        return {(self._sides[side], kind) for side in taught for kind in kinds}

    def refresh(self) -> None:
        """Forget the item matrices that were read before."""
        self._items.clear()

    def lesson(self, learner: Side, batch: ScoredBatch) -> Lesson | None:
        """What ``learner`` is taught at (drawn) positions of ``batch``; None: it has no weight, or there is nothing.

        Raises BridgeError where both sides' catalogues differ in size.
        """
        side = self._sides[learner]
        if not self.weights[learner] or not self._store.has(side, "item"):
            return None
        chosen = self._drawn(self._store.written(side, "user", batch.rows))
        if not len(chosen):
            return None
        student = ScoredBatch(batch.states[chosen], batch.item_matrix, batch.targets[chosen], batch.rows[chosen])
        states = self._store.read(side, "user", student.rows).to(batch.states.device)
        return Lesson(student, states, self._item_matrix(side, batch.item_matrix))

    def _drawn(self, known: Tensor) -> Tensor:
        """Indices of the True entries of ``known`` [M], at most ``positions`` of them; by torch's CPU generator."""
        chosen = known.nonzero().flatten()
        if not 0 < self._positions < len(chosen):
            return chosen
        return chosen[torch.randperm(len(chosen))[: self._positions].to(chosen.device)]

    def _item_matrix(self, side: Side, student_items: Tensor) -> Tensor:
        if side not in self._items:
            self._items[side] = self._store.read(side, "item").to(student_items.device)
        items = self._items[side]
        if len(items) != len(student_items):
            raise BridgeError(f"{side}/item has {len(items)} rows, the learner {len(student_items)}")
        return items
