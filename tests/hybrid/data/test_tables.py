from datetime import datetime

import pyarrow as pa
import pytest
from pyarrow import parquet

from hybrid.data.prepare import prepare
from hybrid.errors import UserError

COLUMNS = {"user_id": [7, 7, 8], "item_id": ["x", "y", "x"], "timestamp": [2.0, 1.0, 3.0]}


def test_csv_with_quotes_and_other_names(write, config, tmp_path):
    path = tmp_path / "log.csv"
    path.write_text('who,what,when,note\nann,"a,1",2,"two\nlines"\nann,b,1,\nbob,"a,1",3,"say ""hi"""\n')
    dataset = prepare(config(path, user_field="who", item_field="what", time_field="when"))
    assert dataset.user_ids == ["ann", "bob"]
    assert dataset.item_ids == ["[PAD]", "a,1", "b"]
    assert dataset.items.tolist() == [2, 1, 1]
    assert dataset.ratings is None


def test_a_bad_csv_value_is_named_by_its_line_even_after_a_field_of_two_lines(config, tmp_path):
    path = tmp_path / "log.csv"
    path.write_text('user_id,item_id,timestamp,note\na,b,1,"two\nlines"\na,c,soon,\n')
    with pytest.raises(UserError, match=r"log\.csv, line 4: timestamp is 'soon', not a finite number"):
        prepare(config(path))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (['1,x,1,"a"', '1,y,2,"b', "1,z,3,c", "2,x,1,d"], "line 3: a quote is opened here and never closed"),
        (['1,"x,1,a', "1,y,2,b", "1,z,3,c"], "line 2: a quote is opened here and never closed"),
        (
            ['1,x,1,"two\nlines, ""so"""', '1,y,2,"b', "1,z,3,c", '2,x,1,"d"', "2,y,2,e"],
            "line 4: a quote is opened here and not closed; the next one, in line 6, has other text after it",
        ),
        (["1,x,1,a", '1,y,2,"' + "long " * 400_000, "1,z,3,c"], "line 3: a quote is opened here and never closed"),
    ],
)
def test_a_quote_that_is_not_closed_is_named_by_the_line_that_opens_it(config, tmp_path, rows, message):
    path = tmp_path / "log.csv"
    path.write_text("\n".join(["user_id,item_id,timestamp,note", *rows]) + "\n")
    with pytest.raises(UserError, match=rf"log\.csv, {message}$"):
        prepare(config(path))


def test_quotes_within_a_field_are_text(write, config, tmp_path):
    path = write("log.csv", list(zip(*COLUMNS.values(), strict=True)), list(COLUMNS))
    (tmp_path / "things.csv").write_text('item_id,title,brand\nx,12" disc,"""A"", and\nB"\n\ny,"Big" Bill,C\n')
    dataset = prepare(config(path, item_file=str(tmp_path / "things.csv")))
    assert dataset.item_text == ["", '12" disc, "A", and B', "Big Bill, C"]


@pytest.mark.parametrize("end", ["", "\n", "\n\n"])
def test_a_csv_without_rows(config, tmp_path, end):
    (tmp_path / "log.csv").write_text("user_id,item_id,timestamp" + end)
    with pytest.raises(UserError, match=r"log\.csv has a header but no rows$"):
        prepare(config(tmp_path / "log.csv"))


def test_parquet_equals_csv(write, config, tmp_path):
    parquet.write_table(pa.table(COLUMNS), tmp_path / "log.parquet")
    rows = list(zip(*COLUMNS.values(), strict=True))
    from_csv = prepare(config(write("log.csv", rows, list(COLUMNS))))
    assert prepare(config(tmp_path / "log.parquet")).fingerprint == from_csv.fingerprint


def test_parquet_timestamps_become_seconds(config, tmp_path):
    times = [datetime(1970, 1, 2), datetime(1970, 1, 1), datetime(1970, 1, 1, 0, 0, 1)]
    parquet.write_table(pa.table({**COLUMNS, "timestamp": times}), tmp_path / "log.parquet")
    assert prepare(config(tmp_path / "log.parquet")).times.tolist() == [0, 86400, 1]


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("timestamp", [1.0, float("nan"), 2.0], "row 2: timestamp is nan"),
        ("timestamp", [1.0, 2.0, None], "row 3: timestamp is None"),
        ("timestamp", ["a", "b", "c"], "column 'timestamp' holds string"),
        ("item_id", ["x", "", "y"], "row 2: item_id is ''"),
        ("user_id", [1, None, 2], "row 2: user_id is None"),
        ("user_id", [1.5, 2.5, 3.5], "column 'user_id' holds double"),
    ],
)
def test_bad_parquet_values(config, tmp_path, column, values, message):
    parquet.write_table(pa.table({**COLUMNS, column: values}), tmp_path / "log.parquet")
    with pytest.raises(UserError, match=message):
        prepare(config(tmp_path / "log.parquet"))


def test_a_file_that_is_no_parquet(config, tmp_path):
    (tmp_path / "log.parquet").write_text("hello, this is text")
    with pytest.raises(UserError, match="not a parquet file"):
        prepare(config(tmp_path / "log.parquet"))


def test_item_text_from_parquet_with_lists(write, config, tmp_path):
    items = {"item_id": ["x", "y"], "title": ["One", None], "genres": [["a", "b"], []]}
    parquet.write_table(pa.table(items), tmp_path / "things.parquet")
    path = write("log.csv", list(zip(*COLUMNS.values(), strict=True)), list(COLUMNS))
    assert prepare(config(path, item_file=str(tmp_path / "things.parquet"))).item_text == ["", "One, a, b", ""]


def test_an_atomic_file_with_windows_line_ends_and_blank_lines(config, tmp_path):
    path = tmp_path / "toy.inter"
    path.write_bytes(b'\xef\xbb\xbfuser_id:token\titem_id:token\ttimestamp:float\r\n1\tx\t2\r\n\r\n1\t"y\t1\r\n')
    dataset = prepare(config(path))
    assert dataset.item_ids == ["[PAD]", "x", '"y']
    assert dataset.items.tolist() == [2, 1]
