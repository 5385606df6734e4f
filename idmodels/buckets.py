"""Batches of rows of similar length, which need little padding."""

import numpy as np

SORTED_BATCHES = 32
"""Rows are sorted by length among this many batches at a time; more: less padding, less random batches."""


def bucket(
    lengths: np.ndarray, size: int, generator: np.random.Generator, sorted_batches: int = SORTED_BATCHES
) -> list[np.ndarray]:
    """Random batches of up to ``size`` rows of similar ``lengths``, in random order."""
    batches: list[np.ndarray] = []
    for part in cut(generator.permutation(len(lengths)), size * sorted_batches):
        batches += cut(part[np.argsort(lengths[part], kind="stable")], size)
    return [batches[number] for number in generator.permutation(len(batches))]


def cut(order: np.ndarray, size: int) -> list[np.ndarray]:
    """``order`` in parts of ``size``; the last one may be shorter."""
    return [order[first : first + size] for first in range(0, len(order), size)]
