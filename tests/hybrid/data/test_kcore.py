import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid.data.kcore import k_core


def brute_force(pairs, user_core, item_core):
    """Remove one short user or rare item at a time until there is none."""
    kept = list(range(len(pairs)))
    while True:
        users = [pairs[i][0] for i in kept]
        items = [pairs[i][1] for i in kept]
        short = [i for i in kept if users.count(pairs[i][0]) < user_core or items.count(pairs[i][1]) < item_core]
        if not short:
            return kept
        victim = short[0]
        axis = 0 if users.count(pairs[victim][0]) < user_core else 1
        kept = [i for i in kept if pairs[i][axis] != pairs[victim][axis]]


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=40),
    st.integers(0, 4),
    st.integers(0, 4),
)
def test_k_core_equals_brute_force(pairs, user_core, item_core):
    users, items = np.array(pairs, np.int32).T
    assert k_core(users, items, user_core, item_core).tolist() == brute_force(pairs, user_core, item_core)


def test_a_chain_falls_one_link_after_the_other():
    # User u has items u and u + 1: item 0 is rare, which makes user 0 short, which makes item 1 rare, and so on.
    users, items = np.repeat(np.arange(5), 2), np.array([0, 1, 1, 2, 2, 3, 3, 4, 4, 5])
    assert k_core(users, items, 2, 2).tolist() == []
    assert k_core(users, items, 2, 1).tolist() == list(range(10))
