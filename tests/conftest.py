"""Small tensors everywhere: one thread each is faster than two, and tests may run beside each other.

What a test sets up for the screen or the log ends with it, so that no other test depends on their order.
"""

import logging

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def quiet_again():
    """The project's logger as it was before the test."""
    logger = logging.getLogger("hybrid")
    handlers, level = list(logger.handlers), logger.level
    yield
    logger.handlers[:] = handlers
    logger.setLevel(level)


class _SingleNumbers(TorchDispatchMode):
    """Counts the numbers that are read one by one, as ``item`` and ``if`` do: a GPU would be waited for each time."""

    read = 0

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        self.read += function is torch.ops.aten._local_scalar_dense.default
        return function(*arguments, **(named or {}))


@pytest.fixture
def single_numbers() -> _SingleNumbers:
    """``with single_numbers: ...``, then ``single_numbers.read``."""
    return _SingleNumbers()
