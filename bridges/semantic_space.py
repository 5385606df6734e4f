"""The space in which behaviours are compared: principal components of the LLM's item vectors, of length one.

Every coordinate is rounded to a multiple of 2^-22. Products of two are then multiples of 2^-44 and, the vectors being
of length one, so small that float64 adds them without rounding: a cosine is one exact number whatever the order of
summation, and two items with the same text are exactly as similar to any third.

Letters: N items (row 0 is padding), H vector width, P width of the space.
"""

import logging

import numpy as np
import torch
from torch import Tensor

from bridges.whitening import component_count, principal_axes

GRID_BITS = 22
"""Coordinates are multiples of 2^-22; exact in float32 as well."""

_log = logging.getLogger(__name__)


def semantic_space(vectors: Tensor, train_items: np.ndarray, width: int = 512) -> np.ndarray:
    """Unit vectors [N, P] float32 of all items, P = min(width, number of train items - 1, H); row 0 is zero.

    The mean and the axes are those of ``train_items`` (ids, in any order, repeated or not) alone, so nothing that only
    later interactions know enters; unwhitened, as in ReLLa (Lin et al., WWW 2024, SUBR). An item at the mean has the
    vector zero. Raises BridgeError for fewer than two train items.
    """
    fitted = torch.from_numpy(np.unique(train_items)).to(vectors.device)
    count = component_count(len(fitted) + 1, vectors.shape[1], width)
    if count < width:
        _log.info("behaviours are compared in %d dimensions, not %d: all that %d train items of vector width %d allow",
                  count, width, len(fitted), vectors.shape[1])  # fmt: skip
    items = vectors[fitted].double()
    mean = items.mean(dim=0)
    axes, _ = principal_axes(items, mean, count)
    projected = (vectors.double() - mean) @ axes  # [N, P]
    projected[0] = 0
    return on_grid(projected.cpu().numpy())


def on_grid(vectors: np.ndarray) -> np.ndarray:
    """Vectors [N, P] scaled to length one (zero stays zero) and rounded to the grid, float32."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.where(lengths > 1e-9 * lengths.max(initial=0), lengths, np.inf)
    return (np.rint(unit * 2**GRID_BITS) / 2**GRID_BITS).astype(np.float32)
