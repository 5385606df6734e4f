"""RecBole atomic files, and the choice of the reader by a file's ending.

An atomic file is tab-separated UTF-8 text whose first line gives each column a name and a type, ``user_id:token``. See
https://recbole.io/docs/user_guide/data/atomic_files.html.
"""

from pathlib import Path

from hybrid.data.delimited import ATOMIC, DelimitedTable, read_header
from hybrid.data.raw import RawTable
from hybrid.data.tables import open_csv, open_parquet
from hybrid.errors import UserError, nearest

TYPES = ("token", "token_seq", "float", "float_seq")
OPENERS = {".csv": open_csv, ".parquet": open_parquet}


def open_table(path: Path) -> RawTable:
    """Open a file and read its header. Raises UserError if the file, its ending or its header is wrong."""
    if path.suffix in (".inter", ".item"):
        return open_atomic(path)
    if path.suffix in OPENERS:
        return OPENERS[path.suffix](path)
    raise UserError(f"{path}: ending {path.suffix!r} is not known; accepted: .inter, .item, .csv, .parquet")


def open_atomic(path: Path) -> RawTable:
    """Open a RecBole atomic file. Raises UserError where the header is not ``name:type`` throughout."""
    columns: dict[str, str] = {}
    for field in read_header(path, ATOMIC):
        name, colon, kind = field.strip().rpartition(":")
        if not colon or not name:
            raise UserError(f"{path}, line 1: column {field!r} has no type; write name:type, as in user_id:token")
        if kind not in TYPES:
            raise UserError(f"{path}, line 1: column {name!r} has the type {kind!r}{nearest(kind, TYPES)}")
        if name in columns:
            raise UserError(f"{path}, line 1: column {name!r} is there twice")
        columns[name] = kind
    return DelimitedTable(path, columns, ATOMIC)
