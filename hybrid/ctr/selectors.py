"""Which of a user's earlier behaviours the language model reads before it judges a sample.

Letters: M samples, K behaviours read.
"""

from typing import Protocol

import numpy as np

from hybrid.data.clicks import Samples


class BehaviourSelector(Protocol):
    """Selects behaviours from each sample's earlier history."""

    def select(self, samples: Samples, count: int) -> np.ndarray:
        """Positions in ``samples.behaviours``, [M, K] int64, K = ``count``: in time order, padded at the end with -1.

        Each lies in its sample's [start, end).
        """


class RecentBehaviours:
    """The last K behaviours."""

    def select(self, samples: Samples, count: int) -> np.ndarray:
        """See `BehaviourSelector`."""
        first = np.maximum(samples.starts, samples.ends - count)
        positions = first[:, None] + np.arange(count)
        return np.where(positions < samples.ends[:, None], positions, -1)
