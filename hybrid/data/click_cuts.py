"""The global time split of samples: positions only, never items.

Every interaction with at least `data.min_history` earlier ones of its user makes a sample. All samples in order of
(time, position) are cut into train, valid and test, 8:1:1 by default (ReLLa, WWW 2024): the shares are rounded down,
the rest is test.

Letters: U users; n is the number of interactions.
"""

from dataclasses import dataclass

import numpy as np

from hybrid.config.schema import DataConfig
from hybrid.data.cuts import check_order, check_shares
from hybrid.errors import UserError


@dataclass(frozen=True, eq=False)
class ClickCuts:
    """Positions in a dataset's interaction array; those of a part in time order."""

    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray
    users: np.ndarray
    """[n] user of each interaction."""
    train_ends: np.ndarray
    """[U] the user's interactions before the first valid sample end here."""
    valid_ends: np.ndarray
    """[U] the user's interactions before the first test sample end here: training sees nothing from here on."""
    n_dropped: int
    """Interactions with too little before them."""


def click_cuts(offsets: np.ndarray, times: np.ndarray | None, config: DataConfig) -> ClickCuts:
    """Cut the interactions of users ``offsets`` [U+1]. Raises UserError without times or where a part is empty."""
    order = _time_order(times, offsets, config)
    users = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    depth = np.arange(len(users)) - np.asarray(offsets)[users]
    kept = order[depth[order] >= config.min_history]
    train, valid, test = _parts(kept, config)
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    train_ends, valid_ends = (_ends(offsets, rank < rank[part[0]]) for part in (valid, test))
    return ClickCuts(train, valid, test, users, train_ends, valid_ends, len(order) - len(kept))


def _time_order(times: np.ndarray | None, offsets: np.ndarray, config: DataConfig) -> np.ndarray:
    if times is None:
        raise UserError("task=ctr splits by time and needs times: name their column in data.time_field")
    if config.time_precision != "exact":
        raise UserError(f"task=ctr needs data.time_precision=exact, got {config.time_precision}")
    check_order(times, offsets, config.dataset)
    return np.argsort(times, kind="stable")


def _parts(kept: np.ndarray, config: DataConfig) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    check_shares(config)
    shares = 1 - config.valid_share - config.test_share, config.valid_share
    n_train, n_valid = (int(round(share * len(kept), 6)) for share in shares)
    parts = kept[:n_train], kept[n_train : n_train + n_valid], kept[n_train + n_valid :]
    for name, part in zip(("train", "valid", "test"), parts, strict=True):
        if not len(part):
            raise UserError(
                f"task=ctr: no sample for the {name} part: {len(kept)} interactions have data.min_history="
                f"{config.min_history} earlier ones of their user (shares {shares[0]:g}, {shares[1]:g} and "
                f"{config.test_share:g})"
            )
    return parts


def _ends(offsets: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Where each user's interactions that are ``before`` [n] end; they come first in its history."""
    counts = np.append(0, np.cumsum(before))
    starts = np.asarray(offsets)[:-1]
    return starts + counts[offsets[1:]] - counts[offsets[:-1]]
