"""Tables in text files: RecBole atomic files and csv.

Reading is vectorised and strict; only when something is wrong is the file read again, slowly, to name the line.
"""

import csv
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from hybrid.data.dates import EXAMPLES, Dates, dates_like, seconds
from hybrid.data.quotes import check_quotes
from hybrid.data.raw import Kind, RawTable, bad_row
from hybrid.errors import UserError

NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*")
BLOCKS = (2**20, 2**24, 2**28, 2**31 - 1)
"""Bytes that are read at once: more of them only where a row is too long, as they cost memory."""
TOO_LONG = "straddl"  # in what pyarrow says of such a row
NOT_UTF8 = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Dialect:
    """How fields are kept apart; no quote: quotes are ordinary characters."""

    delimiter: str
    quote: str | None


ATOMIC = Dialect("\t", None)
CSV = Dialect(",", '"')


class DelimitedTable(RawTable):
    """A text file whose first line names the columns."""

    def __init__(self, path: Path, columns: Mapping[str, str], dialect: Dialect) -> None:
        super().__init__(path, columns)
        self.dialect = dialect

    def read(self, kinds: Mapping[str, Kind]) -> Any:
        """See `RawTable.read`."""
        dates = self._find_dates(kinds)
        table = self._read_explained(kinds, dates)
        if table.num_rows == 0:
            raise UserError(self._no_rows)
        if self.dialect.quote:
            check_quotes(self.path, table.num_rows)
        if any(bad_row(table[name], kind) is not None for name, kind in kinds.items()):
            self._explain(kinds, dates)
            raise UserError(f"{self.path}: an empty id, or a number that is not finite")
        return table

    def where(self, row: int) -> str:
        """See `RawTable.where`."""
        line, _ = next(islice(records(self.path, self.dialect), row + 1, None))
        return f"{self.path}, line {line}"

    @property
    def _no_rows(self) -> str:
        return f"{self.path} has a header but no rows"

    def _find_dates(self, kinds: Mapping[str, Kind]) -> dict[str, Dates]:
        """The columns of times that hold dates, by their first row. Raises UserError where that has neither."""
        line, first = next(islice(records(self.path, self.dialect), 1, None), (0, []))
        found = {}
        for name, value in zip(self.columns, first, strict=False):
            if kinds.get(name) == "time":
                dates = dates_like(value)
                if dates is not None:
                    found[name] = dates
                elif not NUMBER.fullmatch(value):
                    raise UserError(
                        f"{self.path}, line {line}: {name} is {value!r}, neither a finite number nor an ISO 8601 "
                        f"date, {EXAMPLES}"
                    )
        return found

    def _read_explained(self, kinds: Mapping[str, Kind], dates: Mapping[str, Dates]) -> Any:
        import pyarrow as pa

        for block in BLOCKS:
            try:
                return self._read_fast(kinds, dates, block)
            except pa.ArrowInvalid as error:
                if TOO_LONG in str(error) and block < BLOCKS[-1]:
                    continue
                self._explain(kinds, dates)
                raise UserError(f"{self.path}: {error}") from None

    def _read_fast(self, kinds: Mapping[str, Kind], dates: Mapping[str, Dates], block: int) -> Any:
        """``block`` bytes at a time; a row that reaches over more than two blocks is refused."""
        import pyarrow as pa
        from pyarrow import csv as pa_csv

        ids, numbers = pa.dictionary(pa.int32(), pa.string()), pa.float64()
        types = {"id": ids, "number": numbers, "time": numbers, "text": pa.string()}
        quote = self.dialect.quote
        # One thread: as fast on a file of this kind, and it needs a third less memory.
        table = pa_csv.read_csv(
            self.path,
            pa_csv.ReadOptions(use_threads=False, column_names=list(self.columns), skip_rows=1, block_size=block),
            pa_csv.ParseOptions(
                delimiter=self.dialect.delimiter, quote_char=quote or False, newlines_in_values=quote is not None
            ),
            pa_csv.ConvertOptions(
                include_columns=list(kinds),
                column_types={name: dates[name].type if name in dates else types[kinds[name]] for name in kinds},
                null_values=[""],
            ),
        )
        for name in dates:
            table = table.set_column(table.column_names.index(name), name, seconds(table[name]))
        return table

    def _explain(self, kinds: Mapping[str, Kind], dates: Mapping[str, Dates]) -> None:
        if next(islice(records(self.path, self.dialect), 1, None), None) is None:
            raise UserError(self._no_rows)
        if self.dialect.quote:
            check_quotes(self.path)
        names = list(self.columns)
        watched = [(names.index(name), name, dates.get(name, kind)) for name, kind in kinds.items()]
        for line, fields in islice(records(self.path, self.dialect), 1, None):
            problem = _row_problem(fields, len(names), watched)
            if problem:
                raise UserError(f"{self.path}, line {line}: {problem}")


def records(path: Path, dialect: Dialect) -> Iterator[tuple[int, list[str]]]:
    """Line number and fields of each row that is not blank, the header first."""
    csv.field_size_limit(2**31 - 1)
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        if dialect.quote is None:
            reader = csv.reader(file, delimiter=dialect.delimiter, quoting=csv.QUOTE_NONE)
        else:
            reader = csv.reader(file, delimiter=dialect.delimiter, quotechar=dialect.quote)
        yield from ((reader.line_num, fields) for fields in reader if fields)


def read_header(path: Path, dialect: Dialect) -> list[str]:
    """Fields of the first line. Raises UserError if the file is empty or a field is empty or named twice."""
    if not path.is_file():
        raise UserError(f"no file {path}")
    line, fields = next(records(path, dialect), (0, []))
    if not any(field.strip() for field in fields):
        raise UserError(f"{path} is empty")
    if line != 1:
        raise UserError(f"{path}: the header must be the first line, and one line")
    if NOT_UTF8.search("".join(fields)):
        raise UserError(f"{path}, line 1: not UTF-8 text")
    return fields


def _row_problem(fields: list[str], width: int, watched: list[tuple[int, str, Kind | Dates]]) -> str | None:
    if len(fields) != width:
        return f"{len(fields)} fields, but the header names {width}"
    problems = (_value_problem(fields[index], name, kind) for index, name, kind in watched)
    return next((problem for problem in problems if problem), None)


def _value_problem(value: str, name: str, kind: Kind | Dates) -> str | None:
    if NOT_UTF8.search(value):
        return f"{name} is not UTF-8 text"
    if isinstance(kind, Dates):
        problem = kind.problem(value)
        return f"{name} is {problem}" if problem else None
    if kind == "id" and not value.strip():
        return f"empty {name}"
    if kind in ("number", "time") and not (NUMBER.fullmatch(value) and math.isfinite(float(value))):
        return f"{name} is {value!r}, not a finite number"
    return None
