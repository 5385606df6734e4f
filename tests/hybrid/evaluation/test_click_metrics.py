"""Click metrics against scikit-learn and by hand."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score

from hybrid.evaluation.click_metrics import auc, calibration_error, click_metrics, intervals, per_user_auc, sigmoid


@pytest.fixture
def drawn():
    """Logits with ties, labels that they say something about, users of different sizes, some with one class."""
    random = np.random.default_rng(5)
    logits = np.round(random.normal(size=900), 1)
    labels = (random.random(900) < sigmoid(logits)).astype(np.int8)
    users = random.integers(0, 200, 900)
    return logits, labels, users


def test_against_scikit_learn(drawn):
    logits, labels, users = drawn
    found = click_metrics(logits, labels, users)
    assert found["auc"] == pytest.approx(roc_auc_score(labels, logits), abs=1e-12)
    assert found["logloss"] == pytest.approx(log_loss(labels, sigmoid(logits)), abs=1e-12)
    assert found["acc"] == pytest.approx(accuracy_score(labels, logits > 0), abs=1e-12)
    both = [user for user in np.unique(users) if len(set(labels[users == user])) == 2]
    theirs = [roc_auc_score(labels[users == user], logits[users == user]) for user in both]
    assert 0 < len(both) < len(np.unique(users))
    assert np.allclose(per_user_auc(logits, labels, users), theirs, atol=1e-12)
    assert found["uauc"] == pytest.approx(np.mean(theirs), abs=1e-12)


def test_uauc_by_hand():
    # User 7: one of two pairs is right; user 3: a tie; user 9 has no click and does not count.
    users = np.array([7, 7, 7, 3, 3, 9])
    labels = np.array([1, 0, 0, 1, 0, 0])
    logits = np.array([0.5, 0.2, 0.9, 1.0, 1.0, 4.0])
    assert per_user_auc(logits, labels, users).tolist() == [0.5, 0.5]
    assert click_metrics(logits, labels, users)["uauc"] == 0.5


def test_calibration_error_by_hand():
    # Bin 0 holds 0.01 and 0.05 with one click: |1 - 0.06|. Bin 14 holds 0.95 and 1.0 with two: |2 - 1.95|.
    probabilities = np.array([0.01, 0.05, 0.95, 1.0])
    labels = np.array([0, 1, 1, 1])
    assert calibration_error(probabilities, labels) == pytest.approx((0.94 + 0.05) / 4)


def test_the_first_of_fifteen_bins_ends_at_a_fifteenth():
    # 1/15 = 0.0667. Bin 0 holds 0.06 and 0.066 with one click: |1 - 0.126|. Bin 1 holds 0.068 with none.
    found = calibration_error(np.array([0.06, 0.066, 0.068]), np.array([1, 0, 0]))
    assert found == pytest.approx((0.874 + 0.068) / 3)


def test_logloss_of_a_certain_mistake_is_finite_and_exact():
    found = click_metrics(np.array([800.0, -1.0]), np.array([0, 0]), np.array([0, 0]))
    assert found["logloss"] == pytest.approx((800.0 + np.log1p(np.exp(-1.0))) / 2)
    assert np.isnan(found["auc"])
    assert np.isnan(found["uauc"])


def test_constant_scores_are_worth_a_half():
    assert auc(np.zeros(6), np.array([1, 0, 0, 1, 0, 0])) == 0.5


def test_intervals_hold_the_value_shrink_with_the_data_and_repeat(drawn):
    logits, labels, users = drawn
    values = click_metrics(logits, labels, users)
    wide, again = (intervals(logits, labels, users, 200, seed=0) for _ in range(2))
    assert wide == again
    assert wide != intervals(logits, labels, users, 200, seed=1)
    assert set(wide) == set(values)
    for name in ("auc", "uauc", "logloss", "acc"):
        low, high = wide[name]
        assert low < values[name] < high
    # Nine times the samples: a third of the width.
    narrow = intervals(np.tile(logits, 9), np.tile(labels, 9), np.tile(users, 9), 200, seed=0)
    assert narrow["auc"][1] - narrow["auc"][0] < 0.5 * (wide["auc"][1] - wide["auc"][0])
    assert intervals(logits, labels, users, 0, seed=0) == {}


def test_the_interval_of_a_share_is_the_normal_one():
    # 1000 samples, 700 right: 0.7 +- 1.96 * sqrt(0.21 / 1000).
    logits = np.where(np.arange(1000) < 700, 1.0, -1.0)
    low, high = intervals(logits, np.ones(1000), np.arange(1000), 2000, seed=0)["acc"]
    assert (low, high) == pytest.approx((0.7 - 0.0284, 0.7 + 0.0284), abs=0.004)
