"""Train and valid part of a dataset, as training may see them.

Only positions of the test part are computed here; its interactions are read by `hybrid.evaluation.test_part` alone. The
arrays of a `TrainingData` are copies without them, so that no view leads back to the test part.

Letters: N items (row 0 is padding), U users, M targets; n is the number of interactions.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hybrid.config.schema import DataConfig
from hybrid.data.cuts import Cuts, cut_positions
from hybrid.data.dataset import Dataset
from hybrid.errors import UserError
from idmodels.ragged import positions, row_starts

_warn = logging.getLogger("hybrid.data").warning


@dataclass(frozen=True, eq=False)
class Histories:
    """Item sequences of R rows in one array."""

    items: np.ndarray
    """[n] int32."""
    starts: np.ndarray
    """[R] int64."""
    ends: np.ndarray
    """[R] int64; row r is items[starts[r]:ends[r]]."""

    def __len__(self) -> int:
        return len(self.starts)

    def row(self, r: int) -> np.ndarray:
        """Items of row r, oldest first."""
        return self.items[self.starts[r] : self.ends[r]]

    @property
    def lengths(self) -> np.ndarray:
        """Length of each row, [R]."""
        return self.ends - self.starts


@dataclass(frozen=True, eq=False)
class Targets:
    """Next items to be predicted, and what is known before each."""

    users: np.ndarray
    """[M] int64."""
    items: np.ndarray
    """[M] int64, the true next items."""
    histories: Histories
    """M rows; none is empty."""

    def __len__(self) -> int:
        return len(self.users)


@dataclass(frozen=True, eq=False)
class TrainingData:
    """All that training may know."""

    train: Histories
    """U rows; `items` holds only train interactions, user after user (starts[u+1] == ends[u])."""
    valid: Targets
    n_items: int
    """N, padding included."""
    n_users: int
    item_ids: list[str]
    """[N] raw ids."""
    item_text: list[str]
    """[N]."""
    user_ids: list[str]
    """[U] raw ids."""
    fingerprint: str
    """The dataset's."""

    def popularity(self) -> np.ndarray:
        """How often each item is in the train part, [N]."""
        return np.bincount(self.train.items, minlength=self.n_items)

    def next_items(self) -> np.ndarray:
        """The item after each train interaction of the same user, [n]; 0 after the last."""
        following = np.append(self.train.items[1:], 0)
        following[self.train.ends[self.train.lengths > 0] - 1] = 0
        return following


def split_training(dataset: Dataset, config: DataConfig, log: Callable[[str], None] = _warn) -> TrainingData:
    """Cut the test part off and return the rest.

    Raises UserError where the split needs times the data has not, or leaves no train or valid interaction.
    """
    cuts = cut_positions(dataset.offsets, dataset.times, config)
    _report(cuts, config, log)
    return TrainingData(
        train=copy_ranges(dataset.items, dataset.offsets[:-1], cuts.train_end),
        valid=_valid_targets(dataset, cuts),
        n_items=dataset.n_items,
        n_users=dataset.n_users,
        item_ids=dataset.item_ids,
        item_text=dataset.item_text,
        user_ids=dataset.user_ids,
        fingerprint=dataset.fingerprint,
    )


def copy_ranges(items: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> Histories:
    """Copy items[starts[r]:ends[r]] of each row, one after the other, into an array of their own."""
    lengths = ends - starts
    new_starts = row_starts(lengths)
    return Histories(np.asarray(items)[positions(starts, lengths)], new_starts, new_starts + lengths)


def _valid_targets(dataset: Dataset, cuts: Cuts) -> Targets:
    users = np.flatnonzero(cuts.valid >= 0)
    positions = cuts.valid[users]
    histories = copy_ranges(dataset.items, dataset.offsets[users], positions)
    return Targets(users, np.asarray(dataset.items)[positions].astype(np.int64), histories)


def _report(cuts: Cuts, config: DataConfig, log: Callable[[str], None]) -> None:
    for part, rows in (("valid", cuts.valid), ("test", cuts.test)):
        if not (rows >= 0).any():
            raise UserError(f"data.split={config.split}: no user has an interaction for the {part} part {cuts.hint}")
    if cuts.n_short:
        log(f"{cuts.n_short} of {len(cuts.valid)} users {cuts.short_reason}")
