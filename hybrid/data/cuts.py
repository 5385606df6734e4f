"""Where each user's history is cut into train, valid and test: positions only, never items.

leave_one_out follows RecBole's ``LS: valid_and_test`` for sequential models: the last interaction is test, the one
before valid, and two at least stay in train, so that there is a target to learn from. A user with three interactions
therefore has a test target but no valid one, and a user with fewer is in train only.

gts_last cuts all interactions at two times, the (1 - valid - test) and the (1 - test) quantile of all times. Train
reaches up to and including the first; a user's last interaction up to the second is the valid target, the last one
after it the test target. A target that is its user's first interaction has no history and is left out.

Letters: U users; n is the number of interactions.
"""

from dataclasses import dataclass

import numpy as np

from hybrid.config.schema import DataConfig
from hybrid.errors import UserError


@dataclass(frozen=True, eq=False)
class Cuts:
    """Positions in a dataset's interaction array."""

    train_end: np.ndarray
    """[U] the user's train part ends before this position."""
    valid: np.ndarray
    """[U] position of the valid target; -1: none."""
    test: np.ndarray
    """[U] position of the test target; -1: none."""
    n_short: int
    """Users that the split treats specially because they have too few interactions."""
    short_reason: str
    """What becomes of them, as the end of a sentence."""
    hint: str
    """What a split that leaves nothing would have needed."""


def cut_positions(offsets: np.ndarray, times: np.ndarray | None, config: DataConfig) -> Cuts:
    """Cut the histories `offsets` [U+1] as `config.split` says. Raises UserError where gts_last lacks times or room."""
    if config.split in ("auto", "leave_one_out"):
        return _leave_one_out(offsets)
    return _gts_last(offsets, times, config)


def _leave_one_out(offsets: np.ndarray) -> Cuts:
    ends = np.asarray(offsets[1:])
    lengths = np.diff(offsets)
    return Cuts(
        train_end=ends - np.clip(lengths - 2, 0, 2),
        valid=np.where(lengths >= 4, ends - 2, -1),
        test=np.where(lengths >= 3, ends - 1, -1),
        n_short=int((lengths < 4).sum()),
        short_reason="have fewer than 4 interactions: with 3 there is no valid target, with fewer no test target",
        hint="(a user needs 4 interactions for valid and 3 for test)",
    )


def _gts_last(offsets: np.ndarray, times: np.ndarray | None, config: DataConfig) -> Cuts:
    first_cut, second_cut = _cut_times(times, offsets, config)
    starts, ends = np.asarray(offsets[:-1]), np.asarray(offsets[1:])
    train_end = starts + _count_up_to(first_cut, times, offsets)
    valid_end = starts + _count_up_to(second_cut, times, offsets)
    has_valid, has_test = valid_end > train_end, ends > valid_end
    cold = (has_valid & (valid_end - 1 == starts)) | (has_test & (ends - 1 == starts))
    return Cuts(
        train_end=train_end,
        valid=np.where(has_valid & (valid_end - 1 > starts), valid_end - 1, -1),
        test=np.where(has_test & (ends - 1 > starts), ends - 1, -1),
        n_short=int(cold.sum()),
        short_reason="have a valid or test target that is their first interaction; such targets are left out",
        hint=f"(the cuts are at times {first_cut:.15g} and {second_cut:.15g})",
    )


def _cut_times(times: np.ndarray | None, offsets: np.ndarray, config: DataConfig) -> tuple[float, float]:
    if times is None:
        raise UserError("data.split=gts_last needs times: name their column in data.time_field, or use leave_one_out")
    if config.time_precision != "exact":
        raise UserError(f"data.split=gts_last needs data.time_precision=exact, got {config.time_precision}")
    check_order(times, offsets, config.dataset)
    check_shares(config)
    first, second = np.quantile(times, [1 - config.valid_share - config.test_share, 1 - config.test_share])
    return float(first), float(second)


def check_order(times: np.ndarray, offsets: np.ndarray, name: str) -> None:
    """Raise UserError where a user's interactions are not in time order, as one prepared with rounded times may be."""
    falls = np.flatnonzero(np.diff(times) < 0) + 1
    if not np.isin(falls, offsets).all():
        raise UserError(
            f"{name} was prepared with times that were rounded (data.time_precision): its interactions are not in time "
            "order, and a split by time would leak later ones; name the raw files in data.dataset"
        )


def check_shares(config: DataConfig) -> None:
    """Raise UserError where the shares of a split by time leave nothing for a part."""
    if min(config.valid_share, config.test_share) <= 0 or config.valid_share + config.test_share >= 1:
        raise UserError(
            "data.valid_share and data.test_share must be above 0 and together below 1, "
            f"got {config.valid_share} and {config.test_share}"
        )


def _count_up_to(time: float, times: np.ndarray | None, offsets: np.ndarray) -> np.ndarray:
    """How many interactions of each user are not later than `time`, [U]."""
    counts = np.concatenate([[0], np.cumsum(np.asarray(times) <= time)])
    return counts[offsets[1:]] - counts[offsets[:-1]]
