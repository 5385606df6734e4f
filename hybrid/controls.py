"""What the controls do: texts of other items, and states of other users (`hybrid.config.controls`).

Letters: B prompts, L history length, N items (row 0 is padding), M scored positions, U users.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from hybrid.config.schema import Config
from hybrid.data.dataset import Dataset
from hybrid.data.split import Histories
from idmodels.batches import padded_histories


def controlled(dataset: Dataset, config: Config) -> Dataset:
    """The dataset as the config's controls want it; its fingerprint stays that of the data."""
    if config.controls.item_text == "own":
        return dataset
    return replace(dataset, item_text=permuted_texts(dataset.item_text, config.seed))


def permuted_texts(texts: Sequence[str], seed: int) -> list[str]:
    """Every item's text goes to another item; the padding's stays."""
    return [texts[number] for number in other_items(len(texts), seed)]


def other_items(n_items: int, seed: int) -> np.ndarray:
    """Another item for each of N, each chosen once; 0, the padding, for itself."""
    return np.append(0, 1 + others(n_items - 1, seed))


def others(count: int, seed: int) -> np.ndarray:
    """Another one for each of ``count`` things, each chosen once: one cycle through all, drawn by the seed."""
    order = np.random.default_rng((seed, count)).permutation(count)
    found = np.empty(count, dtype=np.int64)
    found[order] = np.roll(order, 1)
    return found


@dataclass(frozen=True, eq=False)
class OtherUsers:
    """Each user who has train interactions gets another one's; who has none keeps none."""

    train: Histories
    """U rows, user after user."""
    other: np.ndarray
    """[U]."""

    @classmethod
    def draw(cls, train: Histories, seed: int) -> "OtherUsers":
        """Another user for each, by the seed."""
        other, known = np.arange(len(train)), np.flatnonzero(train.lengths)
        other[known] = known[others(len(known), seed)]
        return cls(train, other)

    def rows(self, rows: Tensor) -> Tensor:
        """Rows [M] of train interactions as the other user's after as many interactions, or their last; -1 stays."""
        old = rows.cpu().numpy()
        users = np.searchsorted(self.train.ends, np.maximum(old, 0), side="right")
        done, theirs = np.maximum(old, 0) - self.train.starts[users], self.other[users]
        new = self.train.starts[theirs] + np.minimum(done, self.train.lengths[theirs] - 1)
        return torch.from_numpy(np.where(old >= 0, new, -1)).to(rows.device)

    def histories(self, rows: Tensor, length: int) -> Tensor:
        """The up to ``length`` items that end with each of the rows [B], right-padded, [B, L]; none for -1."""
        last = rows.cpu().numpy()
        users = np.searchsorted(self.train.ends, np.maximum(last, 0), side="right")
        starts = np.where(last >= 0, self.train.starts[users], 0)
        items, _ = padded_histories(self.train.items, starts, last + 1, length)
        padded = torch.zeros(len(rows), length, dtype=items.dtype)
        padded[:, : items.shape[1]] = items
        return padded.to(rows.device)
