import json
import subprocess
import sys

import numpy as np
import pytest

import hybrid.data.prepare
from hybrid.data.dataset import Dataset
from hybrid.data.prepare import prepare, statistics, statistics_table
from hybrid.data.statistics import repeat_share
from hybrid.errors import UserError

ROWS = [
    ("u9", "b", 4, 30),
    ("u2", "a", 3, 20),
    ("u9", "c", 5, 10),
    ("u2", "b", 2, 20),
    ("u9", "a", 1, 10),
    ("u2", "d", 4, 5),
]


def sequences(dataset):
    """Raw id of each user -> raw ids of the items, in time order."""
    parts = np.split(dataset.items, dataset.offsets[1:-1])
    return {user: [dataset.item_ids[i] for i in part] for user, part in zip(dataset.user_ids, parts, strict=True)}


def test_ids_count_from_one_in_order_of_appearance_and_histories_are_in_time_order(write, config):
    dataset = prepare(config(write("toy.inter", ROWS)))
    assert dataset.user_ids == ["u9", "u2"]
    assert dataset.item_ids == ["[PAD]", "b", "a", "c", "d"]
    assert dataset.offsets.tolist() == [0, 3, 6]
    # Equal times keep the order of the file: c before a (both 10), a before b (both 20).
    assert sequences(dataset) == {"u9": ["c", "a", "b"], "u2": ["d", "a", "b"]}
    assert dataset.times.tolist() == [10, 10, 30, 5, 20, 20]
    assert dataset.ratings.tolist() == [5, 1, 4, 4, 3, 2]
    assert (dataset.n_items, dataset.n_users, dataset.n_interactions) == (5, 2, 6)
    assert (dataset.items.dtype, dataset.offsets.dtype) == (np.int32, np.int64)
    assert isinstance(dataset.items, np.memmap)


def test_without_a_time_field_the_order_of_the_rows_counts(write, config):
    dataset = prepare(config(write("toy.inter", ROWS), time_field=""))
    assert dataset.times is None
    assert sequences(dataset) == {"u9": ["b", "c", "a"], "u2": ["a", "b", "d"]}


def test_ids_that_look_like_numbers_stay_text(write, config):
    rows = [("01", "1.0", 1, 1), ("1", "1", 1, 2), ("1", "NA", 1, 3)]
    dataset = prepare(config(write("toy.inter", rows)))
    assert dataset.user_ids == ["01", "1"]
    assert dataset.item_ids == ["[PAD]", "1.0", "1", "NA"]


def test_low_ratings_are_dropped_before_ids_are_given(write, config):
    said = []
    dataset = prepare(config(write("toy.inter", ROWS), min_rating=3), said.append)
    assert sequences(dataset) == {"u9": ["c", "b"], "u2": ["d", "a"]}
    assert dataset.item_ids == ["[PAD]", "b", "a", "c", "d"]
    assert any("2 of 6 interactions dropped" in line for line in said)


def test_k_core_drops_users_and_items(write, config):
    dataset = prepare(config(write("toy.inter", ROWS), item_core=2))
    assert sequences(dataset) == {"u9": ["a", "b"], "u2": ["a", "b"]}


def test_repeated_rows_are_kept_and_counted(write, config):
    said = []
    rows = [*ROWS, ROWS[0], ("u9", "b", 4, 31)]
    dataset = prepare(config(write("toy.inter", rows)), said.append)
    assert dataset.n_interactions == 8
    assert [line for line in said if "repeat" in line] == [
        "1 interactions repeat an earlier one (same user, item and time); they are kept"
    ]


def test_repeats_without_times_have_none_to_be_equal(write, config):
    said = []
    prepare(config(write("toy.inter", [*ROWS, ROWS[0], ("u9", "b", 4, 31)]), time_field=""), said.append)
    assert "2 interactions repeat an earlier one (same user and item); they are kept" in said


def test_the_same_content_is_prepared_once(write, config, monkeypatch):
    first = prepare(config(write("toy.inter", ROWS)))
    monkeypatch.setattr(hybrid.data.prepare, "write_dataset", lambda dataset: pytest.fail("written again"))
    again = prepare(config(write("elsewhere/toy.inter", ROWS)))
    assert (again.path, again.fingerprint) == (first.path, first.fingerprint)


def test_other_content_or_another_filter_is_prepared_anew(write, config):
    first = prepare(config(write("toy.inter", ROWS)))
    filtered = prepare(config(write("toy.inter", ROWS), item_core=2))
    changed = prepare(config(write("toy.inter", [*ROWS[:-1], ("u2", "d", 4, 6)])))
    assert len({first.path, filtered.path, changed.path}) == 3
    assert len({first.fingerprint, filtered.fingerprint, changed.fingerprint}) == 3


def test_a_split_setting_does_not_change_the_prepared_dataset(write, config):
    path = write("toy.inter", ROWS)
    assert prepare(config(path)).path == prepare(config(path, split="gts_last", test_share=0.2)).path


