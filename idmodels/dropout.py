"""Dropout whose random mask is cheap on a CPU.

``torch``'s own dropout draws one Bernoulli number per element, serially, which costs more than the matrix products
around it on a CPU. Here one 64-bit draw of the same generator decides four elements: the drop rate is rounded to a
multiple of 2^-16 and the scale follows the rounded rate, so the mean stays exact.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

_LEVELS = 1 << 16


def dropout(values: Tensor, rate: float, training: bool) -> Tensor:
    """Zero each element with probability ``rate`` and scale the others by 1 / (1 - rate); any shape."""
    if not training or rate == 0.0:
        return values
    if values.device.type != "cpu":
        return F.dropout(values, rate)
    return values * keep_mask(values, rate)


def keep_mask(like: Tensor, rate: float) -> Tensor:
    """Scaled mask in the shape and dtype of ``like`` (on the CPU): 0 where dropped, else 1 / (1 - rate)."""
    dropped = min(round(rate * _LEVELS), _LEVELS - 1)
    count = like.numel()
    draws = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    levels = draws.view(torch.int16)[:count].view(like.shape)
    kept = levels >= dropped - _LEVELS // 2  # int16 starts at -2^15
    return kept.to(like.dtype).mul_(_LEVELS / (_LEVELS - dropped))
