"""Batches of rows of similar length."""

import numpy as np

from idmodels.buckets import bucket


def test_buckets_hold_every_row_once_and_waste_little() -> None:
    lengths = np.random.default_rng(0).integers(20, 200, size=1000)
    batches = bucket(lengths, 16, np.random.default_rng(1))
    assert sorted(np.concatenate(batches).tolist()) == list(range(1000))
    assert len(batches) == 63
    padded = sum(len(batch) * lengths[batch].max() for batch in batches)
    assert padded < 1.05 * lengths.sum()
    longest = [lengths[batch].max() for batch in batches]
    assert longest != sorted(longest)


def test_rows_are_sorted_among_so_many_batches_only() -> None:
    lengths = np.arange(64)
    whole, few = (bucket(lengths, 4, np.random.default_rng(1), count) for count in (16, 1))
    assert all(np.ptp(batch) == 3 for batch in whole)
    assert max(np.ptp(batch) for batch in few) > 20
