"""Checkpoints that a run goes on from as if nothing had happened.

A checkpoint is a directory: ``id.safetensors``, ``llm/`` (PEFT directory and scorer), ``bridges.safetensors``,
``store.safetensors``, ``optimizers.pt`` (tensors and containers only), ``rng.safetensors`` and ``state.json``. It is
written beside its place and then renamed, so a killed run leaves whole checkpoints only.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

from hybrid.training.run_directory import replace_directory

KEEP = 2


class Checkpoints:
    """The newest checkpoints of a run, in ``directory``."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def save(self, step: int, fill: Callable[[Path], None]) -> None:
        """Write checkpoint number ``step`` by ``fill(directory)`` and forget all but the newest two."""
        replace_directory(self.directory / f"step_{step:08d}", fill)
        for old in self._all()[:-KEEP]:
            shutil.rmtree(old, ignore_errors=True)

    def latest(self) -> Path | None:
        """The newest whole checkpoint."""
        found = self._all()
        return found[-1] if found else None

    def _all(self) -> list[Path]:
        return sorted(path for path in self.directory.glob("step_*") if (path / "state.json").is_file())
