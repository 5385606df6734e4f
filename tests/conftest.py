"""Small tensors everywhere: one thread each is faster than two, and tests may run beside each other.

What a test sets up for the screen or the log ends with it, so that no other test depends on their order.
"""

import logging

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def quiet_again():
    """The project's logger as it was before the test."""
    logger = logging.getLogger("hybrid")
    handlers, level = list(logger.handlers), logger.level
    yield
    logger.handlers[:] = handlers
    logger.setLevel(level)
