"""How long a run has trained, over all the processes that it took."""

import time


class Clock:
    """Seconds since it was made, and those of earlier processes up to the checkpoint that was gone on from."""

    def __init__(self, earlier_s: float = 0.0) -> None:
        self._earlier_s, self._began = earlier_s, time.perf_counter()

    @property
    def seconds(self) -> float:
        """Up to now."""
        return self._earlier_s + time.perf_counter() - self._began

    def add(self, seconds: float) -> None:
        """Count time that another run took for what this one has of it."""
        self._earlier_s += seconds
