"""Samples of task ctr: labels, the global time split, histories, drawn negatives, and what training may not know."""

import numpy as np
import pytest

from hybrid.config.load import load_config
from hybrid.config.schema import DataConfig
from hybrid.data.clicks import draw_samples, split_clicks
from hybrid.data.dataset import Dataset
from hybrid.data.prepare import prepare
from hybrid.errors import UserError
from hybrid.evaluation.test_part import open_click_test

QUARTERS = {"valid_share": 0.25, "test_share": 0.25, "min_history": 1}


def make(histories, ratings=None, times=None, n_items=None):
    """A dataset of one list of items per user; times count on from user to user unless they are given."""
    items = np.concatenate([np.array(row) for row in histories]).astype(np.int32)
    offsets = np.append(0, np.cumsum([len(row) for row in histories]))
    times = np.arange(len(items)) if times is None else np.concatenate([np.array(row) for row in times])
    ratings = None if ratings is None else np.concatenate([np.array(row) for row in ratings]).astype(np.float32)
    n_items = n_items or int(items.max()) + 1
    ids = [str(n) for n in range(n_items)]
    users = [f"u{n}" for n in range(len(histories))]
    return Dataset(None, "toy", offsets, items, times.astype(float), ratings, users, ids, ids, "f" * 16)


# Two users in turns: user 0 at the even times, user 1 at the odd ones. Five interactions each, four samples each.
HISTORIES = [[1, 2, 3, 4, 5], [6, 7, 8, 9, 1]]
TIMES = [[0, 2, 4, 6, 8], [1, 3, 5, 7, 9]]
RATINGS = [[5, 4, 3, 5, 1], [1, 2, 5, 3, 4]]


def toy():
    return make(HISTORIES, RATINGS, TIMES)


def described(samples):
    """(user, history, item, label) of every sample."""
    return [
        (
            int(user),
            samples.behaviours.items[start:end].tolist(),
            int(item),
            int(label),
        )
        for user, item, label, start, end in zip(
            samples.users, samples.items, samples.labels, samples.starts, samples.ends, strict=True
        )
    ]


def test_the_split_by_hand():
    data = split_clicks(toy(), DataConfig(**QUARTERS))
    assert described(data.train) == [
        (0, [1], 2, 1),
        (1, [6], 7, 0),
        (0, [1, 2], 3, 0),
        (1, [6, 7], 8, 1),
    ]
    assert described(data.valid) == [(0, [1, 2, 3], 4, 1), (1, [6, 7, 8], 9, 0)]
    test = open_click_test(toy(), DataConfig(**QUARTERS))
    assert described(test) == [(0, [1, 2, 3, 4], 5, 0), (1, [6, 7, 8, 9], 1, 1)]


def test_behaviours_carry_their_own_label():
    valid = split_clicks(toy(), DataConfig(**QUARTERS)).valid
    assert valid.behaviours.liked[valid.starts[0] : valid.ends[0]].tolist() == [1, 1, 0]
    assert valid.behaviours.liked[valid.starts[1] : valid.ends[1]].tolist() == [0, 0, 1]


def test_the_threshold_itself_is_not_liked():
    labels = split_clicks(toy(), DataConfig(label_threshold=4, **QUARTERS)).train.labels
    assert labels.tolist() == [0, 0, 0, 1]


def test_samples_with_a_short_history_are_dropped_but_stay_history():
    lines = []
    config = DataConfig(valid_share=1 / 3, test_share=1 / 3, min_history=2)
    data = split_clicks(toy(), config, lines.append)
    assert described(data.train) == [(0, [1, 2], 3, 0), (1, [6, 7], 8, 1)]
    assert "4 interactions with fewer than 2 before them are history only" in lines[1]


def test_a_user_without_history_is_a_sample_where_that_is_asked_for():
    data = split_clicks(toy(), DataConfig(valid_share=0.2, test_share=0.2, min_history=0))
    assert described(data.train)[0] == (0, [], 1, 1)


