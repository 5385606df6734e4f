"""What one side knows of the positions that the other learns from, as constants read from the exchange store.

Letters: M positions, N items (row 0 is padding), P width of a score space.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bridges.errors import BridgeError
from bridges.protocols import WAY_TO, Bridge, Direction, Kind, Place, ScoredBatch, Side
from bridges.sharing import ExchangeStore


@dataclass(frozen=True)
class Lesson:
    """The positions of a batch that the teacher has a state for, as both sides see them."""

    student: ScoredBatch
    """The learner's half, of these positions alone; gradients flow."""
    states: Tensor
    """[M, P] the teacher's user states, in its own score space."""
    items: Tensor
    """[N, P] the teacher's item matrix."""


class LessonBridge(Bridge):
    """A bridge whose loss compares a learner with a teacher's scores, for the learners that have a weight.

    ``weights``: of the loss on either learner, 0: it is not taught; ``teachers``: whose scores it learns from;
    ``positions`` bounds how many positions of a batch are taught (0: all), and so what a step costs: the mean loss of a
    random draw has the same expectation. Has no parameters.
    """

    direction: ClassVar[Direction] = "both"
    place: ClassVar[Place] = "targets"
    needs_id_states: ClassVar[bool] = True

    def __init__(
        self, store: ExchangeStore, weights: Mapping[Side, float], teachers: Mapping[Side, Side], positions: int
    ) -> None:
        super().__init__()
        self._store, self.weights, self._teachers, self._positions = store, weights, teachers, positions
        self._items: dict[Side, Tensor] = {}

    def reads(self, directions: Collection[Direction]) -> set[tuple[Side, Kind]]:
        """Both halves of the teacher's scores, for every learner that has a weight."""
        taught = [side for side, way in WAY_TO.items() if way in directions and self.weights[side]]
        kinds: tuple[Kind, ...] = ("user", "item")
        return {(self._teachers[side], kind) for side in taught for kind in kinds}

    def refresh(self) -> None:
        """Forget the item matrices that were read before."""
        self._items.clear()

    def lesson(self, learner: Side, batch: ScoredBatch) -> Lesson | None:
        """What ``learner`` is taught at (drawn) positions of ``batch``; None: it has no weight, or there is nothing.

        Raises BridgeError where both sides' catalogues differ in size.
        """
        side = self._teachers[learner]
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
            raise BridgeError(f"{self.name}: {side}/item has {len(items)} rows, the learner {len(student_items)}")
        return items
