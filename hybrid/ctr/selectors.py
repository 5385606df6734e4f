"""Which of a user's earlier behaviours the language model reads before it judges a sample.

Letters: M samples, K behaviours read, N items (row 0 is padding), P width of the space of behaviours.
"""

from typing import Protocol

import numpy as np

from bridges.retrieval import most_similar
from hybrid.data.clicks import Samples


class BehaviourSelector(Protocol):
    """Selects behaviours from each sample's earlier history."""

    def select(self, samples: Samples, count: int) -> np.ndarray:
        """Positions in ``samples.behaviours``, [M, K] whole, K = ``count``: in time order, padded at the end with -1.

        Each lies in its sample's [start, end).
        """


class RecentBehaviours:
    """The last K behaviours."""

    def select(self, samples: Samples, count: int) -> np.ndarray:
        """See `BehaviourSelector`."""
        first = np.maximum(samples.starts, samples.ends - count)
        positions = first[:, None] + np.arange(count)
        return np.where(positions < samples.ends[:, None], positions, -1)


class RetrievedBehaviours:
    """The K behaviours most similar to the item that is offered, of all that the user did before (ReLLa).

    ``vectors`` [N, P] are those of `bridges.semantic_space`.
    """

    def __init__(self, vectors: np.ndarray) -> None:
        self.vectors = vectors

    def select(self, samples: Samples, count: int) -> np.ndarray:
        """See `BehaviourSelector`."""
        return most_similar(self.vectors, samples.behaviours.items, samples.starts, samples.ends, samples.items, count)
