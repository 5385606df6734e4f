"""How times are compared: exactly, or as RecBole's float32 does."""

import numpy as np
import pytest

from hybrid.data.prepare import chronological

START = 881250880.0  # a multiple of 64: float32 has this number and START + 64, and nothing between


@pytest.mark.parametrize(
    ("precision", "order"),
    [
        ("exact", [1, 3, 2, 0]),
        ("float32", [1, 2, 3, 0]),  # 10 s and 20 s are one time for it: the order of the rows stays
        ("scaled_float32", [1, 3, 2, 0]),  # within an hour it has seconds enough
    ],
)
def test_times_seconds_apart(precision, order):
    times = START + np.array([3600.0, 0.0, 20.0, 10.0])
    # START + 20 and START + 10 both round to START, as does row 1, which is first anyway.
    assert chronological(np.zeros(4, np.int32), times, precision).tolist() == order


def test_scaled_times_of_a_year_lose_a_second():
    year = 2.0**25
    later = 0.75 * year + 1.0  # 0.75 + 2^-25 of the year: float32 has no number there and takes 0.75
    times = np.array([0.0, later, 0.75 * year, year])
    assert chronological(np.zeros(4, np.int32), times, "exact").tolist() == [0, 2, 1, 3]
    assert chronological(np.zeros(4, np.int32), times, "scaled_float32").tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("precision", ["exact", "float32", "scaled_float32"])
def test_equal_times_keep_the_order_of_the_rows(precision):
    users = np.array([1, 0, 1, 0, 1])
    assert chronological(users, np.full(5, START), precision).tolist() == [1, 3, 0, 2, 4]


def test_without_times_rows_stay_in_order():
    assert chronological(np.array([1, 0, 1, 0]), None, "float32").tolist() == [1, 3, 0, 2]
