"""Who trains when: the alternating schedule, a pure object that knows nothing of models.

A *turn* is one side's phase in one round. Its length is counted in epochs or in steps; `advance` is called after each.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from hybrid.config.schema import ScheduleConfig, Side
from hybrid.training.early_stopping import EarlyStopping


@dataclass(frozen=True)
class Turn:
    """One phase: the side that trains, in which round, and how far it is."""

    round: int
    """Round, from 1."""
    side: Side
    length: int
    """Epochs or steps, as the schedule's unit says."""
    done: int
    """Epochs or steps behind it."""


class Schedule:
    """The turns of a run, in order, less those of sides that stopped early.

    Args:
        config: rounds, phase lengths and the side that begins.
        sides: the sides that train at all (one of them in the arms `id_only` and `llm_only`); one whose phases have
            length 0 has no turn.
    """

    def __init__(self, config: ScheduleConfig, sides: Sequence[Side]) -> None:
        order: list[Side] = ["id", "llm"] if config.first == "id" else ["llm", "id"]
        self._turns = [
            (number, side, length)
            for number in range(1, config.rounds + 1)
            for side in order
            if side in sides and (length := config.length(side, sides))
        ]
        self.unit = config.unit
        self._position = 0
        self._done = 0
        self._stopped: set[Side] = set()

    @property
    def current(self) -> Turn | None:
        """The turn to work on; None when the run is over."""
        for position in range(self._position, len(self._turns)):
            number, side, length = self._turns[position]
            if side not in self._stopped:
                done = self._done if position == self._position else 0
                return Turn(number, side, length, done)
        return None

    def total(self, side: Side) -> int:
        """Epochs or steps the schedule gives a side that never stops early."""
        return sum(length for _, owner, length in self._turns if owner == side)

    def remains(self, side: Side) -> bool:
        """Whether the side has a turn, or the rest of one, before it."""
        return side not in self._stopped and any(owner == side for _, owner, _ in self._turns[self._position :])

    def advance(self) -> bool:
        """One epoch or step of the current turn is done; True if it was its last."""
        turn = self._begin()
        self._done += 1
        if over := self._done >= turn.length:
            self._position, self._done = self._position + 1, 0
        return over

    def end_turn(self) -> None:
        """The current turn is over before its length."""
        self._begin()
        self._position, self._done = self._position + 1, 0

    def end_in_vain(self, side: Side, stopping: EarlyStopping, over: bool, waits: bool = False) -> bool:
        """Phase of a side that is out of patience; what the other side learns next may help it, so it goes on later.

        ``over``: the phase has had its whole length. Returns True if the side has no more turns: after the second such
        phase with no improvement in between, and where phases are counted in steps, as it is validated at their ends
        only. But a side that ``waits``, for an exchange that has not begun, keeps its turns.
        """
        in_vain = stopping.end_phase() or self.unit == "steps"
        if (in_vain and not waits) or not self.remains(side):
            self.stop(side)
            return True
        if not over:
            self.end_turn()
        return False

    def stop(self, side: Side) -> None:
        """No more turns for this side; its present one ends here."""
        self._stopped.add(side)

    def state_dict(self) -> dict[str, Any]:
        """JSON-able state."""
        return {"position": self._position, "done": self._done, "stopped": sorted(self._stopped)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        self._position, self._done = int(state["position"]), int(state["done"])
        self._stopped = set(state["stopped"])

    def _begin(self) -> Turn:
        """The current turn, with those of stopped sides before it skipped."""
        turn = self.current
        if turn is None:
            raise RuntimeError("the schedule is over")
        while self._turns[self._position][:2] != (turn.round, turn.side):
            self._position, self._done = self._position + 1, 0
        return turn
