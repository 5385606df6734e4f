"""Whether a gain is more than chance: a paired bootstrap over users and over seeds.

Two recommenders are measured on the same M users with the same S seeds. A redraw takes S of the seeds and, apart from
that, M of the users, both with replacement, and computes both means from them, drawing users and seeds independently
(the pigeonhole bootstrap, Owen 2007). Means of S redrawn seeds scatter by (S - 1) / S of the variance of S new ones,
which is much for few: their distance from the mean of all seeds is stretched by sqrt(S / (S - 1)). With a single seed
only users are drawn, and what is said holds for that seed.
"""

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Change:
    """From one recommender to another: difference of means and its share of the first, with 95 % intervals."""

    difference: float
    low: float
    high: float
    relative: float | None
    """None where the first is zero."""
    relative_low: float | None
    relative_high: float | None
    p_value: float
    """Two-sided: twice the share of redraws in which the difference has the other sign or is zero."""
    users: int
    seeds: int


def paired_bootstrap(base: np.ndarray, new: np.ndarray, redraws: int, seed: int) -> Change:
    """The change from ``base`` to ``new``, [S, M] each: seed by seed and user by user the same question."""
    if base.shape != new.shape or base.ndim != 2 or not base.size:
        raise ValueError(f"pairs must be [seeds, users] alike and not empty, got {base.shape} and {new.shape}")
    drawn = _redraw(np.stack([base, new]), redraws, np.random.default_rng(seed))  # [redraws, 2]
    differences = drawn[:, 1] - drawn[:, 0]
    low, high = np.quantile(differences, (0.025, 0.975))
    relative = _relative(np.array([[base.mean(), new.mean()]]))
    bounds = np.quantile(_relative(drawn), (0.025, 0.975)) if (drawn[:, 0] > 0).all() else (None, None)
    return Change(
        difference=float(new.mean() - base.mean()),
        low=float(low),
        high=float(high),
        relative=float(relative[0]) if base.mean() > 0 else None,
        relative_low=None if bounds[0] is None else float(bounds[0]),
        relative_high=None if bounds[1] is None else float(bounds[1]),
        p_value=_p_value(differences),
        users=base.shape[1],
        seeds=base.shape[0],
    )


def _redraw(values: np.ndarray, redraws: int, random: np.random.Generator) -> np.ndarray:
    """Means over redrawn seeds and users of values [2, S, M], [redraws, 2]."""
    by_user = np.ascontiguousarray(values.transpose(2, 0, 1))  # [M, 2, S]
    users, _, seeds = by_user.shape
    means, stretch = np.empty((redraws, 2)), math.sqrt(seeds / max(seeds - 1, 1))
    for number in range(redraws):
        of_seeds = by_user[random.integers(users, size=users)].mean(axis=0)  # [2, S]
        centre = of_seeds.mean(axis=1)
        means[number] = centre + stretch * (of_seeds[:, random.integers(seeds, size=seeds)].mean(axis=1) - centre)
    return means


def _relative(means: np.ndarray) -> np.ndarray:
    base = np.where(means[:, 0] > 0, means[:, 0], np.nan)
    return means[:, 1] / base - 1


def _p_value(differences: np.ndarray) -> float:
    """Never zero: the data itself counts as one more redraw."""
    not_above, not_below = (1 + (differences <= 0).sum(), 1 + (differences >= 0).sum())
    return float(min(1.0, 2 * min(not_above, not_below) / (len(differences) + 1)))
