"""A comparison as tables (aligned text, markdown), and as a drawing."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean

from hybrid.comparison.rows import TAIL, Row
from hybrid.config.schema import Task
from hybrid.evaluation.png import save_png
from hybrid.evaluation.seeds import deviation, mean_sd

COLUMNS: dict[Task, tuple[str, ...]] = {
    "ranking": ("ndcg@10", TAIL, "hr@10", "mrr@10"),
    "ctr": ("auc", "uauc", "logloss", "acc", "ece"),
}
"""Metrics in the table, by task."""
Cells = Sequence[Sequence[str]]


def main_table(rows: Sequence[Row], task: Task) -> list[list[str]]:
    """Header and one line for each recommender: metrics, changes, training and serving cost."""
    tested = [name for name in COLUMNS[task] if any(name in row.changes for row in rows)]
    header = [""]
    for name in COLUMNS[task]:
        header += [_title(name), "change [95 %]", "p"] if name in tested else [_title(name)]
    body = []
    for row in rows:
        cells = [row.label]
        for name in COLUMNS[task]:
            cells += [mean_sd(row.values(name)), *(_change(row, name) if name in tested else ())]
        body.append([*cells, *_costs(row)])
    unit = "user" if task == "ranking" else "sample"
    return [[*header, "train s", "parameters", "bytes", f"ms/{unit}"], *body]


def group_tables(rows: Sequence[Row]) -> list[list[str]]:
    """NDCG@10 of each recommender in each group of users, and how many users it has; empty without groups."""
    known = [row for row in rows if all("groups" in found for found in row.results.values())]
    if not known:
        return []
    first = next(iter(known[0].results.values()))["groups"]
    places = [(kind, name) for kind, groups in first.items() for name in groups if groups[name]["users"]]
    table = [["NDCG@10", *(name for _, name in places)]]
    table.append(["users", *(f"{first[kind][name]['users']:,}" for kind, name in places)])
    for row in known:
        values = [[found["groups"][kind][name]["ndcg@10"] for found in row.results.values()] for kind, name in places]
        table.append([row.label, *(f"{mean(of_seeds):.4f}" for of_seeds in values)])
    return table


def overlap_table(overlaps: Mapping[str, Sequence[float]]) -> list[list[str]]:
    """Share of the two sides' best 20 items that are the same, by pair."""
    return [["overlap of both sides' best 20", "share"], *([name, mean_sd(found)] for name, found in overlaps.items())]


def markdown(table: Cells) -> str:
    """A table as markdown."""
    lines = ["| " + " | ".join(cells) + " |" for cells in table]
    return "\n".join([lines[0], "|---" * len(table[0]) + "|", *lines[1:]])


def aligned(table: Cells) -> str:
    """A table as aligned text."""
    widths = [max(len(cells[column]) for cells in table) for column in range(len(table[0]))]
    lines = [
        "  ".join([cells[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True))])
        for cells in table
    ]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def plot(rows: Sequence[Row], metric: str, path: Path) -> bool:
    """Bars of a metric with the standard deviation over seeds, as a PNG; False where matplotlib is absent."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return False
    shown = [row for row in rows if row.values(metric)]
    figure = Figure(figsize=(8, 1 + 0.3 * len(shown)), layout="constrained")
    axes = figure.subplots()
    values = [row.values(metric) for row in shown]
    spreads = [deviation(found) for found in values]
    colours = [{"id": "C0", "llm": "C1"}.get(row.side, "C2") for row in shown]
    axes.barh(range(len(shown)), [mean(found) for found in values], xerr=spreads, color=colours, capsize=2)
    axes.set_yticks(range(len(shown)), [row.label for row in shown])
    axes.invert_yaxis()
    axes.set_xlabel(f"test {_title(metric)}")
    save_png(figure, path)
    return True


def _title(metric: str) -> str:
    return "tail NDCG@10" if metric == TAIL else metric.upper()


def _change(row: Row, metric: str) -> tuple[str, str]:
    change = row.changes.get(metric)
    if change is None:
        return "", ""
    p = f"{change.p_value:.3f}" if change.p_value >= 0.001 else f"{change.p_value:.1g}"
    if change.relative is None:
        return f"{change.difference:+.4f} [{change.low:+.4f}, {change.high:+.4f}]", p
    if change.relative_low is None or change.relative_high is None:
        return f"{change.relative:+.1%}", p
    return f"{change.relative:+.1%} [{change.relative_low:+.1%}, {change.relative_high:+.1%}]", p


def _costs(row: Row) -> list[str]:
    cells = []
    for key, form in (("train_s", ",.0f"), ("parameters", ",.0f"), ("bytes", ",.0f"), ("cost_ms", ".2f")):
        values = row.numbers(key)
        cells.append(format(mean(values), form) if values else "")
    return cells
