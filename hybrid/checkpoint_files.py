"""Tensors, generators and optimiser states on disk: nothing in these files is code.

What writes raises OSError where the disk is full.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from hybrid.errors import UserError
from idmodels.disk import os_errors


def save_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, Any] | None = None) -> None:
    """A safetensors file; ``metadata`` must be JSON-able. Tensors are copied where they share memory."""
    plain = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    with os_errors(path):
        save_file(plain, str(path), metadata={"json": json.dumps(metadata or {})})


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and metadata of `save_tensors`; UserError where the file is missing or broken."""
    try:
        with safe_open(str(path), framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
            return tensors, json.loads((file.metadata() or {}).get("json", "{}"))
    except Exception as error:  # a missing file and a damaged one come as different types
        raise UserError(f"{path}: not a readable safetensors file ({error})") from None


def save_rng(path: Path) -> None:
    """Torch's generators; nothing here draws from another one (data order has its own seeds)."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states |= {f"cuda:{n}": state for n, state in enumerate(torch.cuda.get_rng_state_all())}
    save_tensors(path, states)


def load_rng(path: Path) -> None:
    """Set torch's generators as they were saved, but for those of devices that are not there."""
    states, _ = load_tensors(path)
    torch.set_rng_state(states.pop("cpu"))
    for name, state in states.items():
        if torch.device(name).index < torch.cuda.device_count():
            torch.cuda.set_rng_state(state, name)


def save_optimizers(path: Path, states: dict[str, Any]) -> None:
    """Optimiser states by side."""
    with os_errors(path):
        torch.save(states, path)


def load_optimizers(path: Path) -> dict[str, Any]:
    """Optimiser states by side, on the CPU; only tensors and plain containers are accepted."""
    try:
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:
        raise UserError(f"{path}: not readable optimiser states ({error})") from None
