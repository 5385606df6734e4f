"""Selectors: positions in time order, within each sample's own earlier history."""

import numpy as np

from hybrid.ctr.selectors import RecentBehaviours
from hybrid.data.clicks import Behaviours, Samples


def test_the_last_behaviours_in_time_order():
    behaviours = Behaviours(np.arange(1, 10, dtype=np.int32), np.ones(9, dtype=np.int8), np.array([0, 4, 9]))
    numbers = np.array([0, 1, 1])
    samples = Samples(behaviours, numbers, numbers, numbers, np.array([0, 4, 4]), np.array([0, 5, 8]))
    assert RecentBehaviours().select(samples, 3).tolist() == [[-1, -1, -1], [4, -1, -1], [5, 6, 7]]
