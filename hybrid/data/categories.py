"""The categories of items, from a column of the item file.

Letters: N items (row 0 is padding), C most categories of an item.
"""

import logging
from collections.abc import Sequence

import numpy as np

from hybrid.config.schema import DataConfig
from hybrid.data.raw import RawTable
from hybrid.data.readers import open_table
from hybrid.data.sources import find_source
from hybrid.data.text import LEVELS, category_columns, item_columns
from hybrid.errors import UserError

log = logging.getLogger(__name__)


def item_categories(config: DataConfig, item_ids: Sequence[str]) -> np.ndarray:
    """Categories of the items ``item_ids`` [N], [N, C] int64: numbers from 1, then 0; equal values are one category.

    Raises UserError where there is no item file, or no column of categories in it.
    """
    source = find_source(config)
    if source.is_prepared:
        raise UserError(
            f"click.search=hard looks for items of the target's category, which {config.dataset} does not "
            "hold, as it is prepared already; name the raw files in data.dataset, or set click.search=soft"
        )
    if source.items is None:
        raise UserError(
            f"click.search=hard looks for items of the target's category, but {config.dataset} has no item file to "
            "read categories from; name it in data.item_file, or set click.search=soft"
        )
    table = open_table(source.items)
    field = _category_field(table, config)
    values = item_columns(table, list(item_ids[1:]), (field,), config)[field]
    by_blank = table.columns[field] == "token_seq" and not any("|" in value for value in values)
    names = [_cut(value, by_blank) for value in values]
    found = _numbered(names, len(item_ids))
    log.info(
        "categories: column %s, %d of them, %.1f an item; %d of %d items have none",
        field, found.max(), np.count_nonzero(found) / max(1, len(names)), names.count([]), len(names),
    )  # fmt: skip
    return found


def _category_field(table: RawTable, config: DataConfig) -> str:
    if config.category_field:
        return table.require(config.category_field, "category_field", ("token", "token_seq"))
    columns = category_columns(table, config)
    if not columns:
        raise UserError(
            f"{table.header_place}: no category-like column for click.search=hard; name one in data.category_field, or "
            "set click.search=soft"
        )
    return columns[0]


def _cut(value: str, by_blank: bool) -> list[str]:
    parts = value.split() if by_blank else LEVELS.split(value.strip())
    return list(dict.fromkeys(part for part in parts if part))


def _numbered(names: list[list[str]], n_items: int) -> np.ndarray:
    numbers: dict[str, int] = {}
    found = np.zeros((n_items, max(1, *map(len, names)) if names else 1), dtype=np.int64)
    for item, own in enumerate(names, start=1):
        found[item, : len(own)] = [numbers.setdefault(name, len(numbers) + 1) for name in own]
    return found
