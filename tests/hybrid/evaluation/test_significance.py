"""The paired bootstrap against cases that can be counted by hand, and its error rate where nothing differs."""

import numpy as np
import pytest

from hybrid.evaluation.significance import _redraw, paired_bootstrap


def test_two_users_have_three_outcomes():
    # users drawn: both the first (1/4): +1, one of each (1/2): +1/4, both the second (1/4): -1/2
    base, new = np.array([[0.0, 0.5]]), np.array([[1.0, 0.0]])
    change = paired_bootstrap(base, new, 20_000, seed=1)
    assert change.difference == pytest.approx(0.25)
    assert (change.low, change.high) == (-0.5, 1.0)
    assert change.relative == pytest.approx(1.0)
    assert change.p_value == pytest.approx(2 * 0.25, abs=0.02)
    assert (change.users, change.seeds) == (2, 1)


def test_seeds_are_drawn_too():
    # every user gains 1 with the first seed and loses 1 with the second: only the seeds spread the mean
    new = np.array([[1.0] * 50, [-1.0] * 50])
    change = paired_bootstrap(np.zeros((2, 50)), new, 20_000, seed=1)
    assert (change.low, change.high) == pytest.approx((-(2**0.5), 2**0.5))  # stretched by sqrt(S / (S - 1))
    assert change.p_value == pytest.approx(1.0)  # 3 in 4 redraws are at most zero, and 3 in 4 at least


def test_a_gain_of_every_user_with_every_seed_is_certain():
    base = np.tile(np.linspace(0.1, 1, 40), (3, 1))
    change = paired_bootstrap(base, 1.5 * base, 999, seed=1)
    assert change.p_value == pytest.approx(2 / 1000)
    assert change.relative == pytest.approx(0.5)
    assert (change.relative_low, change.relative_high) == (pytest.approx(0.5), pytest.approx(0.5))


def test_equal_sides_have_p_one_and_nothing_is_relative_to_zero():
    change = paired_bootstrap(np.zeros((2, 9)), np.zeros((2, 9)), 100, seed=1)
    assert (change.difference, change.p_value, change.relative, change.relative_low) == (0.0, 1.0, None, None)


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_redrawn_seeds_scatter_as_new_ones_would(seeds):
    of_seeds = np.random.default_rng(seeds).random(seeds)
    values = np.stack([np.zeros((seeds, 4)), np.repeat(of_seeds[:, None], 4, axis=1)])  # all users alike
    drawn = _redraw(values, 20_000, np.random.default_rng(1))[:, 1]
    assert drawn.std() == pytest.approx(of_seeds.std(ddof=1) / seeds**0.5, rel=0.02)
    assert drawn.mean() == pytest.approx(of_seeds.mean(), abs=0.01)


def test_the_seed_decides_the_redraws():
    random = np.random.default_rng(0)
    base, new = random.random((2, 3, 30))
    first, same, other = (paired_bootstrap(base, new, 200, seed=seed) for seed in (1, 1, 2))
    assert first == same
    assert first != other


def test_pairs_matter():
    """Users differ far more than the two recommenders do; only pairs show the gain."""
    base = np.random.default_rng(0).random((1, 400))
    assert paired_bootstrap(base, base + 0.01, 500, seed=1).p_value < 0.01
    assert paired_bootstrap(base, np.roll(base + 0.01, 1), 500, seed=1).p_value > 0.05


def test_equal_sides_differ_significantly_no_more_often_than_the_level_says():
    random = np.random.default_rng(5)
    trials, level = 400, 0.05
    found = [paired_bootstrap(*random.random((2, 1, 60)), 199, seed=n).p_value <= level for n in range(trials)]
    assert 0.02 <= np.mean(found) <= 0.09  # three standard errors about 5 %, and a little for 60 users


def test_pairs_of_other_shapes_are_refused():
    with pytest.raises(ValueError, match="alike and not empty"):
        paired_bootstrap(np.zeros((1, 3)), np.zeros((1, 4)), 10, seed=1)
