"""Rows of different lengths in flat arrays."""

import numpy as np


def ramp(lengths: np.ndarray) -> np.ndarray:
    """0, 1, .. lengths[0]-1, 0, 1, .. lengths[1]-1, and so on; [sum of lengths]."""
    ends = np.cumsum(lengths)
    return np.arange(int(lengths.sum()), dtype=np.int64) - np.repeat(ends - lengths, lengths)


def positions(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Flat positions of the rows that begin at ``starts``, row after row; [sum of lengths]."""
    return np.repeat(starts, lengths) + ramp(lengths)


def row_starts(lengths: np.ndarray) -> np.ndarray:
    """Where each row begins if they stand one after the other; shape of ``lengths``."""
    return np.cumsum(lengths) - lengths
