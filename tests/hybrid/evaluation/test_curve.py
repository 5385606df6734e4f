"""The sample-efficiency curve from known points."""

import sys

import pytest

from hybrid.errors import UserError
from hybrid.evaluation.curve import (
    Curve,
    Point,
    curve_csv,
    curve_table,
    parse_fractions,
    parse_seeds,
    plot_curve,
    plot_on_axes,
)

VALUES = {
    ("plain", 0.1): (0.60, 0.62),
    ("plain", 1.0): (0.70, 0.72),
    ("helped", 0.1): (0.68, 0.70),
    ("helped", 0.5): (0.69, 0.74),
    ("helped", 1.0): (0.73, 0.75),
    ("weak", 1.0): (0.70, 0.71),
}


@pytest.fixture
def curve():
    points = [
        Point(system, fraction, seed, int(1000 * fraction), value)
        for (system, fraction), values in VALUES.items()
        for seed, value in enumerate(values, 1)
    ]
    return Curve("AUC", "plain", tuple(points))


def test_crossing_is_the_smallest_share_that_reaches_the_plain_model_on_all_data(curve):
    assert curve.full() == pytest.approx(0.71)
    assert curve.crossing("helped") == 0.5  # means 0.69, 0.715, 0.74
    assert curve.crossing("weak") is None
    assert curve.crossing("plain") == 1.0


def test_table_has_means_spreads_and_crossings(curve):
    table = curve_table(curve)
    assert "| 0.1 | 100 | 0.6100 ± 0.0141 | 0.6900 ± 0.0141 |  |" in table
    assert "over seeds 1, 2" in table
    assert "helped: reaches plain on all the data (0.7100) with a share of 0.5" in table
    assert "weak: no share measured reaches plain" in table


def test_csv_has_a_line_per_run(curve):
    lines = curve_csv(curve).splitlines()
    assert lines[0] == "system,fraction,seed,samples,AUC"
    assert lines[1] == "plain,0.1,1,100,0.600000"
    assert len(lines) == 1 + 2 * len(VALUES)


def test_plot_is_a_png(curve, tmp_path):
    assert plot_curve(curve, tmp_path / "curve.png")
    assert (tmp_path / "curve.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert [path.name for path in tmp_path.iterdir()] == ["curve.png"]


def test_plot_shows_the_crossing_and_the_measured_shares(curve):
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    plot_on_axes(curve, axes)
    stars = [line for line in axes.lines if line.get_marker() == "*"]
    assert [star.get_label() for star in stars] == ["helped crosses at 0.5"]  # weak never does, plain is the measure
    assert list(stars[0].get_xdata()) == [0.5]
    assert list(stars[0].get_ydata()) == pytest.approx([0.715])
    assert "helped crosses at 0.5" in [text.get_text() for text in axes.get_legend().get_texts()]
    assert list(axes.get_xticks()) == [0.1, 0.5, 1.0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0.1", "0.5", "1"]
    assert not list(axes.get_xticks(minor=True))


def test_no_plot_without_matplotlib(curve, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert not plot_curve(curve, tmp_path / "curve.png")
    assert not list(tmp_path.iterdir())


def test_shares_are_sorted_and_end_at_one():
    assert parse_fractions("1,0.1,0.05") == (0.05, 0.1, 1.0)
    for text, message in {
        "0.1,0.5": "1 is missing",
        "0,1": "0 is not a share",
        "1,2": "2 is not a share",
        "a,1": "'a' is not a number",
        "0.1,0.10,1": "0.1 is there twice",
    }.items():
        with pytest.raises(UserError, match=message):
            parse_fractions(text)


def test_seeds():
    assert parse_seeds("3,1") == (3, 1)
    for text, message in {"1,x": "'x' is not a seed", "1,1": "names a seed twice", "-1": "'-1' is not a seed"}.items():
        with pytest.raises(UserError, match=message):
            parse_seeds(text)
