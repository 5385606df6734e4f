"""Which targets are trained on, and what is known before them."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid.data.split import Histories, Targets
from hybrid.llm.windows import Windows, last_windows, target_windows, training_windows


def rows_of(lengths: list[int]) -> Histories:
    ends = np.cumsum(lengths)
    return Histories(np.arange(1, sum(lengths) + 1, dtype=np.int32), ends - np.array(lengths), ends)


def slots(windows: Windows) -> list[list[tuple[int, int]]]:
    """(row, target) of each state, by window."""
    pairs = list(zip(windows.rows.tolist(), windows.targets.tolist(), strict=True))
    bounds = np.append(0, np.cumsum(windows.suffixes))
    return [pairs[a:b] for a, b in pairwise(bounds)]


def test_training_window_is_the_last_with_all_targets_in_train(histories) -> None:
    train = histories([5, 6, 7], [8, 9, 1, 2, 3, 4])
    windows = training_windows(train, per_user=1, most_targets=2, epoch=0)
    assert windows.users.tolist() == [0, 1]
    assert windows.ends.tolist() == [2, 8]  # the last train item is only a target
    assert slots(windows) == [[(0, 6), (1, 7)], [(6, 3), (7, 4)]]
    assert windows.user_rows.tolist() == [0, 6]
    assert windows.known.tolist() == [1, 7]


def test_later_epochs_go_back_in_time_and_round(histories) -> None:
    train = histories([8, 9, 1, 2, 3, 4])  # 5 targets: tiles {3, 4}, {1, 2}, {9}
    seen = [[target for _, target in slots(training_windows(train, 1, 2, epoch))[0]] for epoch in range(4)]
    assert seen == [[3, 4], [1, 2], [9], [3, 4]]


def test_users_with_one_train_item_or_none_have_no_training_window(histories) -> None:
    windows = training_windows(histories([1], [], [2, 3]), per_user=3, most_targets=1, epoch=5)
    assert windows.users.tolist() == [2]
    assert slots(windows) == [[(1, 3)]]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 23), min_size=1, max_size=6), st.integers(1, 4), st.integers(1, 5))
def test_every_target_is_trained_on_once_before_any_repeats(lengths: list[int], per_user: int, most: int) -> None:
    train = rows_of(lengths)
    for user, length in enumerate(lengths):
        tiles = -(-max(length - 1, 0) // most)
        needed = -(-tiles // per_user)
        found: list[int] = []
        for epoch in range(needed):
            windows = training_windows(train, per_user, most, epoch)
            found += [t for u, pairs in zip(windows.users, slots(windows), strict=True) if u == user for _, t in pairs]
        expected = set(train.row(user)[1:].tolist())
        assert set(found) == expected
        if tiles and tiles % min(per_user, tiles) == 0:
            assert len(found) == len(expected)


def test_last_windows_end_with_the_state_after_the_last_train_item(histories) -> None:
    windows = last_windows(histories([5, 6, 7], [], [8]), most_targets=2)
    assert windows.users.tolist() == [0, 2]
    assert slots(windows) == [[(1, 7), (2, 0)], [(3, 0)]]
    assert windows.user_rows.tolist() == [1, 3]


def test_target_windows_read_their_own_history_and_know_the_last_train_row(histories) -> None:
    train = histories([5, 6], [], [7])
    targets = Targets(np.array([2, 1, 0]), np.array([9, 4, 3]), histories([7, 8], [1], [5, 6]))
    windows = target_windows(train, targets)
    assert windows.user_rows.tolist() == [2, -1, 1]
    assert slots(windows) == [[(-1, 9)], [(-1, 4)], [(-1, 3)]]
    assert [windows.items[a:b].tolist() for a, b in zip(windows.starts, windows.ends, strict=True)] == [
        [7, 8],
        [1],
        [5, 6],
    ]


@pytest.mark.parametrize("which", [[1], [1, 0], [0, 0], []])
def test_take_keeps_each_windows_own_slots(histories, which: list[int]) -> None:
    windows = last_windows(histories([5, 6, 7], [8]), most_targets=2)
    taken = windows.take(np.array(which, dtype=np.int64))
    assert slots(taken) == [slots(windows)[number] for number in which]
    assert taken.users.tolist() == [[0, 1][number] for number in which]
