"""The blend of both sides against z-scores computed one user at a time."""

import numpy as np
import pytest
import torch

from hybrid.config.schema import EvaluationConfig
from hybrid.data.split import Histories, Targets
from hybrid.evaluation.blend import Scores, best_weight, blend, blend_ranks, top_overlap

N_ITEMS, USERS = 15, 6


@pytest.fixture
def sides():
    generator = torch.Generator().manual_seed(1)
    made = [(torch.randn(USERS, p, generator=generator), torch.randn(N_ITEMS, p, generator=generator)) for p in (3, 5)]
    return Scores(*made[0]), Scores(100 * made[1][0], made[1][1])


def targets_of(items):
    ends = np.arange(1, len(items) + 1)
    return Targets(np.arange(len(items)), np.array(items), Histories(np.ones(len(items), np.int32), ends - 1, ends))


def z_scores(side):
    scores = (side.states @ side.items.T)[:, 1:].double()
    return (scores - scores.mean(dim=1, keepdim=True)) / scores.std(dim=1, keepdim=True, unbiased=False)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_a_blend_adds_z_scores_whatever_the_sides_scales(sides, weight):
    both = blend(*sides, weight)
    found = (both.states @ both.items.T)[:, 1:].double()
    expected = weight * z_scores(sides[0]) + (1 - weight) * z_scores(sides[1])
    assert torch.allclose(found - found.mean(dim=1, keepdim=True), expected, atol=1e-5)


def test_scores_that_are_all_alike_add_nothing(sides):
    silent = Scores(torch.zeros(USERS, 3), sides[0].items)
    both = blend(silent, sides[1], 0.9)
    assert torch.equal((both.states @ both.items.T).argmax(dim=1), (sides[1].states @ sides[1].items.T).argmax(dim=1))
    assert both.states.isfinite().all()


def test_the_better_side_gets_the_weight(sides):
    for number, expected in ((0, 1.0), (1, 0.0)):
        others = (sides[number].states @ sides[number].items.T)[:, 2:]  # item 1 is in each history
        best = targets_of((2 + others.argmax(dim=1)).tolist())
        noise = Scores(-sides[number].states, sides[number].items)  # the side upside down: any share of it only hurts
        pair = (sides[0], noise) if number == 0 else (noise, sides[1])
        weight = best_weight(*pair, best, EvaluationConfig(metric="hr@5"))
        assert abs(weight - expected) < 0.5
        assert (blend_ranks(*pair, weight, best, EvaluationConfig()) == 1).all()


def test_overlap_counts_common_items_in_any_order():
    first, second = torch.tensor([[1, 2, 3, 4], [5, 6, 0, 0]]), torch.tensor([[4, 9, 1, 8], [5, 7, 0, 0]])
    assert top_overlap(first, second) == pytest.approx((2 / 4 + 1 / 4) / 2)
