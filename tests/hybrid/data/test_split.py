from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid.config.schema import DataConfig
from hybrid.data.dataset import Dataset
from hybrid.data.split import TrainingData, split_training
from hybrid.errors import UserError
from hybrid.evaluation.test_part import open_test

LEAVE_ONE_OUT = DataConfig(split="leave_one_out")
GTS_LAST = DataConfig(split="gts_last", valid_share=0.2, test_share=0.2)
IGNORE = lambda line: None  # noqa: E731


def make(histories, times=None):
    """A dataset with one list of items per user, and of times where given."""
    lengths = [len(history) for history in histories]
    items = np.concatenate([np.array(history, np.int32) for history in histories])
    n_items = int(items.max()) + 1
    return Dataset(
        path=Path(),
        name="toy",
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        items=items,
        times=None if times is None else np.concatenate([np.array(t, np.float64) for t in times]),
        ratings=None,
        user_ids=[f"u{u}" for u in range(len(histories))],
        item_ids=["[PAD]", *(f"i{i}" for i in range(1, n_items))],
        item_text=[""] * n_items,
        fingerprint="0" * 16,
    )


def shown(targets):
    """user -> (history, target)"""
    return {
        int(user): (targets.histories.row(m).tolist(), int(item))
        for m, (user, item) in enumerate(zip(targets.users, targets.items, strict=True))
    }


def rows(histories):
    return [histories.row(r).tolist() for r in range(len(histories))]


def test_leave_one_out_by_hand():
    said = []
    dataset = make([[1, 2, 3, 4], [5], [6, 7], [3, 2, 1]])
    data = split_training(dataset, LEAVE_ONE_OUT, said.append)
    assert rows(data.train) == [[1, 2], [5], [6, 7], [3, 2]]
    assert shown(data.valid) == {0: ([1, 2], 3)}
    assert shown(open_test(dataset, LEAVE_ONE_OUT)) == {0: ([1, 2, 3], 4), 3: ([3, 2], 1)}
    assert said == [
        "3 of 4 users have fewer than 4 interactions: with 3 there is no valid target, with fewer no test target"
    ]
    assert data.popularity().tolist() == [0, 1, 2, 1, 0, 1, 1, 1]
    assert data.train.lengths.tolist() == [2, 1, 2, 2]
    assert data.train.ends[:-1].tolist() == data.train.starts[1:].tolist()
    assert data.next_items().tolist() == [item for row in rows(data.train) for item in [*row[1:], 0]]


def test_gts_last_by_hand():
    # Times 1..10; the cuts are the 0.6 and 0.8 quantiles, 6.4 and 8.2: train up to 6, valid 7 and 8, test 9 and 10.
    said = []
    dataset = make([[1, 2, 3, 4, 5], [6, 7, 8], [9], [1]], [[1, 2, 3, 7, 8], [4, 5, 9], [10], [6]])
    data = split_training(dataset, GTS_LAST, said.append)
    assert rows(data.train) == [[1, 2, 3], [6, 7], [], [1]]
    assert data.next_items().tolist() == [2, 3, 0, 7, 0, 0]
    assert shown(data.valid) == {0: ([1, 2, 3, 4], 5)}
    assert shown(open_test(dataset, GTS_LAST)) == {1: ([6, 7], 8)}
    assert said == [
        "1 of 4 users have a valid or test target that is their first interaction; such targets are left out"
    ]


@st.composite
def datasets(draw):
    """Every interaction has an item of its own, so that an item names its interaction."""
    times = draw(st.lists(st.lists(st.integers(0, 30), min_size=1, max_size=8), min_size=1, max_size=8))
    counter = iter(range(1, 1000))
    return make([[next(counter) for _ in user] for user in times], [sorted(user) for user in times])


def expected(dataset, config):
    """Plain Python: per user the train, valid and test items in time order."""
    first, second = np.quantile(dataset.times, [0.6, 0.8])
    for u in range(dataset.n_users):
        part = slice(dataset.offsets[u], dataset.offsets[u + 1])
        items, times = dataset.items[part].tolist(), dataset.times[part].tolist()
        if config.split == "leave_one_out":
            cut = max(len(items) - 1, 2)
            valid_cut = max(len(items) - 2, 2)
        else:
            cut = sum(time <= second for time in times)
            valid_cut = sum(time <= first for time in times)
        yield items[:valid_cut], items[valid_cut:cut], items[cut:]


