"""Items that users do not have, drawn at random: what was not clicked, where data say only what was.

"Not have" means: in the interactions given. For a part these are its own and those before it, so a drawn item may turn
up in a later part of the same user; leaving those out would tell training what is there.

Letters: N items (row 0 is padding), U users, M draws; n is the number of interactions.
"""

import numpy as np

from hybrid.errors import UserError


def draw_negatives(
    items: np.ndarray, offsets: np.ndarray, users: np.ndarray, n_items: int, random: np.random.Generator
) -> np.ndarray:
    """An item for each of ``users`` [M] that is not among items[offsets[u]:offsets[u+1]], uniform, [M].

    Raises UserError where a user has every item.
    """
    owners = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    had = np.unique(owners * n_items + items)  # sorted (user, item) pairs
    counts = np.bincount(had // n_items, minlength=len(offsets) - 1)
    if (counts[users] >= n_items - 1).any():
        raise UserError(f"data.negatives: a user has all {n_items - 1} items, so there is none that was not clicked")
    drawn = np.zeros(len(users), dtype=np.int64)
    open_ = np.arange(len(users))
    while len(open_):
        drawn[open_] = random.integers(1, n_items, len(open_))
        pairs = users[open_] * n_items + drawn[open_]
        places = np.minimum(np.searchsorted(had, pairs), len(had) - 1)
        open_ = open_[had[places] == pairs]
    return drawn
