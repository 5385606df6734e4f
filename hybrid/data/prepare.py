"""From raw files to a prepared dataset, cached by content.

Letters: N items (row 0 is padding), U users; n is the number of interactions.
"""

import hashlib
import json
import logging
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from hybrid.config.schema import DataConfig
from hybrid.data.dataset import FORMAT, Dataset, fingerprint
from hybrid.data.interactions import (
    Interactions,
    count_repeats,
    filter_interactions,
    number_by_appearance,
    read_interactions,
)
from hybrid.data.readers import open_table
from hybrid.data.sources import Source, find_source
from hybrid.data.statistics import statistics, statistics_table
from hybrid.data.store import write_dataset
from hybrid.data.text import item_text
from hybrid.errors import UserError
from idmodels.settings import PADDING_ID

__all__ = ["prepare", "statistics", "statistics_table"]

KEY_FIELDS = (
    "user_field",
    "item_field",
    "time_field",
    "time_precision",
    "rating_field",
    "text_fields",
    "min_rating",
    "user_core",
    "item_core",
)
_info = logging.getLogger("hybrid.data").info


def prepare(config: DataConfig, log: Callable[[str], None] = _info) -> Dataset:
    """The dataset that `config` describes, from the cache if the same files were prepared in the same way before.

    Warnings go to `log`, one line each. Raises UserError for anything wrong with the files; nothing is written then.
    """
    try:
        return _prepare(config, log)
    except OSError as error:
        raise UserError(f"cannot read {error.filename}: {error.strerror or error}") from None


def _prepare(config: DataConfig, log: Callable[[str], None]) -> Dataset:
    source = find_source(config)
    if source.is_prepared:
        _refuse_settings(config)
        return Dataset.load(source.interactions)
    folder = Path(config.cache_dir) / "datasets" / f"{_plain(source.name)}-{_key(source, config)}"
    if folder.exists():
        try:
            return Dataset.load(folder)
        except UserError as error:
            log(f"{error}; preparing it again")
            shutil.rmtree(folder, ignore_errors=True)
    write_dataset(_build(source, folder, config, log))
    return Dataset.load(folder)


def _refuse_settings(config: DataConfig) -> None:
    """What was decided when the folder was prepared can't be decided again."""
    for field in ("item_file", *KEY_FIELDS):
        if getattr(config, field) != getattr(DataConfig, field):
            raise UserError(
                f"data.{field}: {config.dataset} is prepared already, so this has no effect; "
                f"leave it out or name the raw files in data.dataset"
            )


def _build(source: Source, folder: Path, config: DataConfig, log: Callable[[str], None]) -> Dataset:
    data = read_interactions(open_table(source.interactions), config, log)
    data = filter_interactions(data, config, log)
    users, user_ids = number_by_appearance(data.users, data.user_ids)
    items, item_ids = number_by_appearance(data.items, data.item_ids)
    text = _read_text(source, item_ids, config, log)
    repeats = count_repeats(data, len(data.item_ids))
    if repeats:
        same = "same user and item" if data.times is None else "same user, item and time"
        log(f"{repeats} interactions repeat an earlier one ({same}); they are kept")
    order = chronological(users, data.times, config.time_precision)
    items, data = items[order] + 1, data.take(order)
    return _assemble(source.name, folder, users, user_ids, items, [PADDING_ID, *item_ids], ["", *text], data)


def _assemble(
    name: str,
    folder: Path,
    users: np.ndarray,
    user_ids: list[str],
    items: np.ndarray,
    item_ids: list[str],
    text: list[str],
    data: Interactions,
) -> Dataset:
    """The dataset of rows that are in order already; `users` may be in any order."""
    offsets = np.concatenate([[0], np.cumsum(np.bincount(users, minlength=len(user_ids)))]).astype(np.int64)
    items, times, ratings = items.astype(np.int32), data.times, data.ratings
    stamp = fingerprint(item_ids, text, offsets, items, times, ratings)
    return Dataset(folder, name, offsets, items, times, ratings, user_ids, item_ids, text, stamp)


def chronological(users: np.ndarray, times: np.ndarray | None, precision: str) -> np.ndarray:
    """Positions [n] by user, then time, then row: the sort is stable.

    RecBole compares times as float32, in which seconds of our day are told apart only where they are 64 s or more from
    each other (128 s from 2004 on); with its ``normalize_all`` they are scaled to 0..1 before.
    """
    if times is None:
        return np.argsort(users, kind="stable")
    if precision == "scaled_float32":
        times = (times - times.min()) / (np.ptp(times) or 1.0)
    return np.lexsort((times if precision == "exact" else times.astype(np.float32), users))


def _read_text(source: Source, item_ids: list[str], config: DataConfig, log: Callable[[str], None]) -> list[str]:
    if source.items is None:
        if config.text_fields:
            raise UserError("data.text_fields is set, but there is no item file; name it in data.item_file")
        log("no item file: items have no text (name one in data.item_file)")
        return [""] * len(item_ids)
    text = item_text(open_table(source.items), item_ids, config, log)
    n_without = text.count("")
    if n_without:
        log(f"{n_without} of {len(text)} items have no text in {source.items}")
    return text


def _key(source: Source, config: DataConfig) -> str:
    """Hash of what the result depends on: the format, the settings, and each file's ending and content."""
    digest = hashlib.sha256(json.dumps([FORMAT, [getattr(config, field) for field in KEY_FIELDS]]).encode())
    for path in (source.interactions, source.items):
        if path is not None:
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256")
            digest.update(f"{path.suffix} {content.hexdigest()}".encode())
    return digest.hexdigest()[:12]


def _plain(name: str) -> str:
    """A name that is safe in a path."""
    return re.sub(r"[^\w.-]+", "_", name).lstrip(".") or "data"