def arrays_behind(value):
    """All arrays of a TrainingData, with those they are views of."""
    if isinstance(value, np.ndarray):
        yield value
        yield from arrays_behind(value.base)
    elif hasattr(value, "__dataclass_fields__"):
        for field in value.__dataclass_fields__:
            yield from arrays_behind(getattr(value, field))


@pytest.mark.parametrize("config", [LEAVE_ONE_OUT, GTS_LAST], ids=["leave_one_out", "gts_last"])
@settings(deadline=None)
@given(datasets())
def test_split_equals_plain_python_and_hides_the_test_part(config, dataset):
    parts = list(expected(dataset, config))
    valid = {u: ((t + v)[:-1], v[-1]) for u, (t, v, _) in enumerate(parts) if v and len(t + v) > 1}
    test = {u: ((t + v + s)[:-1], s[-1]) for u, (t, v, s) in enumerate(parts) if s and len(t + v + s) > 1}
    if not valid or not test:
        with pytest.raises(UserError, match=r"data\.split"):
            split_training(dataset, config, IGNORE)
        return
    data = split_training(dataset, config, IGNORE)
    assert rows(data.train) == [t for t, _, _ in parts]
    assert shown(data.valid) == valid
    assert shown(open_test(dataset, config)) == test
    assert data.train.items.tolist() == [item for t, _, _ in parts for item in t]
    assert_no_test_item(data, {item for _, _, s in parts for item in s})


def assert_no_test_item(data: TrainingData, hidden):
    # Item ids are told from users and positions by where they stand: every array that holds items is looked at.
    holders = [data.train.items, data.valid.items, data.valid.histories.items]
    seen = {int(value) for holder in holders for array in arrays_behind(holder) for value in array.ravel()}
    assert not seen & hidden


def test_no_array_of_the_training_data_leads_back_to_the_dataset():
    dataset = make([[1, 2, 3, 4], [3, 2, 1]])
    data = split_training(dataset, LEAVE_ONE_OUT)
    reached = list(arrays_behind(data))
    assert len(reached) >= 8
    assert not any(np.shares_memory(array, dataset.items) for array in reached)


def test_no_valid_target_is_an_error():
    with pytest.raises(UserError, match=r"leave_one_out: no user has an interaction for the valid part"):
        split_training(make([[1, 2], [3]]), LEAVE_ONE_OUT, IGNORE)


def test_no_test_target_is_an_error():
    with pytest.raises(UserError, match="for the test part"):
        open_test(make([[1, 2], [3]]), LEAVE_ONE_OUT)


def test_gts_last_needs_times():
    with pytest.raises(UserError, match="gts_last needs times"):
        split_training(make([[1, 2, 3]]), GTS_LAST)


def test_gts_last_needs_exact_times():
    config = DataConfig(split="gts_last", time_precision="float32")
    with pytest.raises(UserError, match=r"gts_last needs data\.time_precision=exact, got float32"):
        split_training(make([[1, 2, 3]], [[1, 2, 3]]), config)


def test_gts_last_with_equal_times_only():
    with pytest.raises(UserError, match="no user has an interaction for the valid part"):
        split_training(make([[1, 2, 3]], [[5, 5, 5]]), GTS_LAST)


@pytest.mark.parametrize("shares", [(0.7, 0.3), (0.0, 0.1), (0.1, 0.0)])
def test_shares_that_leave_no_room(shares):
    config = DataConfig(split="gts_last", valid_share=shares[0], test_share=shares[1])
    with pytest.raises(UserError, match="above 0 and together below 1"):
        split_training(make([[1, 2, 3]], [[1, 2, 3]]), config)


def test_a_split_by_time_of_a_dataset_that_is_not_in_time_order_is_refused():
    dataset = make([[1, 2, 3], [2, 3, 1]], times=[[0, 30, 20], [5, 6, 7]])
    with pytest.raises(UserError, match="its interactions are not in time order"):
        split_training(dataset, GTS_LAST, IGNORE)
