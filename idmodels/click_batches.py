"""Batches of a click model: each row is one sample with the history before it.

Letters: B batch, L history length (L' in this batch), M samples; n is the number of interactions.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from idmodels.batches import int_tensor
from idmodels.buckets import bucket, cut
from idmodels.click import ClickBatch
from idmodels.errors import IDModelError

SORTED_BATCHES = 8
"""Rows are sorted by length among this many batches at a time, see `idmodels.buckets`."""


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
            users=int_tensor(self.users[which]),
            histories=int_tensor(histories),
            marks=int_tensor(marks),
            lengths=int_tensor(lengths),
            targets=int_tensor(self.targets[which]),
            labels=int_tensor(self.labels[which]),
        )

    def in_order_of_length(self, size: int) -> Iterator[np.ndarray]:
        """Numbers of all samples in batches of up to ``size`` with histories of similar lengths."""
        yield from cut(np.argsort(self.ends - self.starts, kind="stable"), size)


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
        lengths = np.minimum(self.rows.ends - self.rows.starts, self.max_length)
        batches = bucket(lengths, self.size, np.random.default_rng((self.seed, epoch)), SORTED_BATCHES)
        for batch in batches[skip:]:
            yield self.rows.batch(batch, self.max_length)
