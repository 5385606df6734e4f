"""Writing a prepared dataset: all of it or nothing."""

import json
from pathlib import Path

import numpy as np

from hybrid.data.dataset import FORMAT, ITEMS_FILE, META_FILE, USERS_FILE, Dataset
from hybrid.errors import UserError
from hybrid.whole_files import first_folder


def write_dataset(dataset: Dataset) -> None:
    """Write to `dataset.path`: into a folder beside it first, then renamed.

    Raises UserError where the disk is full or the place cannot be written; nothing is left behind then.
    """
    try:
        with first_folder(dataset.path, META_FILE) as folder:
            _write_files(dataset, folder)
    except OSError as error:
        reason = error.strerror or "the disk is full"  # numpy reports a short write without the system's reason
        raise UserError(
            f"cannot write the prepared dataset to {dataset.path}, {_size(dataset):.1f} MB: {reason}; "
            "free some space or set data.cache_dir"
        ) from None


def _write_files(dataset: Dataset, folder: Path) -> None:
    arrays = {"offsets": dataset.offsets, "items": dataset.items, "times": dataset.times, "ratings": dataset.ratings}
    for name, array in arrays.items():
        if array is not None:
            np.save(folder / f"{name}.npy", array, allow_pickle=False)
    _write_json(folder / USERS_FILE, dataset.user_ids)
    _write_json(folder / ITEMS_FILE, {"ids": dataset.item_ids, "text": dataset.item_text})
    meta = {
        "format": FORMAT,
        "name": dataset.name,
        "fingerprint": dataset.fingerprint,
        "has_times": dataset.times is not None,
        "has_ratings": dataset.ratings is not None,
    }
    _write_json(folder / META_FILE, meta)


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")


def _size(dataset: Dataset) -> float:
    """Rough size in MB."""
    arrays = (dataset.offsets, dataset.items, dataset.times, dataset.ratings)
    texts = (dataset.user_ids, dataset.item_ids, dataset.item_text)
    strings = sum(len(text) + 4 for texts_ in texts for text in texts_)
    return (sum(array.nbytes for array in arrays if array is not None) + strings) / 1e6
