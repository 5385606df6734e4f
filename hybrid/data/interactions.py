"""Interactions in memory between the raw file and the prepared dataset.

Letters: n is the number of interactions, which shrinks as filters drop some.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hybrid.config.schema import DataConfig
from hybrid.data.kcore import k_core
from hybrid.data.raw import Kind, RawTable
from hybrid.errors import UserError, nearest


@dataclass(frozen=True, eq=False)
class Interactions:
    """Columns in the order of the file."""

    users: np.ndarray
    """[n] int32, from 0."""
    items: np.ndarray
    """[n] int32, from 0."""
    times: np.ndarray | None
    """[n] float64."""
    ratings: np.ndarray | None
    """[n] float32."""
    user_ids: Any
    """pyarrow array of the raw id of each number in `users`."""
    item_ids: Any
    """pyarrow array of the raw id of each number in `items`."""

    def __len__(self) -> int:
        return len(self.users)

    def take(self, rows: np.ndarray) -> "Interactions":
        """Only these rows, in this order."""
        return replace(
            self,
            users=self.users[rows],
            items=self.items[rows],
            times=None if self.times is None else self.times[rows],
            ratings=None if self.ratings is None else self.ratings[rows],
        )


def read_interactions(table: RawTable, config: DataConfig, log: Callable[[str], None]) -> Interactions:
    """Read the columns that `config` names. Raises UserError where one is missing or a value is bad."""
    kinds: dict[str, Kind] = {
        table.require(config.user_field, "user_field", ("token",)): "id",
        table.require(config.item_field, "item_field", ("token",)): "id",
    }
    if len(kinds) < 2:
        raise UserError(f"data.user_field and data.item_field both name the column {config.user_field!r}")
    if config.time_field:
        kinds[table.require(config.time_field, "time_field", ("float",))] = "time"
    has_ratings = _has_ratings(table, config, log)
    if has_ratings:
        kinds[table.require(config.rating_field, "rating_field", ("float",))] = "number"
    columns = table.read(kinds)
    users, user_ids = _codes(columns[config.user_field])
    items, item_ids = _codes(columns[config.item_field])
    times = columns[config.time_field].to_numpy() if config.time_field else None
    ratings = columns[config.rating_field].to_numpy().astype(np.float32) if has_ratings else None
    return Interactions(users, items, times, ratings, user_ids, item_ids)


def filter_interactions(data: Interactions, config: DataConfig, log: Callable[[str], None]) -> Interactions:
    """Drop low ratings, then take the k-core. Raises UserError where nothing or a single item remains."""
    before = len(data)
    if config.min_rating is not None and data.ratings is not None:
        data = data.take(np.flatnonzero(data.ratings >= config.min_rating))
        if not len(data):
            raise UserError(f"data.min_rating={config.min_rating}: no interaction is rated that high")
    kept = k_core(data.users, data.items, config.user_core, config.item_core)
    if not len(kept):
        cores = f"data.user_core={config.user_core} and data.item_core={config.item_core}"
        raise UserError(f"{cores} leave none of the {len(data)} interactions")
    if len(kept) < len(data):
        data = data.take(kept)
    if len(data) < before:
        log(f"{before - len(data)} of {before} interactions dropped by min_rating, user_core and item_core")
    if (data.items == data.items[0]).all():
        raise UserError("only one item is left; a recommender needs at least two")
    return data


def number_by_appearance(codes: np.ndarray, ids: Any) -> tuple[np.ndarray, list[str]]:
    """Renumber codes [n] from 0 in order of first appearance; returns them and the raw id of each new number."""
    first = np.full(len(ids), len(codes))
    first[codes[::-1]] = np.arange(len(codes))[::-1]  # of several rows the last one written, the earliest, stays
    used = np.flatnonzero(first < len(codes))
    used = used[np.argsort(first[used])]
    new_codes = np.zeros(len(ids), np.int32)
    new_codes[used] = np.arange(len(used))
    return new_codes[codes], ids.take(used).to_pylist()


def count_repeats(data: Interactions, n_items: int) -> int:
    """Rows that repeat an earlier one: same user, item and, where known, time."""
    pairs = data.users.astype(np.int64) * n_items + data.items
    ordered = np.sort(pairs)
    repeats = ordered[1:] == ordered[:-1]
    if data.times is None or not repeats.any():
        return int(repeats.sum())
    order = np.lexsort((data.times, pairs))
    same = (np.diff(pairs[order]) == 0) & (np.diff(data.times[order]) == 0)
    return int(same.sum())


def _has_ratings(table: RawTable, config: DataConfig, log: Callable[[str], None]) -> bool:
    if config.rating_field in table.columns:
        return True
    if config.min_rating is not None:
        table.require(config.rating_field, "rating_field", ("float",))
    hint = nearest(config.rating_field, table.columns)
    if "did you mean" in hint:
        log(f"{table.header_place}: no column {config.rating_field!r} (data.rating_field), ratings are left out{hint}")
    return False


def _codes(column: Any) -> tuple[np.ndarray, Any]:
    """Numbers [n] int32 and the dictionary they point into."""
    import pyarrow as pa

    whole = column.unify_dictionaries().combine_chunks()
    if isinstance(whole, pa.ChunkedArray):
        whole = whole.chunk(0)
    return whole.indices.to_numpy(zero_copy_only=False).astype(np.int32, copy=False), whole.dictionary
