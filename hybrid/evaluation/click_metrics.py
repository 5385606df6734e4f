"""Metrics of task ctr from logits and labels, and intervals for them.

AUC counts a tie as half. UAUC is the mean of the AUCs of users with both classes. ECE has 15 bins of equal
width (Guo et al., ICML 2017): the mean distance of a bin's share of clicks from its mean probability, weighted by its
size. Probabilities are sigmoids of the logits; LogLoss is computed from the logits, so none is cut off.

Letters: M samples, U users.
"""

from collections.abc import Callable

import numpy as np

BINS = 15
METRICS = ("auc", "uauc", "logloss", "acc", "ece")


def click_metrics(logits: np.ndarray, labels: np.ndarray, users: np.ndarray) -> dict[str, float]:
    """`METRICS` of logits [M] against labels [M] of 0 and 1; UAUC is NaN where no user has both classes."""
    logits = np.asarray(logits, dtype=np.float64)
    values = per_user_auc(logits, labels, users)
    return {
        "auc": auc(logits, labels),
        "uauc": float(values.mean()) if len(values) else float("nan"),
        "logloss": float(_log_losses(logits, labels).mean()),
        "acc": float(((logits > 0) == (labels == 1)).mean()),
        "ece": calibration_error(sigmoid(logits), labels),
    }


def auc(logits: np.ndarray, labels: np.ndarray) -> float:
    """Share of pairs of a click and no click in the right order; NaN where there is one class only."""
    clicked = labels == 1
    n_clicked = int(clicked.sum())
    pairs = n_clicked * (len(labels) - n_clicked)
    if not pairs:
        return float("nan")
    return float((average_ranks(logits)[clicked].sum() - n_clicked * (n_clicked + 1) / 2) / pairs)


def per_user_auc(logits: np.ndarray, labels: np.ndarray, users: np.ndarray) -> np.ndarray:
    """AUC of each user with both classes, in the order of their numbers."""
    numbers, row = np.unique(users, return_inverse=True)
    order = np.lexsort((logits, row))
    starts = np.searchsorted(row[order], np.arange(len(numbers)))
    ranks = np.empty(len(row))
    ranks[order] = _tied_ranks(logits[order], row[order]) - starts[row[order]]  # from 1 within each user
    clicked = labels == 1
    n_clicked = np.bincount(row, clicked, minlength=len(numbers))
    pairs = n_clicked * (np.bincount(row, minlength=len(numbers)) - n_clicked)
    right = np.bincount(row, ranks * clicked, minlength=len(numbers)) - n_clicked * (n_clicked + 1) / 2
    both = pairs > 0
    return right[both] / pairs[both]


def calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """ECE; a probability of 1 belongs to the last bin."""
    bins = np.minimum((probabilities * BINS).astype(np.int64), BINS - 1)
    distance = np.bincount(bins, labels, minlength=BINS) - np.bincount(bins, probabilities, minlength=BINS)
    return float(np.abs(distance).sum() / len(labels))


def intervals(
    logits: np.ndarray, labels: np.ndarray, users: np.ndarray, redraws: int, seed: int, share: float = 0.95
) -> dict[str, tuple[float, float]]:
    """Bootstrap percentile interval of each metric; equal seeds draw the same samples for every model.

    Samples are redrawn with replacement, as if they did not depend on each other: where few users have many samples
    each, intervals are too narrow. For UAUC, whose unit is the user, the users are redrawn. A redraw with one class
    only is left out. Empty for no redraws.
    """
    random = np.random.default_rng(seed)
    by_user = per_user_auc(logits, labels, users)
    measures: dict[str, Callable[[np.ndarray], float]] = {
        "auc": lambda drawn: auc(logits[drawn], labels[drawn]),
        "logloss": lambda drawn: float(losses[drawn].mean()),
        "acc": lambda drawn: float(right[drawn].mean()),
        "ece": lambda drawn: calibration_error(probabilities[drawn], labels[drawn]),
    }
    losses, right, probabilities = _log_losses(logits, labels), (logits > 0) == (labels == 1), sigmoid(logits)
    found: dict[str, list[float]] = {name: [] for name in METRICS}
    for _ in range(redraws):
        drawn = random.integers(len(labels), size=len(labels))
        for name, measure in measures.items():
            found[name].append(measure(drawn))
        if len(by_user):
            found["uauc"].append(float(by_user[random.integers(len(by_user), size=len(by_user))].mean()))
    edges = (50 * (1 - share), 50 * (1 + share))
    return {name: _percentiles(np.array(values), edges) for name, values in found.items() if values}


def average_ranks(values: np.ndarray) -> np.ndarray:
    """Rank of each value from 1, equal ones sharing the mean of theirs."""
    order = np.argsort(values, kind="stable")
    ranks = np.empty(len(values))
    ranks[order] = _tied_ranks(values[order], np.zeros(len(values), dtype=np.int64))
    return ranks


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Probabilities of logits, without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * logits))


def _tied_ranks(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Places from 1 of sorted values, equal ones of a group sharing the mean of theirs."""
    new = np.append(True, (np.diff(values) != 0) | (np.diff(groups) != 0))
    first = np.flatnonzero(new)
    last = np.append(first[1:], len(values))
    return ((first + 1 + last) / 2)[np.cumsum(new) - 1]


def _log_losses(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return np.logaddexp(0, np.where(labels == 1, -logits, logits))


def _percentiles(values: np.ndarray, edges: tuple[float, float]) -> tuple[float, float]:
    known = values[~np.isnan(values)]
    low, high = np.percentile(known, edges) if len(known) else (np.nan, np.nan)
    return float(low), float(high)
