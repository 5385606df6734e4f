"""One number of several seeds."""

from collections.abc import Sequence
from statistics import mean, stdev


def mean_sd(values: Sequence[float]) -> str:
    """Mean and standard deviation over seeds, in four digits; empty without values."""
    if not values:
        return ""
    return f"{mean(values):.4f} ± {stdev(values):.4f}" if len(values) > 1 else f"{values[0]:.4f}"


def deviation(values: Sequence[float]) -> float:
    """Standard deviation over seeds; 0 of a single one."""
    return stdev(values) if len(values) > 1 else 0.0
