"""Which modules learn and which only answer."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def inference(*modules: nn.Module) -> Iterator[None]:
    """No gradients and no dropout inside; each module's own mode comes back afterwards."""
    modes = [(part, part.training) for module in modules for part in module.modules()]
    for module in modules:
        module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, mode in modes:
            part.training = mode


def set_learning(modules: Iterable[nn.Module], parameters: Iterable[nn.Parameter], learning: bool) -> None:
    """Wake a side or put it to sleep.

    A sleeping side has no gradients at all: with zero gradients instead of none, Adam's momentum and weight decay would
    still move it.
    """
    for module in modules:
        module.train(learning)
    for parameter in parameters:
        parameter.requires_grad_(learning)
        parameter.grad = None
