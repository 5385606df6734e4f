"""Our ranks and metrics against RecBole's Collector and Evaluator on the same score matrix.

RecBole ranks by ``torch.topk``: of equal scores any may come first, so a constant scorer can look perfect. Here every
item with the target's score stands before it. Without ties both agree. RecBole's sequential evaluation ranks items of
the user's history too (``evaluation.mask_history=false`` here); where it masks them, in its general models, it gives
them the score -inf, as below.
"""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hybrid.data.split import Histories
from hybrid.evaluation.metrics import CUTOFFS, ranking_metrics
from hybrid.evaluation.ranking import full_ranks
from idmodels.recbole_compat import recbole_config

N_USERS, N_ITEMS = 300, 61
NAMES = {"hit": "hr", "ndcg": "ndcg", "mrr": "mrr"}


@pytest.fixture(scope="module")
def evaluator() -> SimpleNamespace:
    """RecBole's collector and evaluator of Hit, NDCG and MRR at 5, 10 and 20, unrounded."""
    overrides = {
        "loss_type": "CE",
        "train_neg_sample_args": None,
        "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"},
        "metrics": ["Hit", "NDCG", "MRR"],
        "topk": list(CUTOFFS),
        "metric_decimal_place": 12,
    }
    config = recbole_config("SASRec", "none", overrides)
    from recbole.evaluator import Collector, Evaluator

    return SimpleNamespace(collector=Collector(config), evaluator=Evaluator(config))


@pytest.fixture
def scores() -> Tensor:
    """[U, N] scores, all different within a user."""
    generator = torch.Generator().manual_seed(7)
    return torch.stack([torch.randperm(N_ITEMS, generator=generator) for _ in range(N_USERS)]).float() / 8


@pytest.fixture
def targets() -> Tensor:
    return torch.randint(1, N_ITEMS, (N_USERS,), generator=torch.Generator().manual_seed(8))


@pytest.fixture
def histories(targets: Tensor) -> Histories:
    """Up to 30 items of each user, none of them its target."""
    random = np.random.default_rng(9)
    rows = [random.permutation(np.setdiff1d(np.arange(1, N_ITEMS), target))[: 1 + target % 30] for target in targets]
    ends = np.cumsum([len(row) for row in rows])
    return Histories(np.concatenate(rows), ends - [len(row) for row in rows], ends)


def _theirs(
    recbole: SimpleNamespace, scores: Tensor, targets: Tensor, seen: Histories | None = None
) -> dict[str, float]:
    """What RecBole's Trainer does with the scores of a batch, in two batches."""
    masked = scores.clone()
    masked[:, 0] = -np.inf
    if seen is not None:
        for user in range(len(targets)):
            masked[user, seen.row(user)] = -np.inf
    for users in torch.arange(len(targets)).split(len(targets) // 2):
        rows = torch.arange(len(users))
        recbole.collector.eval_batch_collect(masked[users], {}, rows, targets[users])
    found: dict[str, float] = recbole.evaluator.evaluate(recbole.collector.get_data_struct())
    return {f"{NAMES[name.split('@')[0]]}@{name.split('@')[1]}": float(value) for name, value in found.items()}


def _ours(scores: Tensor, targets: Tensor, seen: Histories | None = None) -> dict[str, float]:
    """An identity matrix of states makes ``states @ item_matrix.T`` the scores themselves, to the last bit."""
    ranks = full_ranks(torch.eye(len(scores)), scores.T, targets, seen, batch_items=17, batch_users=64)
    return ranking_metrics(ranks)


def _assert_equal(ours: dict[str, float], theirs: dict[str, float]) -> None:
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        assert ours[name] == pytest.approx(value, abs=1e-6), name
    assert 0.05 < ours["ndcg@10"] < 0.95


def test_all_items_ranked(evaluator: Any, scores: Tensor, targets: Tensor) -> None:
    _assert_equal(_ours(scores, targets), _theirs(evaluator, scores, targets))


def test_history_left_out(evaluator: Any, scores: Tensor, targets: Tensor, histories: Histories) -> None:
    masked = _ours(scores, targets, histories)
    _assert_equal(masked, _theirs(evaluator, scores, targets, histories))
    assert masked["ndcg@10"] > _ours(scores, targets)["ndcg@10"]


def test_a_padding_score_above_all_others_counts_for_nothing(evaluator: Any, scores: Tensor, targets: Tensor) -> None:
    raised = scores.clone()
    raised[:, 0] = 1e6
    _assert_equal(_ours(raised, targets), _theirs(evaluator, raised, targets))
    assert _ours(raised, targets) == _ours(scores, targets)


def test_ties_are_where_the_two_differ(evaluator: Any) -> None:
    """A constant scorer: here every target comes last; RecBole's top list, whatever it is, holds some targets."""
    constant = torch.zeros(N_ITEMS - 1, N_ITEMS)
    every_item = torch.arange(1, N_ITEMS)
    assert set(_ours(constant, every_item).values()) == {0.0}
    assert _theirs(evaluator, constant, every_item)["hr@10"] == pytest.approx(10 / (N_ITEMS - 1), abs=1e-6)


def test_one_tie_costs_one_rank_here(evaluator: Any) -> None:
    scores = torch.tensor([[0.0, 3.0, 2.0, 2.0, 1.0] + [0.5] * 20])
    for target, rank in ((1, 1), (2, 3), (3, 3), (4, 4)):
        assert _ours(scores, torch.tensor([target]))["mrr@5"] == pytest.approx(1 / rank)
    theirs = [_theirs(evaluator, scores.repeat(2, 1), torch.tensor([target] * 2))["mrr@5"] for target in (2, 3)]
    assert sorted(theirs) == pytest.approx([1 / 3, 1 / 2])
