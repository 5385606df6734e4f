"""Semantic user behaviour retrieval: of everything a user did before, what resembles the target most.

ReLLa (Lin et al., WWW 2024, SUBR). Of two behaviours that are equally similar the later one is preferred. What is found
is exactly what comparing the target with every behaviour, one by one, would find: cosines on the grid of
`bridges.semantic_space` are exact, so that how similar and how late a behaviour is fit into one integer key, and no two
keys of a sample are equal.

Two ways lead to the keys. `_Table` multiplies all items of the targets with all items at once and ranks the items for
each target; rank and position are mostly small enough for 32 bits. It pays where the pairs (sample, behaviour) are many
beside the catalogue. `_Pairs` lets FAISS compare each target with its own behaviours where they lie in the index, and
computes keys, whole multiples of 2^-44, only for those that float32 cannot rule out; it pays for few samples and for
large catalogues.

Letters: S samples, K behaviours kept, N items (row 0 is padding), P width of the space, B samples at once, L history
length, T targets at once.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view

from bridges.errors import BridgeError
from bridges.semantic_space import GRID_BITS

POSITION_BITS = 62 - 2 * GRID_BITS
LONGEST_HISTORY = 1 << POSITION_BITS
BATCH_PAIRS = 1 << 17
"""Pairs (sample, behaviour) in memory at once."""
TABLE_ENTRIES = 1 << 18
"""Similarities in memory at once."""


def most_similar(
    vectors: np.ndarray, items: np.ndarray, starts: np.ndarray, ends: np.ndarray, targets: np.ndarray, count: int
) -> np.ndarray:
    """Rows of the K = ``count`` behaviours most similar to each target, [S, K] int64 in time order, then -1.

    Args:
        vectors: [N, P] of `semantic_space`.
        items: [rows] item of every interaction, user after user, each user's in time order.
        starts, ends: [S] each sample's history is ``items[start:end]``; nothing later is ever looked at.
        targets: [S] items.

    Memory is bounded by `BATCH_PAIRS` and `TABLE_ENTRIES` whatever S, L and N. Raises BridgeError for K below 1 and
    for a history of more than `LONGEST_HISTORY` behaviours.
    """
    lengths = ends - starts
    if count < 1:
        raise BridgeError(f"retrieval: the number of behaviours must be at least 1, got {count}")
    if lengths.max(initial=0) > LONGEST_HISTORY:
        raise BridgeError(
            f"retrieval: a history has {lengths.max()} behaviours; at most {LONGEST_HISTORY} are searched"
        )
    found = np.full((len(targets), count), -1, dtype=np.int64)
    wanted, row = np.unique(targets, return_inverse=True)
    dense = lengths.sum() >= len(wanted) * len(vectors)
    # What is read behind a history is thrown away, but there must be something to read.
    readable = np.append(items, np.zeros(lengths.max(initial=0) + 1, items.dtype)).astype(np.int64)
    bits = max(1, int(lengths.max(initial=0) - 1).bit_length()) if dense else POSITION_BITS

    def search(scores: _Keys, batch: np.ndarray) -> None:
        windows = sliding_window_view(readable, max(1, lengths[batch[-1]]))  # a view
        keys = scores.keys(batch, windows[starts[batch]], lengths[batch], count)  # [B, L]
        rows = _rows(keys, starts[batch], count, bits)
        found[batch, : rows.shape[1]] = rows

    # FAISS has threads of its own.
    with ThreadPoolExecutor(torch.get_num_threads() if dense else 1) as pool:
        for chosen, scores in _table_blocks(vectors, wanted, row, bits) if dense else _all_pairs(vectors, targets):
            order = chosen[np.argsort(lengths[chosen], kind="stable")]
            list(pool.map(partial(search, scores), _batches(order, lengths)))  # raises what a thread raised
    return found


class _Keys(Protocol):
    def keys(self, batch: np.ndarray, histories: np.ndarray, lengths: np.ndarray, count: int) -> np.ndarray:
        """Keys [B, L] of the histories [B, L], shortest first; the histories may be overwritten.

        `_nothing` behind their ends, and where a behaviour is certainly not among the K most similar.
        """


class _Table:
    """How similar all items are to T targets, [T, N]: their ranks, shifted to make room for ``bits`` of a position."""

    def __init__(self, cosines: np.ndarray, row: np.ndarray, bits: int) -> None:
        small = cosines.shape[1].bit_length() + bits < 32
        self.table: np.ndarray = _ranks(cosines).astype(np.int32 if small else np.int64)
        self.table <<= bits
        self.row = row
        """[S] row of each sample's target; right for the samples of this block."""

    def keys(self, batch: np.ndarray, histories: np.ndarray, lengths: np.ndarray, count: int) -> np.ndarray:
        n_items = self.table.shape[1]
        histories += self.row[batch, None] * n_items
        keys = np.take(self.table, histories, mode="clip")  # all are inside; to check that takes as long again
        keys += np.arange(keys.shape[1], dtype=keys.dtype)
        return _end(keys, lengths, _nothing(keys))


