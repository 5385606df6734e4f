"""Samples of task ctr: a user, an item that was shown, whether it was clicked (liked), and all the user did before.

Only train and valid part are made here, from copies without the test part; `hybrid.evaluation.test_part` alone reads
the rest. Labels: a rating above the threshold, or, with `data.negatives`, every interaction is a click beside items
drawn from those the user does not have (`hybrid.data.negatives`).

Letters: N items (row 0 is padding), U users, M samples; n is the number of interactions.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from hybrid.config.schema import DataConfig
from hybrid.data.click_cuts import ClickCuts, click_cuts
from hybrid.data.dataset import Dataset
from hybrid.data.negatives import draw_negatives
from hybrid.data.split import Histories, copy_ranges
from hybrid.errors import UserError

_info = logging.getLogger("hybrid.data").info


@dataclass(frozen=True, eq=False)
class Behaviours:
    """Interactions of all users that may be read, user after user, in time order."""

    items: np.ndarray
    """[n] int32."""
    liked: np.ndarray
    """[n] int8; 1: liked, 0: not, -1: nobody knows (labels do not come from ratings)."""
    offsets: np.ndarray
    """[U+1] int64; user u has items[offsets[u]:offsets[u+1]]."""


@dataclass(frozen=True, eq=False)
class Samples:
    """M samples in time order; the history of sample m is `behaviours` from starts[m] up to ends[m], exclusive."""

    behaviours: Behaviours
    users: np.ndarray
    """[M] int64."""
    items: np.ndarray
    """[M] int64, the items shown."""
    labels: np.ndarray
    """[M] int8; 1: clicked (liked)."""
    starts: np.ndarray
    """[M] int64."""
    ends: np.ndarray
    """[M] int64."""

    def __len__(self) -> int:
        return len(self.users)

    @property
    def lengths(self) -> np.ndarray:
        """Length of each history, [M]."""
        return self.ends - self.starts

    def take(self, which: np.ndarray) -> "Samples":
        """The samples numbered ``which``, in that order."""
        names = ("users", "items", "labels", "starts", "ends")
        return replace(self, **{name: getattr(self, name)[which] for name in names})


@dataclass(frozen=True, eq=False)
class ClickData:
    """All that training may know."""

    train: Samples
    valid: Samples
    train_ends: np.ndarray
    """[U] end of each user's train part in the behaviours of `train`, exclusive."""
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

    def train_part(self) -> Histories:
        """All interactions of the train part, liked or not, user after user."""
        behaviours = self.train.behaviours
        return copy_ranges(behaviours.items, behaviours.offsets[:-1], self.train_ends)

    def train_items(self) -> np.ndarray:
        """Items of all interactions in the train part."""
        return self.train_part().items


def split_clicks(dataset: Dataset, config: DataConfig, log: Callable[[str], None] = _info) -> ClickData:
    """Cut the test part off and return the rest.

    Raises UserError where there are no times, no ratings and no negatives asked for, no sample for a part, or a part
    with one class only.
    """
    cuts = click_cuts(dataset.offsets, dataset.times, config)
    check_labels(dataset, config)
    visible = copy_behaviours(dataset, config, cuts.valid_ends)
    shift = (np.asarray(dataset.offsets) - visible.offsets)[:-1]  # [U] how far each user's rows have moved
    train, valid = (_moved(cuts, rows, shift) for rows in (cuts.train, cuts.valid))
    random = np.random.default_rng((config.sample_seed, 0))
    train_ends = cuts.train_ends - shift
    trained = copy_behaviours(dataset, config, cuts.train_ends)
    data = ClickData(
        train=make_samples(visible, *train, dataset.n_items, config.negatives, random, owned=trained),
        valid=make_samples(visible, *valid, dataset.n_items, config.negatives, random),
        train_ends=train_ends,
        n_items=dataset.n_items,
        n_users=dataset.n_users,
        item_ids=dataset.item_ids,
        item_text=dataset.item_text,
        user_ids=dataset.user_ids,
        fingerprint=dataset.fingerprint,
    )
    check_classes(data.train, "train", config)
    check_classes(data.valid, "valid", config)
    _report(data, cuts, config, log)
    return data


