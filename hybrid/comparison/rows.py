"""The recommenders of a comparison, each measured with every seed, and how far they are from the plain ones.

Letters: S seeds, M users.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import mean, stdev
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hybrid.evaluation.metrics import gains
from hybrid.evaluation.significance import Change, paired_bootstrap

TAIL = "tail ndcg@10"
MEASURED: dict[str, str] = {"ndcg@10": "", TAIL: "tail"}
"""What is tested for significance, and the users it is measured on."""
PLAIN = {"id": ("id_only", "id"), "llm": ("llm_only", "llm"), "blend": ("before", "blend")}
"""(entry, side) that each side's rows are compared with."""


@dataclass
class Row:
    """One recommender."""

    label: str
    entry: str
    """Folder of its runs, or which blend it is."""
    side: str
    """id, llm or blend; of staged runs the name of the mixture."""
    kind: str
    """arm, ablation, control or blend."""
    results: dict[int, dict[str, Any]]
    """By seed: metrics, and where they are known groups, parameters, bytes, cost_ms, train_s, weight."""
    ranks: dict[int, Tensor] = field(default_factory=dict)
    """By seed: every user's rank, [M]; empty where none are kept (task ctr)."""
    tail: Tensor | None = None
    """[M] bool, whose target is a tail item."""
    shuffled: bool = False
    changes: dict[str, Change] = field(default_factory=dict)
    """From the plain recommender, by metric."""

    def values(self, metric: str) -> list[float]:
        """A metric, by seed; `tail ndcg@10` too."""
        if metric == TAIL:
            groups = [found["groups"]["popularity"]["tail"] for found in self.results.values() if "groups" in found]
            return [group["ndcg@10"] for group in groups if group["users"]]
        return [found["metrics"][metric] for found in self.results.values() if metric in found["metrics"]]

    def numbers(self, key: str) -> list[float]:
        """Such as cost_ms, by seed, where it is known."""
        return [found[key] for found in self.results.values() if found.get(key) is not None]


def compare_with_plain(rows: Sequence[Row], redraws: int, seed: int) -> None:
    """Fill in the changes of every row whose plain recommender is there with some of the same seeds."""
    plain = {(row.entry, row.side): row for row in rows if not row.shuffled}
    for row in rows:
        base = plain.get(PLAIN.get(row.side, ("", "")))
        if base is None or (base.entry == row.entry and not row.shuffled) or not redraws:
            continue
        for metric, group in MEASURED.items():
            pairs = _pairs(base, row, metric.removeprefix("tail "), group == "tail")
            if pairs is not None:
                row.changes[metric] = paired_bootstrap(*pairs, redraws, seed)


def _pairs(base: Row, row: Row, metric: str, tail_only: bool) -> tuple[np.ndarray, np.ndarray] | None:
    """What each user gives with each of the seeds that both have, [S, M] of the base and of the row."""
    seeds = [seed for seed in row.ranks if seed in base.ranks]
    users = row.tail if tail_only else None
    if not seeds or (users is not None and not users.any()):
        return None
    first, second = (torch.stack([gains(one.ranks[seed], metric) for seed in seeds]).numpy() for one in (base, row))
    return (first, second) if users is None else (first[:, users.numpy()], second[:, users.numpy()])


def serving_errors(rows: Sequence[Row]) -> list[str]:
    """One line for each ID model that serves at another size than the first one; none: all cost the same."""
    sizes = {
        (row.label, seed): (found["parameters"], found["bytes"])
        for row in rows
        for seed, found in row.results.items()
        if row.side == "id" and "bytes" in found
    }
    wanted = next(iter(sizes.values()), None)
    return [
        f"ERROR: {label}, seed {seed}: {size[0]:,} parameters and {size[1]:,} bytes to serve, "
        f"the first ID model has {wanted[0]:,} and {wanted[1]:,}"
        for (label, seed), size in sizes.items()
        if wanted is not None and size != wanted
    ]


def as_json(row: Row) -> dict[str, Any]:
    """All that is known of a row, without the ranks."""
    metrics = {name: row.values(name) for name in [*next(iter(row.results.values()))["metrics"], TAIL]}
    return {
        "label": row.label,
        "entry": row.entry,
        "side": row.side,
        "kind": row.kind,
        "shuffled_histories": row.shuffled,
        "seeds": list(row.results),
        "metrics": {name: spread(values) for name, values in metrics.items() if values},
        "changes": {name: vars(change) for name, change in row.changes.items()},
        "by_seed": {str(seed): found for seed, found in row.results.items()},
    }


def spread(values: Sequence[float]) -> Mapping[str, float | None]:
    """Mean and standard deviation over seeds; of one seed none."""
    return {"mean": mean(values), "sd": stdev(values) if len(values) > 1 else None}
