"""Training rows of the ID models: one row per user, a loss at every position.

Interactions stand in one flat array, user after user; an interaction's index in it is its *row*. A history of more
than L inputs is cut into windows, the last one full, so every target is trained exactly once per epoch and the newest
ones keep the most context. Letters: B batch, L history length (L' in this batch).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from idmodels.errors import IDModelError

_LENGTH_JITTER = 2.0  # rows this close in length change places between epochs, so batches are not always the same


@dataclass(frozen=True)
class IDBatch:
    """B windows of histories, right-padded to the longest of them."""

    items: Tensor
    """[B, L'] int64 inputs; 0 at padding."""
    targets: Tensor
    """[B, L'] int64 next items; 0 where there is none."""
    rows: Tensor
    """[B, L'] int64 row of each input interaction in the flat array; -1 at padding."""

    def to(self, device: torch.device | str) -> "IDBatch":
        """The same batch on another device."""
        return IDBatch(self.items.to(device), self.targets.to(device), self.rows.to(device))


@dataclass(frozen=True)
class _Windows:
    """Inputs ``first .. first + length - 1`` of each window; rows from ``end`` on belong to the next user."""

    first: np.ndarray
    length: np.ndarray
    end: np.ndarray


class IDBatches:
    """Length-bucketed batches of about ``batch_targets`` targets.

    items [rows] int: item of every interaction; user u owns ``starts[u] .. ends[u] - 1``, in time order. Raises
    IDModelError where the arrays do not fit together or nobody has two interactions.
    """

    def __init__(
        self,
        items: np.ndarray,
        starts: np.ndarray,
        ends: np.ndarray,
        max_length: int,
        batch_targets: int,
        seed: int,
    ) -> None:
        _check(items, starts, ends, max_length, batch_targets, seed)
        self.items, self.starts, self.ends = items, starts, ends
        self._batch_targets = batch_targets
        self._seed = seed
        self._inputs = _cut(starts, ends, ends, max_length)
        self._training = _cut(starts, ends - 1, ends, max_length)  # the last item of a user has no target
        if not len(self._training.first):
            raise IDModelError("nothing to train on: no user has two interactions")

    def __len__(self) -> int:
        """Batches per epoch."""
        return _batch_count(self._training.length, self._batch_targets)

    def epoch(self, epoch: int, skip: int = 0) -> Iterator[IDBatch]:
        """Batches of one epoch but the first ``skip``; their order depends on (seed, epoch) only."""
        random = np.random.default_rng((self._seed, epoch))
        lengths = self._training.length
        order = np.argsort(lengths + random.uniform(0, _LENGTH_JITTER, len(lengths)))
        batches = _split(order, lengths, self._batch_targets)
        for chosen in random.permutation(len(batches))[skip:]:
            yield self._batch(self._training, batches[chosen])

    def inputs(self) -> Iterator[IDBatch]:
        """Every interaction as input exactly once, each user's last one (without target) included; shortest first."""
        lengths = self._inputs.length
        for chosen in _split(np.argsort(lengths, kind="stable"), lengths, self._batch_targets):
            yield self._batch(self._inputs, chosen)

    def _batch(self, windows: _Windows, chosen: np.ndarray) -> IDBatch:
        first, length, end = windows.first[chosen], windows.length[chosen], windows.end[chosen]
        offsets = np.arange(length.max())
        rows = first[:, None] + offsets  # [B, L']
        real = offsets < length[:, None]
        with_target = real & (rows + 1 < end[:, None])
        inputs = np.where(real, self.items[np.where(real, rows, 0)], 0)
        targets = np.where(with_target, self.items[np.where(with_target, rows + 1, 0)], 0)
        return IDBatch(int_tensor(inputs), int_tensor(targets), int_tensor(np.where(real, rows, -1)))


def padded_histories(items: np.ndarray, starts: np.ndarray, ends: np.ndarray, max_length: int) -> tuple[Tensor, Tensor]:
    """The last ``max_length`` items of each of B histories ``starts .. ends - 1``: [B, L'] and their lengths [B].

    Left-aligned and right-padded with 0; L' is the longest of them, and 1 where all are empty.
    """
    first = np.maximum(starts, ends - max_length)
    length = ends - first
    offsets = np.arange(max(1, length.max(initial=0)))
    real = offsets < length[:, None]
    padded = np.zeros(real.shape, dtype=np.int64)
    padded[real] = items[(first[:, None] + offsets)[real]]
    return int_tensor(padded), int_tensor(length)


def _check(
    items: np.ndarray, starts: np.ndarray, ends: np.ndarray, max_length: int, batch_targets: int, seed: int
) -> None:
    if max_length < 1 or batch_targets < 1 or seed < 0:
        raise IDModelError(
            f"max_length and batch_targets must be at least 1 and seed at least 0, "
            f"got {max_length}, {batch_targets} and {seed}"
        )
    if len(starts) != len(ends):
        raise IDModelError(f"{len(starts)} starts but {len(ends)} ends: one of each per user")
    if len(starts) and (starts.min() < 0 or ends.max() > len(items) or (starts > ends).any()):
        raise IDModelError(f"a user's interactions lie outside the {len(items)} given ones")
    if len(items) and items.min() < 1:
        raise IDModelError("item ids start at 1; 0 is padding")


def _cut(starts: np.ndarray, stops: np.ndarray, ends: np.ndarray, max_length: int) -> _Windows:
    """Windows over the inputs ``starts .. stops - 1`` of every user: a first one with the rest, then full ones."""
    inputs = np.maximum(stops - starts, 0)
    counts = -(-inputs // max_length)
    users = np.repeat(np.arange(len(starts)), counts)
    after = np.repeat(np.cumsum(counts), counts) - np.arange(len(users))  # this window and those after it
    first = np.maximum(starts[users], stops[users] - after * max_length)
    length = stops[users] - (after - 1) * max_length - first
    return _Windows(first, length, ends[users])


def _batch_count(lengths: np.ndarray, batch_targets: int) -> int:
    """Batches of about equal size, none of them empty whatever the order of the windows."""
    total, longest = int(lengths.sum()), int(lengths.max(initial=1))
    return max(1, min(-(-total // batch_targets), total // longest))


def _split(order: np.ndarray, lengths: np.ndarray, batch_targets: int) -> list[np.ndarray]:
    sizes = lengths[order]
    before = np.cumsum(sizes) - sizes
    batch = before * _batch_count(lengths, batch_targets) // sizes.sum()  # batch of each window, not falling
    return np.split(order, np.flatnonzero(np.diff(batch)) + 1)


def int_tensor(values: np.ndarray) -> Tensor:
    """Whole numbers of any kind as an int64 tensor of the same shape."""
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.int64))
