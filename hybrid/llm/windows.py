"""Windows: which part of a history a prompt reads, and which of its states predict.

A window ends before position `end` of the interactions; the states after its last k items predict the items after them.
Letters: B windows, L history length, U users, M suffix slots; n is the number of interactions.
"""

from dataclasses import dataclass

import numpy as np

from hybrid.data.split import Histories, Targets
from idmodels.ragged import positions, row_starts


@dataclass(frozen=True, eq=False)
class Windows:
    """B windows over one array of interactions."""

    items: np.ndarray
    """[n] int32."""
    users: np.ndarray
    """[B]."""
    starts: np.ndarray
    """[B] where the user's history begins in ``items``."""
    ends: np.ndarray
    """[B] where the window ends, exclusive."""
    suffixes: np.ndarray
    """[B] number k of states that predict; 1 where the history is empty."""
    targets: np.ndarray
    """[M] true next item after each of these states; 0: unknown."""
    rows: np.ndarray
    """[M] row of the train interaction each state stands after; -1: none."""
    user_rows: np.ndarray
    """[B] row of the newest train interaction known at the window's first such state; -1: none."""

    def __len__(self) -> int:
        return len(self.users)

    @property
    def known(self) -> np.ndarray:
        """End of what is known at the first of the k states, exclusive, [B]."""
        return self.ends - self.suffixes + 1

    def take(self, which: np.ndarray) -> "Windows":
        """The windows numbered ``which``, in that order."""
        slots = positions(row_starts(self.suffixes)[which], self.suffixes[which])
        return Windows(
            self.items,
            self.users[which],
            self.starts[which],
            self.ends[which],
            self.suffixes[which],
            self.targets[slots],
            self.rows[slots],
            self.user_rows[which],
        )


def windows_in_train(train: Histories, users: np.ndarray, ends: np.ndarray, most_targets: int) -> Windows:
    """Windows of train histories, each not empty, with up to ``most_targets`` states.

    The target of a state after the user's last train interaction is 0: it is not training's to know.
    """
    starts = train.starts[users]
    suffixes = np.minimum(most_targets, ends - starts)
    rows = positions(ends - suffixes, suffixes)
    following = train.items[np.minimum(rows + 1, len(train.items) - 1)].astype(np.int64)
    targets = np.where(rows + 1 < np.repeat(train.ends[users], suffixes), following, 0)
    return Windows(train.items, users, starts, ends, suffixes, targets, rows, user_rows=ends - suffixes)


def training_windows(train: Histories, per_user: int, most_targets: int, epoch: int) -> Windows:
    """Up to ``per_user`` windows of each user whose targets are all train items.

    A history is tiled from its end into windows of ``most_targets`` targets; each epoch takes a user's next windows,
    from the newest back to the oldest and round again. So every target is trained on within
    ``ceil(tiles / per_user)`` epochs, the newest first. Users with one train item have no window.
    """
    tiles = -(-np.maximum(train.lengths - 1, 0) // most_targets)  # [U]
    counts = np.minimum(tiles, per_user)
    users = np.repeat(np.arange(len(train)), counts)
    tile = (np.repeat(epoch * counts, counts) + positions(np.zeros_like(counts), counts)) % tiles[users]
    ends = train.ends[users] - 1 - tile * most_targets
    return windows_in_train(train, users, ends, most_targets)


def last_windows(train: Histories, most_targets: int) -> Windows:
    """The last window of each user who has train items, with the state after the last one; that one's target is 0."""
    users = np.flatnonzero(train.lengths > 0)
    return windows_in_train(train, users, train.ends[users], most_targets)


def item_windows(items: np.ndarray) -> Windows:
    """A history of one item for each of ``items``, as of a user nobody knows; its target and row are unknown."""
    n = len(items)
    every, nothing = np.arange(n), np.full(n, -1)
    ones = np.ones(n, dtype=np.int64)
    return Windows(items, nothing, every, every + 1, ones, np.zeros(n, dtype=np.int64), nothing, user_rows=nothing)


def target_windows(train: Histories, targets: Targets) -> Windows:
    """One window per target: the whole history before it, one state at the end, whose row is not a train row.

    The user -1 is nobody that training knows.
    """
    histories = targets.histories
    train_ends = train.ends[targets.users]
    has_train = (train_ends > train.starts[targets.users]) & (targets.users >= 0)
    ones = np.ones(len(targets), dtype=np.int64)
    return Windows(
        items=histories.items,
        users=targets.users,
        starts=histories.starts,
        ends=histories.ends,
        suffixes=ones,
        targets=targets.items,
        rows=-ones,
        user_rows=np.where(has_train, train_ends - 1, -1),
    )
