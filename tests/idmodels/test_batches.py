from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from idmodels.batches import IDBatch, IDBatches, padded_histories
from idmodels.errors import IDModelError

ITEMS = np.array([1, 2, 3, 4, 5, 6, 7, 8, 9])
STARTS, ENDS = np.array([0, 6, 7]), np.array([6, 7, 9])


def _make(max_length: int = 3, batch_targets: int = 100, seed: int = 0) -> IDBatches:
    return IDBatches(ITEMS, STARTS, ENDS, max_length, batch_targets, seed)


def _triples(batches: list[IDBatch]) -> list[tuple[int, int, int]]:
    found = []
    for batch in batches:
        real = batch.rows >= 0
        found += zip(batch.rows[real].tolist(), batch.items[real].tolist(), batch.targets[real].tolist(), strict=True)
    return sorted(found)


def test_windows_by_hand() -> None:
    # User 0 has five inputs 1..5 and L = 3: the rest first, [1, 2], then a full window [3, 4, 5].
    (batch,) = _make().epoch(0)
    order = batch.items[:, 0].argsort()
    assert batch.items[order].tolist() == [[1, 2, 0], [3, 4, 5], [8, 0, 0]]
    assert batch.targets[order].tolist() == [[2, 3, 0], [4, 5, 6], [9, 0, 0]]
    assert batch.rows[order].tolist() == [[0, 1, -1], [2, 3, 4], [7, -1, -1]]


def test_inputs_cover_every_interaction_with_its_row() -> None:
    triples = _triples(list(_make().inputs()))
    assert triples == [
        (0, 1, 2),
        (1, 2, 3),
        (2, 3, 4),
        (3, 4, 5),
        (4, 5, 6),
        (5, 6, 0),
        (6, 7, 0),
        (7, 8, 9),
        (8, 9, 0),
    ]


HISTORY_LENGTHS = st.lists(st.integers(0, 23), min_size=1, max_size=12).filter(lambda lengths: max(lengths) > 1)


@settings(max_examples=60, deadline=None)
@given(HISTORY_LENGTHS, st.integers(1, 9), st.integers(1, 40), st.integers(0, 5))
def test_each_target_once_an_epoch_whatever_the_sizes(
    lengths: list[int], max_length: int, batch_targets: int, epoch: int
) -> None:
    ends = np.cumsum(lengths)
    starts = ends - lengths
    items = np.arange(1, ends[-1] + 1) * 2
    batches = IDBatches(items, starts, ends, max_length, batch_targets, seed=3)
    made = list(batches.epoch(epoch))
    expected = [
        (row, 2 * row + 2, 2 * row + 4) for a, b in zip(starts, ends, strict=True) for row in range(a, max(a, b - 1))
    ]
    assert _triples(made) == expected
    assert len(made) == len(batches)
    assert all(batch.items.shape[1] <= max_length for batch in made)
    assert all((batch.rows >= 0).any(dim=0).all() for batch in made), "a column of padding only"
    assert [row for row, _, _ in _triples(list(batches.inputs()))] == list(range(ends[-1]))


def _long() -> IDBatches:
    lengths = np.random.default_rng(0).integers(2, 60, 200)
    ends = np.cumsum(lengths)
    items = np.random.default_rng(1).integers(1, 50, ends[-1])
    return IDBatches(items, ends - lengths, ends, 20, 256, seed=7)


def test_batches_have_about_the_asked_targets_and_little_padding() -> None:
    batches = list(_long().epoch(0))
    counts = [int((batch.targets > 0).sum()) for batch in batches]
    assert max(counts) <= 256 + 20
    assert min(counts) >= 256 - 2 * 20
    assert sum(counts) / sum(batch.targets.numel() for batch in batches) > 0.9


def _rows(batches: list[IDBatch]) -> list[list[int]]:
    return [batch.rows.flatten().tolist() for batch in batches]


def test_order_depends_on_seed_and_epoch_only() -> None:
    first, again = _long(), _long()
    assert _rows(list(first.epoch(2))) == _rows(list(again.epoch(2)))
    assert _rows(list(first.epoch(2))) != _rows(list(first.epoch(3)))


def test_skip_leaves_the_first_batches_out() -> None:
    batches = _long()
    whole = _rows(list(batches.epoch(1)))
    assert _rows(list(batches.epoch(1, skip=3))) == whole[3:]
    assert list(batches.epoch(1, skip=len(batches))) == []


def test_batches_change_company_between_epochs() -> None:
    def company(epoch: int) -> set[frozenset[int]]:
        return {frozenset(chain(*batch.rows.tolist())) for batch in batches.epoch(epoch)}

    batches = _long()
    assert len(company(0) & company(1)) < len(batches) / 2


def test_padded_histories_keep_the_last_items() -> None:
    histories, lengths = padded_histories(ITEMS, np.array([0, 6, 7, 3]), np.array([6, 7, 9, 3]), 4)
    assert histories.tolist() == [[3, 4, 5, 6], [7, 0, 0, 0], [8, 9, 0, 0], [0, 0, 0, 0]]
    assert lengths.tolist() == [4, 1, 2, 0]
    assert histories.dtype == lengths.dtype == torch.int64


def test_padded_histories_of_nothing() -> None:
    histories, lengths = padded_histories(ITEMS, np.array([5]), np.array([5]), 4)
    assert histories.tolist() == [[0]]
    assert lengths.tolist() == [0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ends": np.array([6, 7])}, "3 starts but 2 ends"),
        ({"ends": np.array([6, 7, 10])}, "outside the 9 given ones"),
        ({"starts": np.array([-1, 6, 7])}, "outside the 9 given ones"),
        ({"items": ITEMS - 1}, "item ids start at 1"),
        ({"starts": np.array([0, 6, 8]), "ends": np.array([1, 7, 9])}, "nothing to train on"),
        ({"batch_targets": 0}, "at least 1"),
        ({"max_length": 0}, "at least 1"),
    ],
)
def test_impossible_input_is_refused(change: dict, message: str) -> None:
    good = {"items": ITEMS, "starts": STARTS, "ends": ENDS, "max_length": 3, "batch_targets": 5, "seed": 0}
    with pytest.raises(IDModelError, match=message):
        IDBatches(**(good | change))
