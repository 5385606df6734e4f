"""Best value so far of one side, and when to give up."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass
class EarlyStopping:
    """Remembers the best validation value; higher is better."""

    patience: int
    """Validations without improvement after which the side stops; 0: never."""
    best: float | None = None
    best_step: int = -1
    waited: int = 0

    def update(self, value: float, step: int) -> bool:
        """Take a validation value of the side's own ``step``; True if it is the best so far."""
        if self.best is None or value > self.best:
            self.best, self.best_step, self.waited = value, step, 0
            return True
        self.waited += 1
        return False

    @property
    def exhausted(self) -> bool:
        """Whether the side should stop."""
        return 0 < self.patience <= self.waited

    def state_dict(self) -> dict[str, Any]:
        """JSON-able state."""
        return asdict(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state; the patience stays the config's."""
        self.best, self.best_step, self.waited = state["best"], int(state["best_step"]), int(state["waited"])
