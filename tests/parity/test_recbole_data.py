"""The same item ids and the same train, valid and test items as RecBole's ``LS: valid_and_test, TO, full``.

Two things differ in RecBole 1.2.1 and are matched by a setting or a rule here:

* It compares times as float32, which holds seconds of our day 64 or 128 s apart: interactions nearer to each other
  stay in the order of the file. ``normalize_all`` (on in RecBole's own ml-100k.yaml) scales times to 0..1 first, which
  leaves about a second. By default we compare exactly; ``data.time_precision`` float32 and scaled_float32 give
  RecBole's order.
* It cuts after it has made one row per prefix, so each user keeps two items for train at least: with three
  interactions there is a test target and no valid one, with two neither. Our split does the same.

Users are numbered from 1 there and from 0 here, in the same order. An item that stands in the .item file only has a
row in RecBole's table if ``load_col`` loads that file, and never here.
"""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from hybrid.config.schema import DataConfig
from hybrid.data.dataset import Dataset
from hybrid.data.prepare import prepare
from hybrid.data.split import TrainingData, split_training
from hybrid.evaluation.test_part import open_test

Pairs = list[tuple[int, list[int], int]]

# Per user (item, time) in the order of the file: ties, times out of order, a repeat, and every short length.
USERS = {
    "tied": "c5 a5 b5 d5 e5",
    "late": "a9 b1 c9 d1 e9 f1",
    "one": "g1",
    "two": "b2 a1",
    "three": "a1 g1 b1",
    "four": "d3 c3 b2 a2",
    "again": "a1 a1 b1 a2 a2",
}

TINY_COLUMNS = {"inter": ["user_id", "item_id", "timestamp"]}


def _write(folder: Path, start: int = 0, apart: int = 1) -> Path:
    """The users' rows in turns, so that no user's rows stand together in the file; times start + apart * digit."""
    folder.mkdir()
    rows = [(user, pairs.split()) for user, pairs in USERS.items()]
    turns = [(user, pairs[turn]) for turn in range(6) for user, pairs in rows if turn < len(pairs)]
    lines = [f"{user}\t{pair[0]}\t{start + apart * int(pair[1:])}" for user, pair in turns]
    header = "user_id:token\titem_id:token\ttimestamp:float"
    (folder / f"{folder.name}.inter").write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return folder


def _ours(config: DataConfig) -> tuple[Dataset, TrainingData]:
    dataset = prepare(config, log=lambda line: None)
    return dataset, split_training(dataset, config, lambda line: None)


def _their_rows(part: Any) -> Pairs:
    """(user, history, target) of each row; users from 0."""
    feat = part.inter_feat
    rows = zip(feat["user_id"], feat["item_id_list"], feat["item_length"], feat["item_id"], strict=True)
    return sorted((int(user) - 1, items[:length].tolist(), int(target)) for user, items, length, target in rows)


def _target_rows(targets: Any, longest: int) -> Pairs:
    return [
        (int(user), targets.histories.row(row)[-longest:].tolist(), int(targets.items[row]))
        for row, user in enumerate(targets.users)
    ]


def _prefix_rows(data: TrainingData, longest: int) -> Pairs:
    """The rows RecBole would make of our train part: one per target, with the items before it."""
    rows = []
    for user in range(data.n_users):
        items = data.train.row(user).tolist()
        rows += [(user, items[max(0, end - longest) : end], items[end]) for end in range(1, len(items))]
    return sorted(rows)


def _assert_same(config: DataConfig, theirs: Any, longest: int) -> None:
    dataset, data = _ours(config)
    assert theirs.dataset.field2id_token["item_id"].tolist() == dataset.item_ids
    assert theirs.dataset.field2id_token["user_id"].tolist()[1:] == dataset.user_ids
    assert _prefix_rows(data, longest) == _their_rows(theirs.train)
    assert _target_rows(data.valid, longest) == _their_rows(theirs.valid)
    assert _target_rows(open_test(dataset, config), longest) == _their_rows(theirs.test)


def test_tiny_data_with_ties_and_short_users(recbole_parts: Any, tmp_path: Path) -> None:
    folder = _write(tmp_path / "tiny")
    theirs = recbole_parts(
        "tiny",
        data_path=str(tmp_path),
        load_col=TINY_COLUMNS,
        MAX_ITEM_LIST_LENGTH=3,
    )
    _assert_same(DataConfig(dataset=str(folder), cache_dir=str(tmp_path / "cache")), theirs, 3)
    assert len(theirs.valid.inter_feat) == 4  # tied, late, four, again
    assert len(theirs.test.inter_feat) == 5  # and three


@pytest.mark.parametrize(
    ("normalize_all", "precision"), [(False, "float32"), (True, "scaled_float32")], ids=["raw", "scaled"]
)
def test_tiny_data_with_times_of_our_day(
    recbole_parts: Any, tmp_path: Path, normalize_all: bool, precision: Literal["float32", "scaled_float32"]
) -> None:
    folder = _write(tmp_path / "tiny", start=1_300_000_000, apart=37)
    theirs = recbole_parts("tiny", data_path=str(tmp_path), load_col=TINY_COLUMNS, normalize_all=normalize_all)
    config = DataConfig(dataset=str(folder), cache_dir=str(tmp_path / "cache"), time_precision=precision)
    _assert_same(config, theirs, 50)
    exact = DataConfig(dataset=str(folder), cache_dir=str(tmp_path / "cache"))
    assert (_ours(exact)[0].items.tolist() == _ours(config)[0].items.tolist()) == normalize_all


def test_tiny_data_after_filters(recbole_parts: Any, tmp_path: Path) -> None:
    folder = _write(tmp_path / "tiny")
    theirs = recbole_parts(
        "tiny",
        data_path=str(tmp_path),
        load_col=TINY_COLUMNS,
        user_inter_num_interval="[4,inf)",
        item_inter_num_interval="[2,inf)",
    )
    config = DataConfig(dataset=str(folder), cache_dir=str(tmp_path / "cache"), user_core=4, item_core=2)
    _assert_same(config, theirs, 50)
    assert len(theirs.dataset.field2id_token["item_id"]) < 8  # something was dropped


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("cache"))


def test_ml_100k_as_recbole_loads_it(recbole_parts: Any, cache: str) -> None:
    theirs = recbole_parts("ml-100k", MAX_ITEM_LIST_LENGTH=10)
    assert theirs.config["normalize_all"] is True
    config = DataConfig(dataset="ml-100k", cache_dir=cache, time_precision="scaled_float32")
    _assert_same(config, theirs, 10)


def test_exact_times_differ_where_recbole_rounds(cache: str) -> None:
    """How many of ml-100k's 943 users have another test item when times are compared exactly."""
    tests = {}
    for precision in ("exact", "scaled_float32", "float32"):
        config = DataConfig(dataset="ml-100k", cache_dir=cache, time_precision=precision)
        dataset, _ = _ours(config)
        tests[precision] = open_test(dataset, config).items
        times = np.asarray(dataset.times)
        falls = np.diff(times) < 0
        falls[np.asarray(dataset.offsets[1:-1]) - 1] = False
        assert falls.any() == (precision != "exact")
    assert int((tests["exact"] != tests["scaled_float32"]).sum()) == 4
    assert int((tests["exact"] != tests["float32"]).sum()) == 149
