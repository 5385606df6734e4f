"""Random numbers beside those of the run."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

CPU = torch.device("cpu")


@contextmanager
def forked_generators(seed: int | None = None, device: torch.device = CPU) -> Iterator[None]:
    """Whatever is drawn inside, the generators of the CPU and of ``device`` go on afterwards as before.

    With ``seed`` both start from it. Other GPUs are not asked for theirs, which would be a context on each of them.
    """
    others = [] if device.type == "cpu" else [device]
    with torch.random.fork_rng(others, device_type=device.type if others else "cuda"):
        if seed is not None and others:
            torch.manual_seed(seed)
        elif seed is not None:
            torch.default_generator.manual_seed(seed)  # of the CPU alone
        yield
