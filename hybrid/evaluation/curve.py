"""The sample-efficiency curve: a metric against the share of the training samples, over several seeds.

Subsets are nested: of one seed, the samples of a smaller share are among those of a larger one. The crossing point is
the smallest share with which a system's mean reaches the plain model's mean on all the data (Lin et al.,
arXiv 2406.02368).
"""

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING

from hybrid.errors import UserError
from hybrid.evaluation.png import save_png
from hybrid.evaluation.seeds import deviation, mean_sd

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Point:
    """One finished run."""

    system: str
    fraction: float
    seed: int
    samples: int
    value: float


@dataclass(frozen=True)
class Curve:
    """All points of a comparison; ``plain`` names the system that the others are measured against."""

    metric: str
    plain: str
    points: tuple[Point, ...]
    labels: str = ""
    """Where the labels come from, in a few words."""

    @property
    def systems(self) -> list[str]:
        """In the order of their first points."""
        return list(dict.fromkeys(point.system for point in self.points))

    @property
    def fractions(self) -> list[float]:
        """Rising."""
        return sorted({point.fraction for point in self.points})

    def values(self, system: str, fraction: float) -> list[float]:
        """Of all seeds."""
        return [point.value for point in self.points if (point.system, point.fraction) == (system, fraction)]

    def full(self) -> float:
        """The plain system's mean on all the data. Raises UserError where that was not measured."""
        values = self.values(self.plain, 1.0)
        if not values:
            raise UserError(f"--fractions: 1 is missing; the curve is compared with {self.plain} on all the data")
        return mean(values)

    def crossing(self, system: str) -> float | None:
        """The smallest share with which ``system`` reaches `full`; None: with none of those measured."""
        reached = [fraction for fraction in self.fractions if self._mean(system, fraction) >= self.full()]
        return min(reached, default=None)

    def _mean(self, system: str, fraction: float) -> float:
        values = self.values(system, fraction)
        return mean(values) if values else float("-inf")


def curve_table(curve: Curve) -> str:
    """The curve as a markdown table: mean and standard deviation over seeds, and the crossing points below."""
    seeds = sorted({point.seed for point in curve.points})
    lines = [
        f"{curve.metric} on test, mean ± standard deviation over seeds {', '.join(map(str, seeds))}"
        + (f"; labels: {curve.labels}" if curve.labels else ""),
        "",
        "| share | samples | " + " | ".join(curve.systems) + " |",
        "|---|---|" + "---|" * len(curve.systems),
    ]
    for fraction in curve.fractions:
        samples = next(point.samples for point in curve.points if point.fraction == fraction)
        cells = [mean_sd(curve.values(system, fraction)) for system in curve.systems]
        lines.append(f"| {fraction:g} | {samples:,} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", *(crossing_line(curve, system) for system in curve.systems if system != curve.plain)])


def crossing_line(curve: Curve, system: str) -> str:
    """The crossing point of a system in words."""
    full, crossing = f"{curve.plain} on all the data ({curve.full():.4f})", curve.crossing(system)
    if crossing is None:
        return f"{system}: no share measured reaches {full}"
    return f"{system}: reaches {full} with a share of {crossing:g}"


def curve_csv(curve: Curve) -> str:
    """One line per run."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["system", "fraction", "seed", "samples", curve.metric])
    for point in curve.points:
        writer.writerow([point.system, f"{point.fraction:g}", point.seed, point.samples, f"{point.value:.6f}"])
    return text.getvalue()


def plot_curve(curve: Curve, path: Path) -> bool:
    """Write the curve as a PNG; False where matplotlib is absent."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(6, 4), layout="constrained")
    plot_on_axes(curve, figure.subplots())
    save_png(figure, path)
    return True


def plot_on_axes(curve: Curve, axes: "Axes") -> None:
    """Mean and standard deviation over shares (logarithmic), with a star where a system crosses the plain one."""
    for system in curve.systems:
        known = [fraction for fraction in curve.fractions if curve.values(system, fraction)]
        values = [curve.values(system, fraction) for fraction in known]
        spreads = [deviation(found) for found in values]
        means = [mean(found) for found in values]
        line = axes.errorbar(known, means, yerr=spreads, marker="o", capsize=3, label=system).lines[0]
        crossing = curve.crossing(system)
        if crossing is not None and system != curve.plain:
            star = {"marker": "*", "markersize": 16, "linestyle": "none", "color": line.get_color(), "zorder": 3}
            axes.plot([crossing], [means[known.index(crossing)]], label=f"{system} crosses at {crossing:g}", **star)
    axes.axhline(curve.full(), linestyle=":", color="grey", label=f"{curve.plain}, all data")
    axes.set(xscale="log", xlabel="share of the training samples", ylabel=f"test {curve.metric}")
    axes.set_xticks(curve.fractions, labels=[f"{fraction:g}" for fraction in curve.fractions])
    axes.minorticks_off()
    axes.legend()


def parse_fractions(text: str) -> tuple[float, ...]:
    """``0.01,0.1,1`` as rising shares. Raises UserError for what is no share, is there twice, or for a missing 1."""
    fractions = []
    for part in text.split(","):
        try:
            fractions.append(float(part))
        except ValueError:
            raise UserError(f"--fractions: {part!r} is not a number; such as 0.01,0.1,1") from None
    for fraction in fractions:
        if not 0 < fraction <= 1:
            raise UserError(f"--fractions: {fraction:g} is not a share; accepted: above 0, at most 1")
        if fractions.count(fraction) > 1:
            raise UserError(f"--fractions: {fraction:g} is there twice")
    if 1.0 not in fractions:
        raise UserError("--fractions: 1 is missing; the curve is compared with the plain model on all the data")
    return tuple(sorted(fractions))


def parse_seeds(text: str) -> tuple[int, ...]:
    """``1,2,3`` as seeds. Raises UserError for what is none or is there twice."""
    parts = text.split(",")
    for part in parts:
        if not part.strip().isdecimal():
            raise UserError(f"--seeds: {part!r} is not a seed; such as 1,2,3")
    seeds = tuple(int(part) for part in parts)
    if len(set(seeds)) < len(seeds):
        raise UserError(f"--seeds: {text} names a seed twice")
    return seeds
