"""Batches of click samples."""

import numpy as np
import pytest

from idmodels.click_batches import ClickBatches, ClickRows
from idmodels.errors import IDModelError


def rows(count=50):
    """One user of 60 behaviours, item n at place n - 1; sample m shows item m after the m behaviours before it."""
    numbers = np.arange(count)
    return ClickRows(
        items=np.arange(1, 61),
        marks=np.arange(60) % 3,
        users=numbers % 4,
        starts=np.zeros(count, dtype=int),
        ends=numbers,
        targets=numbers + 1,
        labels=numbers % 2,
    )


def test_a_batch_by_hand():
    batch = rows().batch(np.array([5, 0, 2]), max_length=3)
    assert batch.histories.tolist() == [[3, 4, 5], [0, 0, 0], [1, 2, 0]]
    assert batch.marks.tolist() == [[2, 0, 1], [0, 0, 0], [0, 1, 0]]
    assert batch.lengths.tolist() == [3, 0, 2]
    assert batch.targets.tolist() == [6, 1, 3]
    assert batch.labels.tolist() == [1, 0, 0]
    assert batch.users.tolist() == [1, 0, 2]


def test_an_epoch_has_every_sample_once_in_an_order_of_seed_and_epoch():
    batches = ClickBatches(rows(), 10, 4, seed=1)
    epoch = [batch.targets.tolist() for batch in batches.epoch(0)]
    assert len(epoch) == len(batches) == 13
    assert sorted(target for targets in epoch for target in targets) == list(range(1, 51))
    assert [batch.targets.tolist() for batch in ClickBatches(rows(), 10, 4, seed=1).epoch(0)] == epoch
    assert [batch.targets.tolist() for batch in batches.epoch(0, skip=5)] == epoch[5:]
    assert [batch.targets.tolist() for batch in batches.epoch(1)] != epoch
    assert [batch.targets.tolist() for batch in ClickBatches(rows(), 10, 4, seed=2).epoch(0)] != epoch


def test_batches_hold_histories_of_similar_length():
    spread = [np.ptp(batch.lengths.numpy()) for batch in ClickBatches(rows(), 60, 4, seed=0).epoch(0)]
    assert np.mean(spread) < 10  # four of fifty at random: about thirty


def test_no_sample_is_an_error():
    with pytest.raises(IDModelError, match="there is no sample"):
        ClickBatches(rows(0), 10, 4, 0)
