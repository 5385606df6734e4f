"""Batches of a click model: each row is one sample with the history before it.

Letters: B batch, L history length (L' in this batch), M samples; n is the number of interactions.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from idmodels.click import ClickBatch
from idmodels.errors import IDModelError

SORTED_BATCHES = 8
"""Rows are sorted by length among this many batches at a time; more: less padding, less random batches."""


@dataclass(frozen=True, eq=False)
class ClickRows:
    """M samples over one array of behaviours; sample m's history is items[starts[m]:ends[m]], in time order."""

    items: np.ndarray
    """[n] int, behaviours."""
    marks: np.ndarray
    """[n] int, `UNKNOWN`, `DISLIKED` or `LIKED` of each behaviour."""
    users: np.ndarray
    """[M]."""
    starts: np.ndarray
    """[M]."""
    ends: np.ndarray
    """[M]."""
    targets: np.ndarray
    """[M] items shown."""
    labels: np.ndarray
    """[M] 0 or 1."""

    def __len__(self) -> int:
        return len(self.users)

    def batch(self, which: np.ndarray, max_length: int) -> ClickBatch:
        """The samples numbered ``which`` [B], each with the last ``max_length`` behaviours before it."""
        first = np.maximum(self.starts[which], self.ends[which] - max_length)
        lengths = self.ends[which] - first
        offsets = np.arange(max(1, lengths.max(initial=0)))
        real = offsets < lengths[:, None]  # [B, L']
        places = np.where(real, first[:, None] + offsets, 0)
        histories, marks = (np.where(real, column[places], 0) for column in (self.items, self.marks))
        return ClickBatch(
            users=_tensor(self.users[which]),
            histories=_tensor(histories),
            marks=_tensor(marks),
            lengths=_tensor(lengths),
            targets=_tensor(self.targets[which]),
            labels=_tensor(self.labels[which]),
        )

    def in_order_of_length(self, size: int) -> Iterator[np.ndarray]:
        """Numbers of all samples in batches of up to ``size`` with histories of similar lengths."""
        yield from _cut(np.argsort(self.ends - self.starts, kind="stable"), size)


class ClickBatches:
    """Training batches. Raises IDModelError where there is no sample."""

    def __init__(self, rows: ClickRows, max_length: int, size: int, seed: int) -> None:
        if not len(rows):
            raise IDModelError("nothing to train on: there is no sample")
        self.rows, self.max_length, self.size, self.seed = rows, max_length, size, seed

    def __len__(self) -> int:
        """Batches per epoch."""
        return -(-len(self.rows) // self.size)

    def epoch(self, epoch: int, skip: int = 0) -> Iterator[ClickBatch]:
        """Batches of one epoch but the first ``skip``; their order depends on (seed, epoch) only."""
        random = np.random.default_rng((self.seed, epoch))
        lengths = np.minimum(self.rows.ends - self.rows.starts, self.max_length)
        batches: list[np.ndarray] = []
        for part in _cut(random.permutation(len(self.rows)), self.size * SORTED_BATCHES):
            batches += _cut(part[np.argsort(lengths[part], kind="stable")], self.size)
        for number in random.permutation(len(batches))[skip:]:
            yield self.rows.batch(batches[number], self.max_length)


def _cut(order: np.ndarray, size: int) -> list[np.ndarray]:
    return [order[first : first + size] for first in range(0, len(order), size)]


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.int64))
