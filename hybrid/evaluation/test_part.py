"""The one door to the test part: for measuring, and for serving. Nothing that trains may import this module."""

import numpy as np

from hybrid.config.schema import DataConfig
from hybrid.data.click_cuts import click_cuts
from hybrid.data.clicks import Samples, check_classes, check_labels, copy_behaviours, make_samples
from hybrid.data.cuts import cut_positions
from hybrid.data.dataset import Dataset
from hybrid.data.split import Histories, Targets
from hybrid.errors import UserError


def open_test(dataset: Dataset, config: DataConfig) -> Targets:
    """The test targets, M of them, each with all that its user did before it.

    Raises UserError where the split needs times the data has not, or leaves no test target.
    """
    cuts = cut_positions(dataset.offsets, dataset.times, config)
    users = np.flatnonzero(cuts.test >= 0)
    if not len(users):
        raise UserError(f"data.split={config.split}: no user has an interaction for the test part {cuts.hint}")
    positions = cuts.test[users]
    items = np.asarray(dataset.items)
    histories = Histories(items, np.asarray(dataset.offsets)[users], positions)
    return Targets(users, items[positions].astype(np.int64), histories)


def whole_history(dataset: Dataset, user: int) -> np.ndarray:
    """All items of the user in row ``user``, oldest first, those of the test part included; [L] int32."""
    return np.asarray(dataset.items[dataset.offsets[user] : dataset.offsets[user + 1]])


def open_click_test(dataset: Dataset, config: DataConfig) -> Samples:
    """The test samples of task ctr, each with all that its user did before it, in the test part too.

    Raises UserError as `split_clicks` does.
    """
    cuts = click_cuts(dataset.offsets, dataset.times, config)
    check_labels(dataset, config)
    everything = copy_behaviours(dataset, config, np.asarray(dataset.offsets)[1:])
    random = np.random.default_rng((config.sample_seed, 1))
    samples = make_samples(everything, cuts.users[cuts.test], cuts.test, dataset.n_items, config.negatives, random)
    check_classes(samples, "test", config)
    return samples
