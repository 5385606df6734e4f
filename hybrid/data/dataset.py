"""A prepared dataset: compact arrays on disk, memory-mapped, with the raw ids and the item text.

Letters: N items (row 0 is padding), U users; n is the number of interactions.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hybrid.errors import UserError

FORMAT = 1
META_FILE = "dataset.json"
USERS_FILE = "users.json"
ITEMS_FILE = "items.json"


@dataclass(frozen=True, eq=False)
class Dataset:
    """A prepared dataset; arrays are memory-mapped."""

    path: Path
    name: str
    offsets: np.ndarray
    """[U+1] int64; user u's interactions are items[offsets[u]:offsets[u+1]], in time order."""
    items: np.ndarray
    """[n] int32 in 1..N-1."""
    times: np.ndarray | None
    """[n] float64."""
    ratings: np.ndarray | None
    """[n] float32."""
    user_ids: list[str]
    """[U] raw ids."""
    item_ids: list[str]
    """[N] raw ids; the first is the padding's."""
    item_text: list[str]
    """[N]; empty for padding and for items without text."""
    fingerprint: str
    """16 hex digits that stand for the item map, the interactions and the text."""

    @property
    def n_items(self) -> int:
        """N, padding included."""
        return len(self.item_ids)

    @property
    def n_users(self) -> int:
        """U."""
        return len(self.user_ids)

    @property
    def n_interactions(self) -> int:
        """Interactions of all users together."""
        return len(self.items)

    @classmethod
    def load(cls, path: str | Path) -> "Dataset":
        """Open a prepared folder. Raises UserError where a file is missing or damaged."""
        path = Path(path)
        if not (path / META_FILE).is_file():
            raise UserError(f"{path} is not a prepared dataset: it has no {META_FILE}")
        try:
            dataset = _load(path)
            _check(dataset)
        except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
            raise UserError(
                f"prepared dataset {path} is damaged ({error}); delete the folder and prepare again"
            ) from None
        return dataset


def fingerprint(
    item_ids: list[str],
    item_text: list[str],
    offsets: np.ndarray,
    items: np.ndarray,
    times: np.ndarray | None,
    ratings: np.ndarray | None,
) -> str:
    """16 hex digits of the SHA-256 of everything a model can learn from or be asked about."""
    digest = hashlib.sha256()
    digest.update(json.dumps([item_ids, item_text]).encode())
    for label, array in (("offsets", offsets), ("items", items), ("times", times), ("ratings", ratings)):
        digest.update(label.encode())
        if array is not None:
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]


def _load(path: Path) -> Dataset:
    meta = _read_json(path / META_FILE)
    if meta["format"] != FORMAT:
        raise ValueError(f"format {meta['format']}, this version reads {FORMAT}")
    item_map = _read_json(path / ITEMS_FILE)
    return Dataset(
        path=path,
        name=meta["name"],
        offsets=_map_array(path, "offsets", np.int64),
        items=_map_array(path, "items", np.int32),
        times=_map_array(path, "times", np.float64) if meta["has_times"] else None,
        ratings=_map_array(path, "ratings", np.float32) if meta["has_ratings"] else None,
        user_ids=_read_json(path / USERS_FILE),
        item_ids=item_map["ids"],
        item_text=item_map["text"],
        fingerprint=meta["fingerprint"],
    )


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _map_array(path: Path, name: str, dtype: type) -> np.ndarray:
    array: np.ndarray = np.load(path / f"{name}.npy", mmap_mode="r", allow_pickle=False)
    if array.dtype != dtype or array.ndim != 1:
        raise ValueError(f"{name}.npy holds {array.dtype} in {array.ndim} dimensions")
    return array


def _check(dataset: Dataset) -> None:
    """Find sizes that do not fit together and ids that would read outside a table now, not in the middle of a run."""
    n = dataset.n_interactions
    if len(dataset.offsets) != dataset.n_users + 1 or dataset.offsets[0] != 0 or dataset.offsets[-1] != n:
        raise ValueError("offsets.npy does not fit the users and interactions")
    if (np.diff(dataset.offsets) < 0).any():
        raise ValueError("offsets.npy is not in order")
    if len(dataset.item_text) != dataset.n_items:
        raise ValueError(f"{ITEMS_FILE} has {dataset.n_items} ids and {len(dataset.item_text)} texts")
    for array in (dataset.times, dataset.ratings):
        if array is not None and len(array) != n:
            raise ValueError(f"times.npy or ratings.npy has not {n} values")
    if n and not (dataset.items.min() >= 1 and dataset.items.max() < dataset.n_items):
        raise ValueError("items.npy holds ids outside the item map")