def check_labels(dataset: Dataset, config: DataConfig) -> None:
    """Raise UserError where labels can come from nowhere."""
    if dataset.ratings is None and not config.negatives:
        raise UserError(
            f"task=ctr: {dataset.name} has no ratings to make labels from; ask for items that were not clicked with "
            "data.negatives=1 (so many for each click), or name the column in data.rating_field"
        )


def copy_behaviours(dataset: Dataset, config: DataConfig, ends: np.ndarray) -> Behaviours:
    """A copy of each user's interactions before ``ends`` [U]."""
    starts = np.asarray(dataset.offsets)[:-1]
    copied = copy_ranges(dataset.items, starts, ends)
    if config.negatives or dataset.ratings is None:
        liked = np.full(len(copied.items), -1, dtype=np.int8)
    else:
        liked = (copy_ranges(dataset.ratings, starts, ends).items > config.label_threshold).astype(np.int8)
    return Behaviours(copied.items, liked, np.append(copied.starts, len(copied.items)))


def make_samples(
    behaviours: Behaviours,
    users: np.ndarray,
    rows: np.ndarray,
    n_items: int,
    negatives: int,
    random: np.random.Generator,
    owned: Behaviours | None = None,
) -> Samples:
    """One sample for each interaction ``rows`` of ``users``, with ``negatives`` drawn ones after each.

    Drawn are items that the user does not have in ``owned`` (none: in ``behaviours``).
    """
    items, labels = behaviours.items[rows].astype(np.int64), np.abs(behaviours.liked[rows])
    samples = Samples(behaviours, users, items, labels, behaviours.offsets[users], rows)
    if not negatives:
        return samples
    samples = samples.take(np.repeat(np.arange(len(samples)), negatives + 1))
    drawn = np.arange(len(samples)) % (negatives + 1) > 0
    had = owned or behaviours
    new = draw_negatives(had.items, had.offsets, samples.users[drawn], n_items, random)
    items, labels = samples.items.copy(), samples.labels.copy()
    items[drawn], labels[drawn] = new, 0
    return replace(samples, items=items, labels=labels)


def check_classes(samples: Samples, part: str, config: DataConfig) -> None:
    """Raise UserError where all samples of a part have the same label."""
    if samples.labels.min() == samples.labels.max():
        found = "above" if samples.labels[0] else "at or below"
        raise UserError(
            f"all {len(samples)} samples of the {part} part are rated {found} data.label_threshold="
            f"{config.label_threshold:g}, so there is nothing to tell apart; choose another threshold"
        )


def draw_samples(samples: Samples, count: int, seed: int) -> Samples:
    """``count`` random samples in their order, 0: all; of one seed, a smaller draw is part of a larger one."""
    if count == 0 or count >= len(samples):
        return samples
    return samples.take(np.sort(np.random.default_rng(seed).permutation(len(samples))[:count]))


def draw_both_classes(samples: Samples, asked: str, count: int, seed: int) -> Samples:
    """`draw_samples`; ``asked`` is how the user asked for it. Raises UserError where those drawn are of one class."""
    if count > len(samples):
        _info("%s: there are %d, all are taken", asked, len(samples))
    drawn = draw_samples(samples, count, seed)
    if drawn.labels.min() == drawn.labels.max():
        answer = "clicked" if drawn.labels[0] else "not clicked"
        raise UserError(f"{asked}: all {len(drawn)} drawn samples were {answer}; ask for more of them")
    return drawn


def _moved(cuts: ClickCuts, rows: np.ndarray, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    users = cuts.users[rows]
    return users, rows - shift[users]


def _report(data: ClickData, cuts: ClickCuts, config: DataConfig, log: Callable[[str], None]) -> None:
    if config.negatives:
        source = f"labels: each interaction is a click, beside {config.negatives} drawn items that the user never had"
    else:
        source = f"labels: rating above {config.label_threshold:g}"
    log(
        f"{source}; {len(data.train)} train and {len(data.valid)} valid samples, "
        f"{data.train.labels.mean():.1%} and {data.valid.labels.mean():.1%} clicked"
    )
    if cuts.n_dropped:
        log(f"{cuts.n_dropped} interactions with fewer than {config.min_history} before them are history only")
