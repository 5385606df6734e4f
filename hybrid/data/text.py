"""One line of text per item, from the columns of an item file.

Automatically: the title, with the year in parentheses, then categories and brand, as in "Toy Story (1995), Animation
Children's Comedy". With `data.text_fields`: those columns, in that order.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hybrid.config.schema import DataConfig
from hybrid.data.raw import Kind, RawTable
from hybrid.errors import UserError, nearest

TITLES = ("title", "movie_title", "item_title", "product_title", "book_title", "name", "item_name", "product_name")
YEARS = ("release_year", "year", "publication_year", "year_of_publication")
CATEGORIES = ("categories", "category", "genres", "genre", "class", "tags", "subcategory", "brand", "author", "artist")
LEVELS = re.compile(r"\s*\|\s*")
"""What stands between the levels of a category."""


def item_text(table: RawTable, item_ids: list[str], config: DataConfig, log: Callable[[str], None]) -> list[str]:
    """The text of each of `item_ids`, empty where the file has none.

    Raises UserError where a column is missing, an item stands in the file twice, or none of `item_ids` is in it.
    """
    table.require(config.item_field, "item_field", ("token",))
    fields = _chosen_fields(table, config)
    if not fields:
        log(f"{table.path}: no title-like column, items have no text; name columns in data.text_fields")
        return [""] * len(item_ids)
    columns = item_columns(table, item_ids, fields, config)
    values = {field: [clean(value) for value in column] for field, column in columns.items()}
    return _join(values, config, len(item_ids))


def item_columns(
    table: RawTable, item_ids: list[str], fields: Sequence[str], config: DataConfig
) -> dict[str, list[str]]:
    """Text columns of the file as they stand there, in the order of `item_ids`; empty where the file has none.

    Raises UserError where a column is missing, an item stands in the file twice, or none of `item_ids` is in it.
    """
    kinds: dict[str, Kind] = dict.fromkeys(fields, "text")
    columns = table.read({**kinds, config.item_field: "id"})
    ids = columns[config.item_field].cast("string").combine_chunks()
    rows = _rows_of(item_ids, ids, table)
    if rows.null_count == len(rows):
        raise UserError(
            f"{table.path}: none of its {len(ids)} items is among the {len(item_ids)} of {config.dataset}; ids are "
            f"compared as text, and {config.item_field} is {ids[0].as_py()!r} here and {item_ids[0]!r} there"
        )
    return {field: [value or "" for value in columns[field].take(rows).to_pylist()] for field in fields}


def category_columns(table: RawTable, config: DataConfig) -> list[str]:
    """Columns with names such as categories have, the likeliest first."""
    return _matches(table, CATEGORIES, config)


def titles_and_categories(
    table: RawTable, item_ids: list[str], config: DataConfig, log: Callable[[str], None]
) -> tuple[list[str], list[str]]:
    """The title of each of `item_ids` and its categories, apart; empty where the file has none.

    With `data.text_fields` the first of them is the title and the others are the categories.
    """
    fields = config.text_fields
    titles = fields[:1] if fields else tuple(_matches(table, TITLES, config)[:1])
    categories = fields[1:] if fields else tuple(category_columns(table, config))
    found = [
        item_text(table, item_ids, replace(config, text_fields=chosen), log) if chosen else [""] * len(item_ids)
        for chosen in (titles, categories)
    ]
    return found[0], found[1]


def clean(value: str | None) -> str:
    """One line with single blanks; ``A|B`` and ``A | B`` become ``A, B``."""
    return LEVELS.sub(", ", " ".join((value or "").split()))


def with_year(title: str, year: str) -> str:
    """``Toy Story (1995)``, unless the title says so already or one of the two is unknown."""
    year = year.removesuffix(".0")
    if not title or not year or title.endswith(f"({year})"):
        return title
    return f"{title} ({year})"


def _chosen_fields(table: RawTable, config: DataConfig) -> list[str]:
    """Columns in the order of the text; chosen automatically: one title, at most one year, all categories."""
    if config.text_fields:
        for field in config.text_fields:
            if field not in table.columns or field == config.item_field:
                accepted = set(table.columns) - {config.item_field}
                raise UserError(
                    f"{table.header_place}: no column {field!r} (data.text_fields){nearest(field, accepted)}"
                )
        return list(dict.fromkeys(config.text_fields))
    titles = _matches(table, TITLES, config)[:1]
    return titles + (_matches(table, YEARS, config)[:1] if titles else []) + category_columns(table, config)


def _matches(table: RawTable, names: Sequence[str], config: DataConfig) -> list[str]:
    by_name = {column.lower(): column for column in table.columns if column != config.item_field}
    return [by_name[name] for name in names if name in by_name]


def _rows_of(item_ids: list[str], ids: Any, table: RawTable) -> Any:
    """Row of each item in the file, whose items are `ids`; null where it is not there."""
    import pyarrow as pa
    import pyarrow.compute as pc

    first_rows = pc.index_in(ids, value_set=ids).to_numpy(zero_copy_only=False)
    repeated = np.flatnonzero(first_rows != np.arange(len(ids)))
    if len(repeated):
        row = int(repeated[0])
        raise UserError(f"{table.where(row)}: item {ids[row].as_py()!r} is there twice")
    return pc.index_in(pa.array(item_ids, pa.string()), value_set=ids)


def _join(values: dict[str, list[str]], config: DataConfig, n: int) -> list[str]:
    parts = list(values.values())
    names = [name.lower() for name in values]
    if not config.text_fields and len(names) > 1 and names[1] in YEARS:
        parts[:2] = [[with_year(title, year) for title, year in zip(parts[0], parts[1], strict=True)]]
    return [", ".join(part[i] for part in parts if part[i]) for i in range(n)]
