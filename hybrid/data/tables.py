"""csv and parquet files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hybrid.data.dates import EXAMPLES, dates_like, seconds
from hybrid.data.delimited import CSV, DelimitedTable, read_header
from hybrid.data.raw import Kind, RawTable, bad_row
from hybrid.errors import UserError


def open_csv(path: Path) -> RawTable:
    """Open a comma-separated file whose first line names the columns."""
    columns: dict[str, str] = {}
    for field in read_header(path, CSV):
        name = field.strip()
        if not name or name in columns:
            raise UserError(
                f"{path}, line 1: column {name!r} is there twice" if name else f"{path}, line 1: empty name"
            )
        columns[name] = ""
    return DelimitedTable(path, columns, CSV)


def open_parquet(path: Path) -> RawTable:
    """Open a parquet file. Raises UserError where it is missing or none."""
    import pyarrow as pa
    from pyarrow import parquet

    if not path.is_file():
        raise UserError(f"no file {path}")
    try:
        schema = parquet.read_schema(path)
    except pa.ArrowInvalid:
        raise UserError(f"{path} is {'not a parquet file' if path.stat().st_size else 'empty'}") from None
    return ParquetTable(path, dict.fromkeys(schema.names, ""))


class ParquetTable(RawTable):
    """A parquet file; times may be numbers, timestamps or ISO 8601 dates, which become seconds."""

    def read(self, kinds: Mapping[str, Kind]) -> Any:
        """See `RawTable.read`."""
        import pyarrow as pa
        from pyarrow import parquet

        try:
            table = parquet.read_table(self.path, columns=list(kinds))
        except (pa.ArrowInvalid, OSError) as error:
            raise UserError(f"{self.path} cannot be read: {error}") from None
        if table.num_rows == 0:
            raise UserError(f"{self.path} has no rows")
        columns = {name: self._convert(table[name], name, kind) for name, kind in kinds.items()}
        for name, kind in kinds.items():
            row = bad_row(columns[name], kind)
            if row is not None:
                value = columns[name][row].as_py()
                raise UserError(f"{self.where(row)}: {name} is {value!r}; wanted: {_WANTED[kind]}")
        return pa.table(columns)

    def where(self, row: int) -> str:
        """See `RawTable.where`."""
        return f"{self.path}, row {row + 1}"

    @property
    def header_place(self) -> str:
        """See `RawTable.header_place`."""
        return str(self.path)

    def _convert(self, column: Any, name: str, kind: Kind) -> Any:
        import pyarrow as pa

        try:
            if kind == "time" and _is_text(column):
                return self._read_dates(column, name)
            return _CONVERTERS[kind](column)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, TypeError):
            raise UserError(f"{self.path}: column {name!r} holds {column.type}; wanted: {_WANTED[kind]}") from None

    def _read_dates(self, column: Any, name: str) -> Any:
        import pyarrow as pa

        values = _decoded(column)
        dates = dates_like(values[0].as_py())
        if dates is None:
            raise UserError(f"{self.where(0)}: {name} is {values[0].as_py()!r}; wanted: {_WANTED['time']}, {EXAMPLES}")
        try:
            return seconds(values.cast(dates.type))
        except pa.ArrowInvalid:
            for row, value in enumerate(values.to_pylist()):
                problem = None if value is None else dates.problem(value)
                if problem:
                    raise UserError(f"{self.where(row)}: {name} is {problem}") from None
            raise


_WANTED = {
    "id": "whole numbers or text",
    "number": "finite numbers",
    "time": "finite numbers or ISO 8601 dates",
    "text": "text",
}


def _is_text(column: Any) -> bool:
    import pyarrow as pa

    values = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    return bool(pa.types.is_string(values) or pa.types.is_large_string(values))


def _decoded(column: Any) -> Any:
    """A dictionary column as plain values."""
    import pyarrow as pa

    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _to_ids(column: Any) -> Any:
    import pyarrow as pa

    column = _decoded(column)
    if not (pa.types.is_integer(column.type) or _is_text(column)):
        raise TypeError
    return column.cast(pa.string()).dictionary_encode()


def _to_numbers(column: Any) -> Any:
    import pyarrow as pa

    if pa.types.is_temporal(column.type):
        return seconds(column)
    if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type) or pa.types.is_decimal(column.type)):
        raise TypeError
    return column.cast(pa.float64(), safe=False)


def _to_text(column: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        rows = column.cast(pa.list_(pa.string())).to_pylist()
        # As a file of text would have them: several categories, not one with commas.
        column = pa.chunked_array([["|".join(value for value in row or () if value is not None) for row in rows]])
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), None, column)
    return pc.fill_null(column.cast(pa.string()), "")


_CONVERTERS = {"id": _to_ids, "number": _to_numbers, "time": _to_numbers, "text": _to_text}
