"""Ranks and metrics against hand computation, a sort, and scikit-learn."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from hybrid.data.split import Histories
from hybrid.errors import UserError
from hybrid.evaluation.metrics import ranking_metrics
from hybrid.evaluation.ranking import full_ranks


def histories(*rows):
    ends = np.cumsum([len(row) for row in rows])
    starts = ends - np.array([len(row) for row in rows])
    return Histories(np.array([item for row in rows for item in row], dtype=np.int32), starts, ends)


def scores_as_model(scores):
    """States and a matrix whose product is ``scores`` [M, N] exactly."""
    return torch.eye(len(scores)), torch.tensor(scores).T.contiguous()


def test_rank_counts_the_items_ahead_and_never_the_padding():
    states, matrix = scores_as_model([[9.0, 1.0, 3.0, 2.0]])
    assert full_ranks(states, matrix, torch.tensor([3])).tolist() == [2]


def test_a_constant_scorer_comes_last():
    states, matrix = torch.ones(2, 3), torch.ones(11, 3)
    assert full_ranks(states, matrix, torch.tensor([1, 10])).tolist() == [10, 10]


def test_history_is_left_out_but_not_the_target():
    states, matrix = scores_as_model([[0.0, 5.0, 4.0, 3.0, 2.0], [0.0, 5.0, 4.0, 3.0, 2.0]])
    seen = histories([1, 2, 2], [1, 4])  # a repeated item counts once; the second target is in its own history
    assert full_ranks(states, matrix, torch.tensor([3, 4]), seen).tolist() == [1, 3]


def test_a_score_that_is_not_a_number_is_an_error():
    states, matrix = scores_as_model([[0.0, math.nan, 1.0]])
    with pytest.raises(UserError, match="not finite"):
        full_ranks(states, matrix, torch.tensor([1]))


def test_another_items_nan_counts_against_the_target():
    states, matrix = scores_as_model([[0.0, 1.0, math.nan]])
    matrix = torch.nan_to_num(matrix, nan=math.inf)
    assert full_ranks(states, matrix, torch.tensor([1])).tolist() == [2]


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10_000), chunk=st.integers(1, 40), users=st.integers(1, 9), mask=st.booleans())
def test_chunks_agree_with_a_plain_sort(seed, chunk, users, mask):
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randint(-2, 3, (30, 4), generator=generator).float()  # many ties
    states = torch.randint(-2, 3, (7, 4), generator=generator).float()
    targets = torch.randint(1, 30, (7,), generator=generator)
    rows = [torch.randint(1, 30, (int(n),), generator=generator).tolist() for n in range(7)]
    ranks = full_ranks(states, matrix, targets, histories(*rows) if mask else None, chunk, users)
    for user, rank in enumerate(ranks.tolist()):
        scores = states[user] @ matrix.T
        rivals = set(range(1, 30)) - {int(targets[user])} - (set(rows[user]) if mask else set())
        assert rank == 1 + sum(scores[item] >= scores[targets[user]] for item in rivals)


def test_metrics_by_hand():
    metrics = ranking_metrics(torch.tensor([1, 2, 6, 30]))
    assert metrics["hr@5"] == 2 / 4
    assert metrics["hr@10"] == 3 / 4
    assert metrics["ndcg@10"] == pytest.approx((1 + 1 / math.log2(3) + 1 / math.log2(7)) / 4)
    assert metrics["mrr@20"] == pytest.approx((1 + 1 / 2 + 1 / 6) / 4)


def test_ndcg_equals_scikit_learn():
    random = np.random.default_rng(0)
    scores = random.normal(size=(50, 40)).astype(np.float32)
    targets = random.integers(1, 40, 50)
    states, matrix = scores_as_model(scores.tolist())
    relevance = np.zeros((50, 39))
    relevance[np.arange(50), targets - 1] = 1
    ours = ranking_metrics(full_ranks(states, matrix, torch.from_numpy(targets)))
    assert ours["ndcg@10"] == pytest.approx(ndcg_score(relevance, scores[:, 1:], k=10), abs=1e-6)