def test_shares_are_rounded_down_as_in_the_paper():
    # ml-1m with five behaviours before each sample: 970,009 samples, 776,007 / 97,000 / 97,002.
    dataset = make([np.ones(970_014, dtype=int)], [np.arange(970_014) % 5 + 1], n_items=2)
    data = split_clicks(dataset, DataConfig())
    assert (len(data.train), len(data.valid)) == (776_007, 97_000)
    assert len(open_click_test(dataset, DataConfig())) == 97_002


def test_equal_times_keep_the_order_of_the_users_history():
    dataset = make([[1, 2, 3, 4, 5, 6, 7, 8]], [[5, 1] * 4], [[0] * 8])
    data = split_clicks(dataset, DataConfig(valid_share=0.25, test_share=0.25, min_history=0))
    assert data.train.items.tolist() == [1, 2, 3, 4]
    assert data.valid.items.tolist() == [5, 6]


def test_training_holds_nothing_of_the_test_part():
    # Every item after the cut is 9.
    times = [[0, 1, 2, 3, 4, 12], [5, 6, 7, 8, 10, 13], [9, 11, 14, 15]]
    items = [[1, 2, 3, 4, 5, 9], [1, 2, 3, 4, 5, 9], [6, 9, 9, 9]]
    ratings = [[5, 4, 5, 4, 2, 1], [5, 4, 5, 4, 2, 1], [5, 5, 1, 5]]
    dataset = make(items, ratings, times)
    data = split_clicks(dataset, DataConfig(valid_share=0.3, test_share=0.3, min_history=1))
    behaviours = data.train.behaviours
    assert 9 not in behaviours.items
    assert not np.shares_memory(behaviours.items, dataset.items)
    assert len(behaviours.items) == behaviours.offsets[-1] == 11
    assert data.train_items().tolist() == [1, 2, 3, 4, 5, 1, 2]
    assert described(open_click_test(dataset, DataConfig(valid_share=0.3, test_share=0.3, min_history=1))) == [
        (2, [6], 9, 1),
        (0, [1, 2, 3, 4, 5], 9, 0),
        (1, [1, 2, 3, 4, 5], 9, 0),
        (2, [6, 9], 9, 0),
        (2, [6, 9, 9], 9, 1),
    ]


