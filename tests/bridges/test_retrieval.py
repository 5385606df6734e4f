import logging
import tracemalloc

import numpy as np
import pytest
import torch

from bridges import retrieval
from bridges.errors import BridgeError
from bridges.retrieval import most_similar
from bridges.semantic_space import on_grid, semantic_space

WAYS = pytest.mark.parametrize("way", ["table", "pairs"])


@pytest.fixture
def use(monkeypatch):
    """Make `most_similar` go one way, whatever is cheaper, in batches so small that there are many."""

    def choose(way):
        if way == "table":
            bits, tables = retrieval.POSITION_BITS, retrieval._tables
            monkeypatch.setattr(retrieval, "_pairs", lambda *samples: tables(*samples, bits))
        else:
            pairs = retrieval._pairs
            monkeypatch.setattr(retrieval, "_tables", lambda *samples: pairs(*samples[:-1]))
        monkeypatch.setattr(retrieval, "BATCH_PAIRS", 100)
        monkeypatch.setattr(retrieval, "TABLE_ENTRIES", 200)
        monkeypatch.setattr(retrieval, "PRODUCT_ENTRIES", 500)

    return choose


def brute_force(vectors, items, starts, ends, targets, count):
    """One sample, one behaviour at a time, in exact integers."""
    whole = [[round(float(x) * 2**22) for x in vector] for vector in vectors]
    found = np.full((len(targets), count), -1)
    for sample, (start, end, target) in enumerate(zip(starts, ends, targets, strict=True)):
        scored = []
        for row in range(start, end):
            cosine = sum(a * b for a, b in zip(whole[items[row]], whole[target], strict=True))
            scored.append((cosine, row))
        best = sorted(row for _, row in sorted(scored, reverse=True)[:count])
        found[sample, : len(best)] = best
    return found


def random_samples(generator, n_items, n_users, longest, n_samples):
    lengths = generator.integers(0, longest, n_users)
    begins = np.cumsum(lengths) - lengths
    items = generator.integers(1, n_items, lengths.sum())
    users = generator.integers(0, n_users, n_samples)
    starts = begins[users]
    ends = starts + generator.integers(0, lengths[users] + 1)
    return items, starts, ends, generator.integers(1, n_items, n_samples)


@WAYS
@pytest.mark.parametrize("count", [1, 4, 50])
def test_equals_comparing_one_by_one(use, way, count):
    use(way)
    generator = np.random.default_rng(count)
    # Rows of few small whole numbers: many items are alike or equally far from a target, so that ties decide.
    vectors = on_grid(generator.integers(-1, 2, (30, 4)).astype(float))
    samples = random_samples(generator, 30, 12, 40, 60)
    assert np.array_equal(most_similar(vectors, *samples, count), brute_force(vectors, *samples, count))


@WAYS
def test_equals_comparing_one_by_one_where_float32_cannot_tell_items_apart(use, way):
    use(way)
    generator = np.random.default_rng(3)
    # All items point nearly the same way: their cosines differ by less than float32 sums are off.
    vectors = on_grid(1 + 1e-4 * generator.normal(size=(40, 64)))
    samples = random_samples(generator, 40, 5, 60, 40)
    expected = brute_force(vectors, *samples, 5)
    assert np.array_equal(most_similar(vectors, *samples, 5), expected)
    single = vectors @ vectors.T
    exact = vectors.astype(np.float64) @ vectors.astype(np.float64).T
    upper = np.triu_indices(39, 1)
    assert len(np.unique(single[1:, 1:][upper])) < len(np.unique(exact[1:, 1:][upper]))  # so float32 would not do


@WAYS
def test_the_later_of_two_equal_behaviours_wins(use, way):
    use(way)
    vectors = on_grid(np.array([[0, 0], [1, 0], [1, 0], [0, 1]], dtype=float))
    items = np.array([1, 2, 3, 1])
    found = most_similar(vectors, items, np.array([0]), np.array([4]), np.array([1]), 2)
    assert found.tolist() == [[1, 3]]  # items 1 and 2 have the same vector: rows 0, 1, 3 tie and the first loses


