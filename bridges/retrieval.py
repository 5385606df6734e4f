"""Semantic user behaviour retrieval: of everything a user did before, what resembles the target most.

ReLLa (Lin et al., WWW 2024, SUBR). Of two behaviours that are equally similar the later one is preferred. What is found
is exactly what comparing the target with every behaviour, one by one, would find: cosines on the grid of
`bridges.semantic_space` are exact, so that how similar and how late a behaviour is fit into one integer key, and no two
keys of a sample are equal.

Two ways lead to the keys. `_Table` multiplies all items with all items and ranks them for each target, after which a
pair (sample, behaviour) costs no more than to look its rank up; rank and position are mostly small enough for 32 bits.
It pays where such pairs are many beside the pairs of items. `_Pairs` lets FAISS compare each target with its own
behaviours where they lie in the index, and computes keys, whole multiples of 2^-44, only for those that float32 cannot
rule out; it pays for few samples and for large catalogues.

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
LONGEST_HISTORY = MOST_ITEMS_RANKED = 1 << POSITION_BITS
BATCH_PAIRS = 1 << 17
"""Pairs (sample, behaviour) in memory at once."""
TABLE_ENTRIES = 1 << 18
"""Ranks in a table; so few that it stays near the processor."""
DEARER = 3
"""What a pair (sample, behaviour) costs in `_Pairs`, beside what a pair of items costs in `_Table`."""
PRODUCT_ENTRIES = 1 << 20
"""Similarities in memory at once."""


def most_similar(
    vectors: np.ndarray, items: np.ndarray, starts: np.ndarray, ends: np.ndarray, targets: np.ndarray, count: int
) -> np.ndarray:
    """Rows of the K = ``count`` behaviours most similar to each target, [S, K] in time order, then -1.

    Args:
        vectors: [N, P] of `semantic_space`.
        items: [rows] item of every interaction, user after user, each user's in time order.
        starts, ends: [S] each sample's history is ``items[start:end]``; nothing later is ever looked at.
        targets: [S] items.

    The rows are of 32 bits where these are enough. Beside them and a few numbers per sample, memory is bounded by
    `BATCH_PAIRS` and `PRODUCT_ENTRIES` whatever S, L and N. Raises BridgeError for K below 1 and for a history of more
    than `LONGEST_HISTORY` behaviours.
    """
    lengths = ends - starts
    if count < 1:
        raise BridgeError(f"retrieval: the number of behaviours must be at least 1, got {count}")
    if lengths.max(initial=0) > LONGEST_HISTORY:
        raise BridgeError(
            f"retrieval: a history has {lengths.max()} behaviours; at most {LONGEST_HISTORY} are searched"
        )
    found = np.full((len(targets), count), -1, dtype=np.int32 if len(items) < 2**31 else np.int64)
    longest = max(1, int(lengths.max(initial=0)))
    dense = len(vectors) <= MOST_ITEMS_RANKED and DEARER * lengths.sum() >= len(vectors) ** 2
    bits = max(1, (longest - 1).bit_length()) if dense else POSITION_BITS
    # What is read behind a history is thrown away, but there must be something to read.
    readable = np.append(items, np.zeros(longest, items.dtype)).astype(np.min_scalar_type(len(vectors)))
    windows = sliding_window_view(readable, longest)  # a view

    def search(scores: _Keys, batches: list[np.ndarray]) -> None:
        for batch in batches:
            begins, sizes = starts[batch].astype(found.dtype), lengths[batch]
            keys = scores.keys(batch, windows[:, : max(1, sizes[-1])][begins], sizes, count)  # [B, L]
            rows = _rows(keys, begins, sizes, count, bits)
            found[batch, : rows.shape[1]] = rows

    threads = torch.get_num_threads() if dense else 1  # FAISS has threads of its own
    with ThreadPoolExecutor(threads) as pool:
        for chosen, scores in _tables(vectors, targets, lengths, bits) if dense else _pairs(vectors, targets, lengths):
            batches = list(_batches(chosen, lengths))
            shares = [batches[number::threads] for number in range(threads)]
            list(pool.map(partial(search, scores), shares))  # raises what a thread raised
    return found


class _Keys(Protocol):
    def keys(self, batch: np.ndarray, histories: np.ndarray, lengths: np.ndarray, count: int) -> np.ndarray:
        """Keys [B, L] of the histories [B, L], shortest first.

        `_nothing` behind their ends, and where a behaviour is certainly not among the K most similar.
        """


class _Table:
    """How similar all items are to T targets, [T, N]: their ranks, shifted to make room for ``bits`` of a position."""

    def __init__(self, cosines: np.ndarray, targets: np.ndarray, first: int, bits: int) -> None:
        small = cosines.shape[1].bit_length() + bits < 32
        self.table: np.ndarray = _ranks(cosines).astype(np.int32 if small else np.int64)
        self.table <<= bits
        self.targets, self.first, self.bits = targets, first, bits
        """[S] all targets; those of this table are the items from ``first`` on."""

    def keys(self, batch: np.ndarray, histories: np.ndarray, lengths: np.ndarray, count: int) -> np.ndarray:
        row = (self.targets[batch] - self.first) * self.table.shape[1]
        places = torch.from_numpy(histories + row[:, None].astype(np.int32))
        # Faster than numpy's `take`, and content with indices of 32 bits.
        found = torch.index_select(torch.from_numpy(self.table).view(-1), 0, places.view(-1))
        keys: np.ndarray = found.numpy().reshape(histories.shape)
        keys += np.arange(keys.shape[1], dtype=keys.dtype)
        return _end(keys, lengths, _nothing(keys.dtype, self.bits))


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
        keys = np.full(histories.shape, _nothing(np.dtype(np.int64), POSITION_BITS))
        sample, place = self._candidates(batch, histories, lengths, count).nonzero()
        for part in np.array_split(np.arange(len(sample)), 1 + len(sample) * self.vectors.shape[1] // TABLE_ENTRIES):
            row, column = sample[part], place[part]
            behaviour = self.vectors[histories[row, column]].astype(np.float64)
            cosines = np.einsum("cp,cp->c", behaviour, self.vectors[self.targets[batch[row]]].astype(np.float64))
            keys[row, column] = _shifted(cosines) + column
        return keys

    def _candidates(self, batch: np.ndarray, histories: np.ndarray, lengths: np.ndarray, count: int) -> np.ndarray:
        """[B, L] bool, all that may be among the K most similar, given how far off float32 can be."""
        ids = _end(histories.astype(np.int64), lengths, -1)
        cosines = np.empty(ids.shape, dtype=np.float32)
        queries = np.ascontiguousarray(self.vectors[self.targets[batch]])
        # FAISS gives -inf for the id -1.
        self.index.compute_distance_subset(
            len(ids), self.pointer(queries), ids.shape[1], self.pointer(cosines), self.pointer(ids)
        )
        last = max(0, ids.shape[1] - count)
        threshold = np.partition(cosines, last, axis=1)[:, last]  # the K-th largest
        return (ids >= 0) & (cosines >= threshold[:, None] - 2 * self.error)


def _tables(
    vectors: np.ndarray, targets: np.ndarray, lengths: np.ndarray, bits: int
) -> Iterator[tuple[np.ndarray, _Keys]]:
    """(samples by rising length, their keys), so many targets at a time that their table stays small."""
    wide, n_items = vectors.astype(np.float64), len(vectors)
    size = max(1, TABLE_ENTRIES // n_items)
    tables = (targets // size).astype(np.int64)
    ends = np.append(0, np.cumsum(np.bincount(tables, minlength=-(-n_items // size))))
    tables <<= POSITION_BITS + 1
    tables += lengths
    order = np.argsort(tables)
    for some in _ranges(0, n_items, max(size, PRODUCT_ENTRIES // n_items // size * size)):
        cosines = wide[some] @ wide.T
        for part in _ranges(some.start, some.stop, size):
            number = part.start // size
            chosen = order[ends[number] : ends[number + 1]]
            if len(chosen):
                near = cosines[part.start - some.start : part.stop - some.start]
                yield chosen, _Table(near, targets, part.start, bits)


def _pairs(vectors: np.ndarray, targets: np.ndarray, lengths: np.ndarray) -> Iterator[tuple[np.ndarray, _Keys]]:
    yield np.argsort(lengths), _Pairs(vectors, targets)


def _ranges(first: int, last: int, size: int) -> Iterator[slice]:
    """[first, last) in slices of at most ``size``."""
    return (slice(begin, min(begin + size, last)) for begin in range(first, last, size))


def _ranks(cosines: np.ndarray) -> np.ndarray:
    """Ranks from 0 in each row of [T, N], int32; equal cosines have the same one."""
    # Sorting numbers that carry their item is faster than `argsort`.
    n_rows, n_items = cosines.shape
    ordered = _shifted(cosines) + np.arange(n_items)
    ordered.sort(axis=1)
    places = (ordered & (MOST_ITEMS_RANKED - 1)) + n_items * np.arange(n_rows)[:, None]
    ordered >>= POSITION_BITS
    steps = np.zeros(cosines.shape, dtype=np.int32)
    np.cumsum(ordered[:, 1:] != ordered[:, :-1], axis=1, out=steps[:, 1:])
    ranks = np.empty(cosines.size, dtype=np.int32)
    ranks[places] = steps
    return ranks.reshape(cosines.shape)


def _nothing(dtype: np.dtype, bits: int) -> int:
    """Key of a behaviour that does not exist, or that is not among the most similar: its position is the highest."""
    return int(np.iinfo(dtype).min) + (1 << bits) - 1


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


def _rows(keys: np.ndarray, starts: np.ndarray, lengths: np.ndarray, count: int, bits: int) -> np.ndarray:
    """Rows of the K largest keys [B, L] in time order, [B, min(K, L)]; -1 behind them. The keys are shuffled.

    The low ``bits`` of a key are the position.
    """
    surplus = keys.shape[1] - count
    if surplus > 0:
        keys.partition(surplus, axis=1)
    places = keys[:, max(0, surplus) :] & ((1 << bits) - 1)
    places.sort(axis=1)
    return _end(places + starts[:, None], lengths, -1)
