"""Selectors: positions in time order, within each sample's own earlier history."""

import numpy as np

from bridges.semantic_space import on_grid
from hybrid.ctr.selectors import RecentBehaviours, RetrievedBehaviours
from hybrid.data.clicks import Behaviours, Samples


def test_the_last_behaviours_in_time_order():
    behaviours = Behaviours(np.arange(1, 10, dtype=np.int32), np.ones(9, dtype=np.int8), np.array([0, 4, 9]))
    numbers = np.array([0, 1, 1])
    samples = Samples(behaviours, numbers, numbers, numbers, np.array([0, 4, 4]), np.array([0, 5, 8]))
    assert RecentBehaviours().select(samples, 3).tolist() == [[-1, -1, -1], [4, -1, -1], [5, 6, 7]]


def test_the_behaviours_like_the_item_offered_in_time_order():
    vectors = on_grid(np.array([[0, 0], [1, 0], [1, 0.1], [0, 1], [0.1, 1]]))
    behaviours = Behaviours(np.array([1, 3, 2, 4, 1, 3], np.int32), np.ones(6, np.int8), np.array([0, 6]))
    zero = np.zeros(2, dtype=np.int64)
    samples = Samples(behaviours, zero, np.array([3, 1]), zero, zero, np.array([5, 3]))
    # Item 3 is like 4 and 3, and what comes at row 5 is later; item 1 is like 1 and 2.
    assert RetrievedBehaviours(vectors).select(samples, 2).tolist() == [[1, 3], [0, 2]]
