"""The table a run ends with: what each side gained."""

from collections.abc import Sequence
from dataclasses import dataclass

from hybrid.config.schema import Task


@dataclass(frozen=True)
class Row:
    """One recommender of the table."""

    label: str
    metrics: dict[str, float]
    parameters: int
    """Weights needed to serve it."""
    cost_ms: float
    """Milliseconds to rank the catalogue for one user (ctr: to judge a sample), in batches on this machine."""


COLUMNS: dict[Task, tuple[str, ...]] = {
    "ranking": ("hr@10", "ndcg@10"),
    "ctr": ("auc", "uauc", "logloss", "acc", "ece"),
}
"""Metrics in the table, by task."""


def comparison_table(rows: Sequence[Row], columns: Sequence[str] = COLUMNS["ranking"]) -> str:
    """Rows as aligned text: label, the metrics ``columns``, parameters, cost per user (or sample)."""
    header = ["", *(name.upper() for name in columns), "parameters", "ms/user"]
    body = [
        [
            row.label,
            *(f"{row.metrics[name]:.4f}" for name in columns),
            f"{row.parameters:,}",
            f"{row.cost_ms:.2f}",
        ]
        for row in rows
    ]
    widths = [max(len(line[column]) for line in [header, *body]) for column in range(len(header))]
    lines = [_line(header, widths), "  ".join("-" * width for width in widths), *(_line(line, widths) for line in body)]
    return "\n".join(lines)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first = cells[0].ljust(widths[0])
    return "  ".join([first, *(cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))])
