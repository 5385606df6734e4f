from datetime import datetime

import pyarrow as pa
import pytest
from pyarrow import parquet

from hybrid.data.prepare import prepare
from hybrid.data.readers import open_table
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


@pytest.mark.parametrize("name", ["things.csv", "things.item"])
def test_a_row_may_be_longer_than_a_block(write, config, tmp_path, name):
    path = write("log.csv", list(zip(*COLUMNS.values(), strict=True)), list(COLUMNS))
    long = "word " * 700_000 + "end"  # 3.5 MB: over more than two blocks
    header, comma = ("item_id,title", ",") if name.endswith("csv") else ("item_id:token\ttitle:token_seq", "\t")
    (tmp_path / name).write_text(f"{header}\nx{comma}A\ny{comma}{long}\n")
    assert prepare(config(path, item_file=str(tmp_path / name))).item_text == ["", "A", long]


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


ISO = [
    (["1970-01-02", "1970-01-01", "1970-01-03"], [0, 86400, 2 * 86400]),
    (["1970-01-01T00:01:00", "1970-01-01T00:00:01.25", "1970-01-01T00:02"], [1.25, 60, 120]),
    (
        ["2021-01-02 01:07:36", "2021-01-02 01:07:35.123456789", "2021-01-03"],
        [1609549655.123456, 1609549656, 1609632000],
    ),
    (
        ["2021-01-02T01:07:36Z", "2021-01-02T02:07:35+01:00", "2021-01-01T20:07:37-05"],
        [1609549655, 1609549656, 1609549657],
    ),
]


@pytest.mark.parametrize(("values", "expected"), ISO)
def test_iso_dates_become_seconds_utc_where_they_name_no_zone(write, config, values, expected):
    rows = list(zip(COLUMNS["user_id"], COLUMNS["item_id"], values, strict=True))
    assert prepare(config(write("log.csv", rows, list(COLUMNS)))).times.tolist() == expected
    header = ["user_id:token", "item_id:token", "timestamp:float"]
    assert prepare(config(write("log.inter", rows, header))).times.tolist() == expected


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
@pytest.mark.parametrize(("values", "expected"), ISO)
def test_iso_dates_in_parquet(config, tmp_path, kind, values, expected):
    table = pa.table({**COLUMNS, "timestamp": pa.array(values).cast(kind)})
    parquet.write_table(table, tmp_path / "log.parquet")
    assert prepare(config(tmp_path / "log.parquet")).times.tolist() == expected


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            ["02/01/2021", "1", "2"],
            "line 2: timestamp is '02/01/2021', neither a finite number nor an ISO 8601 date, such",
        ),
        (["1", "2021-01-02", "2"], "line 3: timestamp is '2021-01-02', not a finite number$"),
        (
            ["2021-01-02", "2021-01-03T10:00:00", "1609549655"],
            "line 4: timestamp is '1609549655'; the first is '2021-01-02', so all must be ISO 8601 dates without a",
        ),
        (["2021-01-02", "2021-02-30", "2021-01-02"], "line 3: timestamp is '2021-02-30'; the first is"),
        (["2021-01-02", "", "2021-01-02"], "line 3: timestamp is ''; the first is"),
        (["2021-01-02T10:00", "2021-01-02T10:00Z", "2021-01-02"], "line 3: timestamp is .* without a zone$"),
        (["2021-01-02T10:00Z", "2021-01-02T10:00+01:00", "2021-01-02"], "line 4: timestamp is .* with a zone$"),
    ],
)
def test_dates_that_are_broken_or_mixed(write, config, values, message):
    rows = zip(COLUMNS["user_id"], COLUMNS["item_id"], values, strict=True)
    with pytest.raises(UserError, match=rf"log\.csv, {message}"):
        prepare(config(write("log.csv", list(rows), list(COLUMNS))))


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("timestamp", [1.0, float("nan"), 2.0], "row 2: timestamp is nan"),
        ("timestamp", [1.0, 2.0, None], "row 3: timestamp is None"),
        (
            "timestamp",
            ["1", "2", "3"],
            "row 1: timestamp is '1'; wanted: finite numbers or ISO 8601 dates, such as 2021",
        ),
        ("timestamp", ["2021-01-02", None, "2021-01-02"], "row 2: timestamp is None; wanted: finite numbers or ISO"),
        ("timestamp", ["2021-01-02", "2021-01-03", "4"], "row 3: timestamp is '4'; the first is '2021-01-02', so all"),
        ("timestamp", [True, False, True], "column 'timestamp' holds bool; wanted: finite numbers or ISO 8601 dates$"),
        ("rating", ["2021-01-02"] * 3, "column 'rating' holds string; wanted: finite numbers$"),
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


def test_lists_in_parquet_are_several_categories_and_nothing_is_nothing(tmp_path):
    lists = pa.array([["Action", "Comedy"], ["Comedy", None], [], None], pa.list_(pa.string()))
    table = pa.table({"item_id": list("abcd"), "genres": lists, "note": [1.5, float("nan"), None, 2.0]})
    parquet.write_table(table, tmp_path / "items.parquet")
    read = open_table(tmp_path / "items.parquet").read({"genres": "text", "note": "text"})
    assert read["genres"].to_pylist() == ["Action|Comedy", "Comedy", "", ""]
    assert read["note"].to_pylist() == ["1.5", "", "", "2"]
