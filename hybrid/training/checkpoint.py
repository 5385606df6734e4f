"""Checkpoints that a run goes on from as if nothing had happened.

A checkpoint is a directory: ``id.safetensors``, ``llm/`` (PEFT directory and scorer), ``bridges.safetensors``,
``store.safetensors``, ``optimizers.pt`` (tensors and containers only), ``rng.safetensors`` and ``state.json``. It is written
beside its place and then renamed, so a killed run leaves whole checkpoints only.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from hybrid.errors import UserError
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


def save_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """A safetensors file; tensors are copied where they share memory."""
    save_file({name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}, str(path))


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file; UserError where it is missing or broken."""
    try:
        return load_file(str(path))
    except Exception as error:
        raise UserError(f"{path}: not a readable safetensors file ({error})") from None


def save_rng(path: Path) -> None:
    """Torch's generators; nothing here draws from another one (data order has its own seeds)."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states |= {f"cuda:{n}": state for n, state in enumerate(torch.cuda.get_rng_state_all())}
    save_tensors(path, states)


def load_rng(path: Path) -> None:
    """Set torch's generators as they were saved."""
    states = load_tensors(path)
    torch.set_rng_state(states.pop("cpu"))
    for name, state in states.items():
        torch.cuda.set_rng_state(state, name)


def save_optimizers(path: Path, states: dict[str, Any]) -> None:
    """Optimiser states by side."""
    torch.save(states, path)


def load_optimizers(path: Path) -> dict[str, Any]:
    """Optimiser states by side; only tensors and plain containers are accepted."""
    try:
        return dict(torch.load(path, weights_only=True))
    except Exception as error:
        raise UserError(f"{path}: not readable optimiser states ({error})") from None