@WAYS
def test_a_planted_behaviour_500_steps_back_is_found(use, way):
    use(way)
    generator = np.random.default_rng(0)
    vectors = on_grid(np.vstack([np.zeros(16), generator.normal(size=(300, 16))]))
    vectors[2] = vectors[1]  # the planted item means what the target means
    items = generator.integers(3, 301, 600)
    items[99] = 2
    found = most_similar(vectors, items, np.array([0]), np.array([600]), np.array([1]), 10)
    assert 99 in found
    assert (np.diff(found[0]) > 0).all()  # in time order


@WAYS
def test_nothing_later_than_the_sample_is_looked_at(use, way):
    use(way)
    generator = np.random.default_rng(1)
    vectors = on_grid(np.vstack([np.zeros(8), generator.normal(size=(20, 8))]))
    items = generator.integers(1, 21, 100)
    starts, ends, targets = np.array([10, 10]), np.array([40, 60]), np.array([5, 5])
    before = most_similar(vectors, items, starts, ends, targets, 6)
    changed = items.copy()
    changed[40:] = 5  # from here on the target itself, again and again
    after = most_similar(vectors, changed, starts, ends, targets, 6)
    assert np.array_equal(after[0], before[0])
    assert after[1].tolist() == [54, 55, 56, 57, 58, 59]


def test_short_and_empty_histories_are_padded_behind():
    vectors = on_grid(np.array([[0, 0], [1, 0], [0, 1]], dtype=float))
    items = np.array([1, 2])
    found = most_similar(vectors, items, np.array([0, 0]), np.array([2, 0]), np.array([1, 2]), 3)
    assert found.tolist() == [[0, 1, -1], [-1, -1, -1]]