def test_a_prepared_folder_can_be_named_as_dataset(write, config):
    first = prepare(config(write("toy.inter", ROWS)))
    assert prepare(config(first.path)).fingerprint == first.fingerprint


@pytest.mark.parametrize(
    "change", [{"item_core": 2}, {"time_field": ""}, {"text_fields": ("title",)}, {"item_file": "a.item"}]
)
def test_a_prepared_folder_takes_no_settings_of_preparing(write, config, change):
    first = prepare(config(write("toy.inter", ROWS)))
    (key,) = change
    with pytest.raises(UserError, match=f"^data.{key}: .* is prepared already"):
        prepare(config(first.path, **change))
    assert prepare(config(first.path, split="gts_last")).fingerprint == first.fingerprint


def test_a_damaged_cache_is_prepared_again(write, config):
    said = []
    first = prepare(config(write("toy.inter", ROWS)))
    (first.path / "items.npy").write_bytes(b"")
    again = prepare(config(write("toy.inter", ROWS)), said.append)
    assert sequences(again) == {"u9": ["c", "a", "b"], "u2": ["d", "a", "b"]}
    assert "damaged" in said[0]


@pytest.mark.parametrize("name", ["items.npy", "offsets.npy", "times.npy", "users.json", "items.json"])
def test_load_says_when_a_file_is_missing(write, config, name):
    dataset = prepare(config(write("toy.inter", ROWS)))
    (dataset.path / name).unlink()
    with pytest.raises(UserError, match=f"damaged.*{name}"):
        Dataset.load(dataset.path)


def test_load_refuses_ids_outside_the_item_map(write, config):
    dataset = prepare(config(write("toy.inter", ROWS)))
    items = dataset.items.copy()
    items[2] = 5
    np.save(dataset.path / "items.npy", items)
    with pytest.raises(UserError, match="outside the item map"):
        Dataset.load(dataset.path)


def test_load_refuses_a_pickle(write, config):
    dataset = prepare(config(write("toy.inter", ROWS)))
    np.save(dataset.path / "items.npy", np.array([{}], dtype=object))
    with pytest.raises(UserError, match="damaged"):
        Dataset.load(dataset.path)


def test_load_refuses_a_newer_format(write, config):
    dataset = prepare(config(write("toy.inter", ROWS)))
    meta = json.loads((dataset.path / "dataset.json").read_text())
    (dataset.path / "dataset.json").write_text(json.dumps({**meta, "format": 99}))
    with pytest.raises(UserError, match="format 99"):
        Dataset.load(dataset.path)


def test_load_of_another_folder(tmp_path):
    with pytest.raises(UserError, match="not a prepared dataset"):
        Dataset.load(tmp_path)


def test_statistics(write, config):
    dataset = prepare(config(write("toy.inter", ROWS)))
    shown = statistics(dataset)
    assert shown["users"] == "2"
    assert shown["items"] == "4"
    assert shown["density"] == "75.0000%"
    assert shown["interactions per user"] == "mean 3.00, median 3, min 3, max 3"
    assert shown["times"] == "5 to 30"
    assert shown["items with text"] == "0 (0.0%)"
    assert dataset.fingerprint in statistics_table(dataset)


def test_statistics_tell_the_share_of_repeats_where_there_are_more_than_a_few(write, config):
    once = [(user, item, 1, user * 50 + item) for user in range(2) for item in range(50)]
    assert "repeats" not in statistics(prepare(config(write("toy.inter", once))))
    dataset = prepare(config(write("toy.inter", [*once, (0, 49, 1, 200)])))
    assert repeat_share(dataset) == pytest.approx(1 / 101)
    assert "repeats" not in statistics(dataset)
    dataset = prepare(config(write("toy.inter", [*once, (0, 49, 1, 200), (0, 7, 1, 201), (0, 7, 1, 202)])))
    assert statistics(dataset)["repeats"] == "2.9% of the interactions: the user had the item before"


def test_movielens_100k_comes_from_the_installed_package(config):
    dataset = prepare(config("ml-100k"))
    assert (dataset.n_users, dataset.n_items - 1, dataset.n_interactions) == (943, 1682, 100_000)
    assert dataset.item_text[dataset.item_ids.index("1")] == "Toy Story (1995), Animation Children's Comedy"
    starts = np.zeros(dataset.n_interactions, bool)
    starts[dataset.offsets[:-1]] = True
    assert (starts[1:] | (np.diff(dataset.times) >= 0)).all()
    assert statistics(dataset)["times"] == "1997-09-20 to 1998-04-22"


def test_preparing_imports_neither_recbole_nor_torch(tmp_path):
    code = (
        "import sys; from hybrid.config.schema import DataConfig; from hybrid.data.prepare import prepare;"
        f"prepare(DataConfig(cache_dir={str(tmp_path)!r})); print(sys.modules.keys() & {{'recbole', 'torch'}})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
