"""Groups of users in which a ranking is measured by itself: by how popular the target is, and by history length.

Popularity is counted in the train part. `head` is the fifth of the items that is most popular there and `tail` is the
rest; `middle`, `rare` and `unseen` are parts of the tail. Letters: M targets, N items (row 0 is padding).
"""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from hybrid.data.split import Targets
from hybrid.evaluation.metrics import ranking_metrics

HEAD_SHARE, MIDDLE_SHARE = 0.2, 0.5
"""Shares of the items, most popular first, at which head and middle end."""
LENGTHS = (("1-5", 5), ("6-10", 10), ("11-20", 20))
"""Groups by history length and the longest history of each; the rest follows."""
SHOWN = ("hr@10", "ndcg@10", "mrr@10")
TAIL_PARTS = ("middle", "rare", "unseen")
"""Groups that together are the tail."""

Members = dict[str, dict[str, np.ndarray]]
"""By kind (popularity, history) and name: the members of a group, [M] bool."""


def members(targets: Targets, popularity: np.ndarray) -> Members:
    """The groups of M targets; popularity [N]: how often each item is in the train part."""
    return {
        "popularity": _by_popularity(targets.items, popularity),
        "history": _by_length(targets.histories.lengths),
    }


def group_metrics(ranks: Tensor, groups: Members) -> dict[str, dict[str, dict[str, float]]]:
    """Users and HR, NDCG, MRR at 10 of each group, from ranks [M]; of a group without users only that it has none."""
    return {kind: {name: _measure(ranks, group) for name, group in of_kind.items()} for kind, of_kind in groups.items()}


def group_table(sides: Mapping[str, Mapping[str, dict[str, dict[str, float]]]]) -> str:
    """`group_metrics` of some sides, by side, as aligned text; groups without users are left out."""
    lines = [f"{'':18}{'users':>8}" + "".join(f"  {side} {name}".rjust(14) for side in sides for name in SHOWN)]
    first = next(iter(sides.values()))
    for kind, groups in first.items():
        for name, found in groups.items():
            if found["users"]:
                values = [side[kind][name][metric] for side in sides.values() for metric in SHOWN]
                label = f"{_label(kind, name):18}{found['users']:>8}"
                lines.append(label + "".join(f"{value:14.4f}" for value in values))
    return "\n".join(lines)


def _label(kind: str, name: str) -> str:
    if kind == "history":
        return f"history {name}"
    return f"  of it {name}" if name in TAIL_PARTS else name


def _measure(ranks: Tensor, group: np.ndarray) -> dict[str, float]:
    if not group.any():
        return {"users": 0}
    metrics = ranking_metrics(ranks.cpu()[torch.from_numpy(group)])
    return {"users": int(group.sum())} | {name: metrics[name] for name in SHOWN}


def _by_popularity(items: np.ndarray, popularity: np.ndarray) -> dict[str, np.ndarray]:
    place = np.empty(len(popularity), dtype=np.int64)  # of each item by falling popularity, from 0; ties by row
    place[1:][np.argsort(-popularity[1:], kind="stable")] = np.arange(len(popularity) - 1)
    share, seen = place[items] / (len(popularity) - 1), popularity[items] > 0
    head = seen & (share < HEAD_SHARE)
    middle = seen & ~head & (share < MIDDLE_SHARE)
    return {"head": head, "tail": ~head, "middle": middle, "rare": seen & ~head & ~middle, "unseen": ~seen}


def _by_length(lengths: np.ndarray) -> dict[str, np.ndarray]:
    found, begin = {}, 0
    for name, end in LENGTHS:
        found[name] = (lengths > begin) & (lengths <= end)
        begin = end
    return found | {f">{begin}": lengths > begin}
