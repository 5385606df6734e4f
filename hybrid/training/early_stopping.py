"""Best value so far of one side, when its phase ends early, and when it gives up."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass
class EarlyStopping:
    """Remembers the best validation value; higher is better."""

    patience: int
    """Validations without improvement after which the phase ends; 0: never."""
    best: float | None = None
    best_step: int = -1
    waited: int = 0
    spent: int = 0
    """Phases in a row that ended for want of patience, with no improvement since the first of them."""

    def update(self, value: float, step: int) -> bool:
        """Take a validation value of the side's own ``step``; True if it is the best so far."""
        if self.best is None or value > self.best:
            self.restart(value, step)
            return True
        self.waited += 1
        return False

    def restart(self, value: float, step: int) -> None:
        """Count from here on, from weights of this ``value``, be it the best so far or not."""
        self.best, self.best_step, self.waited, self.spent = value, step, 0, 0

    def begin_anew(self) -> None:
        """Forget what was reached: it was reached under conditions that are over."""
        self.best, self.best_step, self.waited, self.spent = None, -1, 0, 0

    @property
    def exhausted(self) -> bool:
        """Whether the phase should end."""
        return 0 < self.patience <= self.waited

    def end_phase(self) -> bool:
        """An exhausted phase ends, the next one has all the patience; True if that was the second in vain."""
        self.waited = 0
        self.spent += 1
        return self.spent > 1

    def state_dict(self) -> dict[str, Any]:
        """JSON-able state."""
        return asdict(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state; the patience stays the config's."""
        self.best, self.best_step = state["best"], int(state["best_step"])
        self.waited, self.spent = int(state["waited"]), int(state.get("spent", 0))