class _Pairs:
    """A FAISS index of the vectors, in which each target is compared with its own behaviours only."""

    def __init__(self, vectors: np.ndarray, targets: np.ndarray) -> None:
        import faiss

        self.vectors, self.targets = vectors, targets
        self.index: Any = faiss.IndexFlatIP(vectors.shape[1])
        self.index.add(vectors)
        self.pointer = faiss.swig_ptr
        # A float32 sum of P products of vectors of length one is off by no more than P * 2^-24, here doubled.
        self.error = 2 * vectors.shape[1] * 2.0**-24

    def keys(self, batch: np.ndarray, histories: np.ndarray, lengths: np.ndarray, count: int) -> np.ndarray:
        keys = np.full(histories.shape, np.iinfo(np.int64).min)
        sample, place = self._candidates(batch, histories, lengths, count).nonzero()
        for part in np.array_split(np.arange(len(sample)), 1 + len(sample) * self.vectors.shape[1] // TABLE_ENTRIES):
            row, column = sample[part], place[part]
            behaviour = self.vectors[histories[row, column]].astype(np.float64)
            cosines = np.einsum("cp,cp->c", behaviour, self.vectors[self.targets[batch[row]]].astype(np.float64))
            keys[row, column] = _shifted(cosines) + column
        return keys

    def _candidates(self, batch: np.ndarray, histories: np.ndarray, lengths: np.ndarray, count: int) -> np.ndarray:
        """[B, L] bool, all that may be among the K most similar, given how far off float32 can be."""
        ids = _end(histories.copy(), lengths, -1)
        cosines = np.empty(ids.shape, dtype=np.float32)
        queries = np.ascontiguousarray(self.vectors[self.targets[batch]])
        # FAISS gives -inf for the id -1.
        self.index.compute_distance_subset(
            len(ids), self.pointer(queries), ids.shape[1], self.pointer(cosines), self.pointer(ids)
        )
        last = max(0, ids.shape[1] - count)
        threshold = np.partition(cosines, last, axis=1)[:, last]  # the K-th largest
        return (ids >= 0) & (cosines >= threshold[:, None] - 2 * self.error)


def _table_blocks(
    vectors: np.ndarray, wanted: np.ndarray, row: np.ndarray, bits: int
) -> Iterator[tuple[np.ndarray, _Keys]]:
    """(samples, their keys), so many targets at a time that their table stays small and near the processor."""
    wide, order = vectors.astype(np.float64), np.argsort(row, kind="stable")
    sizes, size = np.bincount(row), max(1, TABLE_ENTRIES // len(vectors))
    ends = np.append(0, np.cumsum(sizes))
    for first in range(0, len(wanted), size):
        last = min(first + size, len(wanted))
        yield order[ends[first] : ends[last]], _Table(wide[wanted[first:last]] @ wide.T, row - first, bits)


def _all_pairs(vectors: np.ndarray, targets: np.ndarray) -> Iterator[tuple[np.ndarray, _Keys]]:
    yield np.arange(len(targets)), _Pairs(vectors, targets)


def _ranks(cosines: np.ndarray) -> np.ndarray:
    """Ranks from 0 in each row of [T, N]; equal cosines have the same one."""
    order = np.argsort(cosines, axis=1)
    steps = np.diff(np.take_along_axis(cosines, order, axis=1), axis=1) > 0
    ranks = np.zeros(cosines.shape, dtype=np.int64)
    np.put_along_axis(ranks, order[:, 1:], np.cumsum(steps, axis=1), axis=1)
    return ranks


def _nothing(keys: np.ndarray) -> int:
    """Key of a behaviour that does not exist, or that is not among the most similar."""
    return int(np.iinfo(keys.dtype).min)


def _shifted(cosines: np.ndarray) -> np.ndarray:
    """Exact cosines as integers, the low `POSITION_BITS` bits free."""
    return np.ldexp(cosines, 2 * GRID_BITS).astype(np.int64) << POSITION_BITS


def _end(values: np.ndarray, lengths: np.ndarray, nothing: int) -> np.ndarray:
    """``values`` [B, L] with ``nothing`` behind each row's length [B], in place."""
    shortest = int(lengths[0])  # before it all is real, and mostly that is nearly everything
    tail = values[:, shortest:]
    tail[np.arange(shortest, values.shape[1]) >= lengths[:, None]] = nothing
    return values


def _batches(order: np.ndarray, lengths: np.ndarray) -> Iterator[np.ndarray]:
    """Samples in ``order`` of rising length, about `BATCH_PAIRS` pairs at a time, padding included."""
    end = len(order)
    while end:
        size = max(1, BATCH_PAIRS // max(1, int(lengths[order[end - 1]])))
        yield order[max(0, end - size) : end]
        end = max(0, end - size)


def _rows(keys: np.ndarray, starts: np.ndarray, count: int, bits: int) -> np.ndarray:
    """Rows of the K largest keys [B, L] in time order, [B, min(K, L)]; -1 behind them.

    The low ``bits`` of a key are the position.
    """
    surplus = keys.shape[1] - count
    if surplus > 0:
        keys = np.partition(keys, surplus, axis=1)[:, surplus:]
    beyond = 1 << bits
    places = np.where(keys == _nothing(keys), beyond, keys & (beyond - 1))
    places.sort(axis=1)
    return np.where(places == beyond, -1, places + starts[:, None])
