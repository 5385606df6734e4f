"""k-core filter: the largest set of interactions in which every user and every item has enough of them."""

import numpy as np


def k_core(users: np.ndarray, items: np.ndarray, user_core: int, item_core: int) -> np.ndarray:
    """Positions of the interactions that stay, in order, [n'] int64.

    `users` [n] and `items` [n] are ids from 0. Short users and rare items are dropped in turns until none is left: the
    result does not depend on the order in which they go.
    """
    kept = np.arange(len(users))
    if user_core <= 1 and item_core <= 1:
        return kept
    while True:
        user_counts, item_counts = np.bincount(users[kept]), np.bincount(items[kept])
        stays = (user_counts[users[kept]] >= user_core) & (item_counts[items[kept]] >= item_core)
        if stays.all():
            return kept
        kept = kept[stays]