@WAYS
def test_a_history_of_10000_behaviours_in_bounded_memory(use, way, monkeypatch):
    use(way)
    monkeypatch.setattr(retrieval, "BATCH_PAIRS", 1 << 16)
    monkeypatch.setattr(retrieval, "TABLE_ENTRIES", 1 << 16)
    monkeypatch.setattr(retrieval, "PRODUCT_ENTRIES", 1 << 16)
    generator = np.random.default_rng(2)
    vectors = on_grid(np.vstack([np.zeros(8), generator.normal(size=(400, 8))]))
    items = generator.integers(1, 401, 10_000)
    ends = np.arange(9_000, 10_000, 5)
    starts, targets = np.zeros_like(ends), generator.integers(1, 401, len(ends))
    tracemalloc.start()
    found = most_similar(vectors, items, starts, ends, targets, 20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20  # all pairs at once are 200 * 10,000 keys of 8 bytes, 16 MB, several times over
    exact = vectors.astype(np.float64)
    for sample in (0, 57, 199):
        cosines = exact[items[: ends[sample]]] @ exact[targets[sample]]
        order = np.lexsort((np.arange(len(cosines)), cosines))
        assert found[sample].tolist() == sorted(order[-20:].tolist())


@pytest.mark.parametrize(("n_samples", "other"), [(400, "_pairs"), (10, "_tables")])
def test_many_samples_share_a_table_and_few_are_compared_pair_by_pair(monkeypatch, n_samples, other):
    generator = np.random.default_rng(4)
    vectors = on_grid(generator.normal(size=(60, 4)))
    samples = random_samples(generator, 60, 12, 40, n_samples)
    monkeypatch.setattr(retrieval, other, None)  # not called
    found = most_similar(vectors, *samples, 3)
    assert found.dtype == np.int32
    assert np.array_equal(found, brute_force(vectors, *samples, 3))


def test_threads_share_the_work_and_find_the_same(use):
    use("table")
    generator = np.random.default_rng(5)
    vectors = on_grid(generator.normal(size=(30, 4)))
    samples = random_samples(generator, 30, 12, 40, 60)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        found = most_similar(vectors, *samples, 4)
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(found, brute_force(vectors, *samples, 4))


def test_what_can_not_be_searched():
    vectors = on_grid(np.eye(3))
    with pytest.raises(BridgeError, match="at least 1, got 0"):
        most_similar(vectors, np.ones(3, int), np.array([0]), np.array([3]), np.array([1]), 0)
    with pytest.raises(BridgeError, match="262145 behaviours"):
        most_similar(vectors, np.ones(3, int), np.array([0]), np.array([262_145]), np.array([1]), 1)


def test_components_are_those_of_the_train_items_alone():
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(12, 6, generator=generator)
    train = np.array([5, 1, 1, 3, 4, 2, 6, 7])
    space = semantic_space(vectors, train, 4)
    moved = vectors.clone()
    moved[8:11] = 100 * torch.randn(3, 6, generator=generator)  # items that only later interactions know
    again = semantic_space(moved, train, 4)
    assert np.array_equal(space[:8], again[:8])
    assert np.array_equal(space[11], again[11])
    assert not np.array_equal(space[8:11], again[8:11])


def test_components_equal_scikit_learns():
    from sklearn.decomposition import PCA

    vectors = torch.randn(20, 6, generator=torch.Generator().manual_seed(1))
    train = np.arange(1, 15)
    theirs = PCA(3, svd_solver="full").fit(vectors[1:15].double().numpy()).transform(vectors[1:].double().numpy())
    theirs /= np.linalg.norm(theirs, axis=1, keepdims=True)
    ours = semantic_space(vectors, train, 3)[1:].astype(np.float64)
    np.testing.assert_allclose(ours @ ours.T, theirs @ theirs.T, atol=1e-6)  # cosines know no signs of axes


def test_vectors_are_on_the_grid_and_their_cosines_exact():
    space = on_grid(np.random.default_rng(0).normal(size=(50, 33)))
    assert np.array_equal(space * 2.0**22, np.rint(space * 2.0**22))
    np.testing.assert_allclose(np.linalg.norm(space.astype(float), axis=1), 1, atol=1e-5)
    wide = space.astype(np.float64)
    shuffled = np.random.default_rng(1).permutation(33)
    assert np.array_equal(wide @ wide.T, wide[:, shuffled] @ wide[:, shuffled].T)


def test_too_few_dimensions_are_said(caplog):
    with caplog.at_level(logging.INFO, "bridges"):
        space = semantic_space(torch.randn(9, 6), np.arange(1, 5), 512)
    assert space.shape == (9, 3)
    assert "3 dimensions, not 512" in caplog.text
    with pytest.raises(BridgeError, match="at least 2 items"):
        semantic_space(torch.randn(9, 6), np.array([1, 1]), 4)


@pytest.mark.parametrize("longest", [2, 40])
def test_keys_of_32_and_of_64_bits_find_the_same(longest):
    # Many samples and few items: the table's way. Positions of `bits` beside ranks of 5 bits fill 32 bits, or do not.
    generator = np.random.default_rng(0)
    vectors = on_grid(generator.integers(-1, 2, (30, 4)).astype(float))
    items, starts, ends, targets = random_samples(generator, 30, 12, longest, 400)
    expected = brute_force(vectors, items, starts, ends, targets, 3)
    assert np.array_equal(most_similar(vectors, items, starts, ends, targets, 3), expected)
    for bits, dtype in ((6, np.int32), (26, np.int32), (27, np.int64)):
        ((chosen, keys),) = retrieval._tables(vectors, targets, ends - starts, bits)
        assert keys.table.dtype == dtype
        for sample in chosen:
            one = items[starts[sample] : ends[sample]][None].astype(np.int32)
            found = keys.keys(np.array([sample]), one, np.array([one.shape[1]]), 3)
            rows = retrieval._rows(found, starts[[sample]], np.array([one.shape[1]]), 3, bits)[0]
            assert rows.tolist() == expected[sample, : len(rows)].tolist()
