"""Quotes that a csv file opens and does not close: they swallow the rows after them, and no parser minds."""

import re
from mmap import ACCESS_READ, mmap
from pathlib import Path

from hybrid.errors import UserError

# A quoted field, from a quote at a field's beginning up to the next single one; group 1 is that and what follows it.
QUOTED = re.compile(rb'"(?<=[,\n\r]")[^"]*+(?:""[^"]*+)*+("?[^,\n\r]?)')


def check_quotes(path: Path, n_rows: int | None = None) -> None:
    """Raise UserError with the line of a quote that is not closed, in a comma-separated file with a sound header.

    A field may reach over several lines, but then a comma or the line's end follows its last quote; where other text
    does, that quote was to open a field of its own. A file that has no more lines than its ``n_rows`` is not searched.
    """
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        if n_rows is not None and _count_lines(content) <= n_rows + 1:
            return
        for field in QUOTED.finditer(content):
            if not field[1]:
                raise UserError(
                    f"{path}, line {_line(content, field.start())}: a quote is opened here and never closed"
                )
            if len(field[1]) > 1 and b"\n" in field[0]:
                opened, closed = _line(content, field.start()), _line(content, field.end())
                raise UserError(
                    f"{path}, line {opened}: a quote is opened here and not closed; the next one, in line {closed}, "
                    "has other text after it"
                )


def _line(content: mmap, position: int) -> int:
    return content[:position].count(b"\n") + 1


def _count_lines(content: mmap) -> int:
    """Lines of a file, the last one with or without its end."""
    size = 2**24
    ends = sum(content[begin : begin + size].count(b"\n") for begin in range(0, len(content), size))
    return ends + (content[-1:] != b"\n")
