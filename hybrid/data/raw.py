"""A raw file as a table of named columns, whatever its format."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from hybrid.errors import UserError, nearest

Kind = Literal["id", "number", "time", "text"]


class RawTable(ABC):
    """One row per interaction or per item; `columns` maps a name to its declared type, "" where the format has none."""

    def __init__(self, path: Path, columns: Mapping[str, str]) -> None:
        self.path = path
        self.columns = dict(columns)

    def require(self, field: str, setting: str, types: tuple[str, ...]) -> str:
        """The column `field`, named by the setting `data.<setting>`. Raises UserError if it is missing or mistyped."""
        if field not in self.columns:
            raise UserError(f"{self.header_place}: no column {field!r} (data.{setting}){nearest(field, self.columns)}")
        declared = self.columns[field]
        if declared and declared not in types:
            raise UserError(f"{self.header_place}: column {field!r} is {declared}; write {field}:{types[0]}")
        return field

    @property
    def header_place(self) -> str:
        """Where the column names stand, for messages."""
        return f"{self.path}, line 1"

    @abstractmethod
    def read(self, kinds: Mapping[str, Kind]) -> Any:
        """The named columns as a pyarrow Table with at least one row.

        An id becomes a dictionary of strings, none empty; a number a finite float64; a time, which may be an ISO 8601
        date, likewise; a text a string.
        Raises UserError with the file and line of the first value that is not so.
        """

    @abstractmethod
    def where(self, row: int) -> str:
        """File and line of a data row, for messages."""


def bad_row(column: Any, kind: Kind) -> int | None:
    """First row of a read column that is missing, an empty id or not a finite number; None: all are good."""
    import pyarrow.compute as pc

    if kind == "text":
        return None
    good = _not_blank(column) if kind == "id" else pc.is_finite(column)
    if not pc.all(pc.fill_null(good, False)).as_py():
        return int(pc.index(pc.fill_null(good, False), False).as_py())
    return None


def _not_blank(column: Any) -> Any:
    """Look at the distinct ids only, unless one of them is blank."""
    import pyarrow as pa
    import pyarrow.compute as pc

    distinct = [pc.utf8_trim_whitespace(chunk.dictionary) for chunk in column.chunks]
    if column.null_count == 0 and not any(pc.any(pc.equal(words, "")).as_py() for words in distinct):
        return pa.chunked_array([pa.array([True])])
    return pc.not_equal(pc.utf8_trim_whitespace(column.cast(pa.string())), "")