def test_drawn_negatives_are_items_the_user_never_had():
    lines = []
    random = np.random.default_rng(0)
    histories = [random.permutation(np.arange(1, 12))[:8].tolist() for _ in range(30)]
    dataset = make(histories, n_items=12)
    config = DataConfig(negatives=2, min_history=2)
    data = split_clicks(dataset, config, lines.append)
    test = open_click_test(dataset, config)
    assert len(data.train) == 3 * int(0.8 * 180)
    for samples in (data.train, data.valid, test):
        assert samples.labels.tolist() == [1, 0, 0] * (len(samples) // 3)
        assert (samples.behaviours.liked == -1).all()
        ends = data.train_ends if samples is data.train else samples.behaviours.offsets[1:]
        starts = samples.behaviours.offsets[:-1]
        had = [set(samples.behaviours.items[start:end]) for start, end in zip(starts, ends, strict=True)]
        for user, item, label in zip(samples.users, samples.items, samples.labels, strict=True):
            assert (int(item) in had[user]) == bool(label)
            assert 1 <= item < 12
    again = split_clicks(dataset, config)
    assert np.array_equal(again.train.items, data.train.items)
    assert "2 drawn items that the user never had" in lines[0]
    other = split_clicks(dataset, DataConfig(negatives=2, min_history=2, sample_seed=1))
    assert not np.array_equal(other.train.items, data.train.items)


def test_drawn_negatives_of_the_train_part_tell_nothing_of_the_valid_part():
    random = np.random.default_rng(0)
    histories = [random.permutation(np.arange(1, 31))[:12].tolist() for _ in range(200)]
    dataset = make(histories, times=[[200 * step + user for step in range(12)] for user in range(200)], n_items=31)
    data = split_clicks(dataset, DataConfig(negatives=2, min_history=2))
    drawn = {(user, item) for user, item, label in _triples(data.train) if not label}
    valid = _triples(data.valid)
    shares = [np.mean([(user, item) in drawn for user, item, own in valid if own == label]) for label in (0, 1)]
    assert shares[1] > 0.3  # items that a user takes later are drawn like any other
    assert shares[1] == pytest.approx(shares[0], abs=0.1)


def _triples(samples):
    return list(zip(samples.users.tolist(), samples.items.tolist(), samples.labels.tolist(), strict=True))


def test_drawn_samples_are_nested_and_keep_their_order():
    train = split_clicks(toy(), DataConfig(**QUARTERS)).train
    few, more = draw_samples(train, 2, seed=3), draw_samples(train, 3, seed=3)
    assert set(few.ends) <= set(more.ends)
    assert more.ends.tolist() == [end for end in train.ends.tolist() if end in set(more.ends)]
    assert draw_samples(train, 0, 1) is train


@pytest.mark.parametrize(
    ("dataset", "changes", "message"),
    [
        (make(HISTORIES, None, TIMES), {}, "toy has no ratings .* data.negatives=1"),
        (toy(), {"min_history": 7}, "no sample for the train part: 0 interactions have data.min_history=7"),
        (toy(), {"label_threshold": 9}, "all 4 samples of the train part are rated at or below data.label_threshold=9"),
        (make([[1, 2, 3, 4]] * 4, n_items=5), {"negatives": 1}, "a user has all 4 items"),
        (toy(), {"valid_share": 0.6, "test_share": 0.6}, "must be above 0 and together below 1, got 0.6 and 0.6"),
        (toy(), {"test_share": 0.0}, "must be above 0 and together below 1"),
        (toy(), {"time_precision": "float32"}, "needs data.time_precision=exact, got float32"),
    ],
)
def test_what_cannot_be_split_is_said_in_one_line(dataset, changes, message):
    with pytest.raises(UserError, match=message) as caught:
        split_clicks(dataset, DataConfig(**{**QUARTERS, **changes}))
    assert "\n" not in str(caught.value)


def test_one_class_in_the_valid_part_only():
    ratings = [[5, 1, 5, 5, 1], [5, 1, 5, 5, 1]]
    with pytest.raises(UserError, match=r"all 2 samples of the valid part are rated above data.label_threshold=3"):
        split_clicks(make(HISTORIES, ratings, TIMES), DataConfig(**QUARTERS))


def test_one_class_in_the_test_part_only():
    dataset, config = make(HISTORIES, [[5, 4, 3, 5, 5], [1, 2, 5, 3, 4]], TIMES), DataConfig(**QUARTERS)
    assert len(split_clicks(dataset, config).valid) == 2
    with pytest.raises(UserError, match=r"all 2 samples of the test part are rated above data.label_threshold=3"):
        open_click_test(dataset, config)


def test_data_without_times():
    from dataclasses import replace

    with pytest.raises(UserError, match="splits by time and needs times"):
        split_clicks(replace(toy(), times=None), DataConfig(**QUARTERS))


def test_task_and_split_must_fit():
    with pytest.raises(UserError, match=r"task=ctr cannot use data.split=gts_last; accepted: auto, global_time"):
        load_config(None, ["task=ctr", "data.split=gts_last"])
    with pytest.raises(UserError, match=r"task=ranking cannot use data.split=global_time"):
        load_config(None, ["data.split=global_time"])
    assert load_config(None, ["task=ctr"]).data.split == "auto"


def test_a_prepared_file_becomes_samples(write, config):
    rows = [(user, item, 5 if (user + item) % 2 else 2, 10 * item + user) for user in range(4) for item in range(10)]
    data = split_clicks(prepare(config(write("small.inter", rows))), DataConfig())
    assert (len(data.train), len(data.valid)) == (16, 2)
    assert data.train.lengths.min() == 5


def test_clicks_that_are_not_in_time_order_are_refused():
    with pytest.raises(UserError, match="its interactions are not in time order"):
        split_clicks(make(HISTORIES, RATINGS, [[0, 4, 2, 6, 8], TIMES[1]]), DataConfig(**QUARTERS))
