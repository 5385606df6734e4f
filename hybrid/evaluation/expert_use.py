"""Which users the M-Former's experts read: shares by history length and by how popular the items of a history are.

Letters: M users, E experts.
"""

import logging
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from bridges.mformer import MFormer
from hybrid.data.split import Targets, TrainingData
from hybrid.evaluation.rankers import LLMRanker

if TYPE_CHECKING:
    from matplotlib.figure import Figure

log = logging.getLogger(__name__)

THIRDS = (1 / 3, 2 / 3)
Use = Mapping[str, np.ndarray]
"""Shares of the E experts in each group, [E]; a group without users is left out."""


def expert_use(ranker: LLMRanker, targets: Targets, data: TrainingData) -> Use:
    """Shares of the experts in each third of the M users by history length, and by mean popularity of its items.

    Empty where no M-Former is active. Users without a history that the ID model may read have no expert.
    """
    mformer = ranker.exchange.bridges.get("mformer")
    if not isinstance(mformer, MFormer):
        return {}
    chosen, experts = _choices(ranker, mformer, targets), len(mformer.experts)
    use = {}
    for name, group in groups(targets, data.popularity()).items():
        counts = np.bincount(chosen[group & (chosen >= 0)], minlength=experts)
        if counts.sum():
            use[name] = counts / counts.sum()
    return use


def groups(targets: Targets, popularity: np.ndarray) -> dict[str, np.ndarray]:
    """Members of each group, [M] bool: thirds by history length, thirds by mean popularity of the history's items."""
    histories = targets.histories
    taste = np.array([popularity[histories.row(number)].mean() for number in range(len(targets))])
    by_length = zip(("short history", "medium history", "long history"), _thirds(histories.lengths), strict=True)
    by_taste = zip(("niche taste", "mixed taste", "popular taste"), _thirds(taste), strict=True)
    return dict([*by_length, *by_taste])


def table(use: Use) -> str:
    """A markdown table, one row for each group."""
    experts = len(next(iter(use.values())))
    lines = ["| users | " + " | ".join(f"expert {e}" for e in range(experts)) + " |", "|---" * (experts + 1) + "|"]
    lines += [f"| {name} | " + " | ".join(f"{share:.0%}" for share in shares) + " |" for name, shares in use.items()]
    return "\n".join(lines)


def figure(use: Use) -> "Figure | None":
    """Stacked bars, one for each group; None, and one line in the log, where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        _tell_missing()
        return None
    drawn = Figure(figsize=(7, 4), layout="constrained")
    axes = drawn.subplots()
    shares = np.stack(list(use.values()))  # [groups, E]
    left = np.zeros(len(shares))
    for expert in range(shares.shape[1]):
        axes.barh(list(use), shares[:, expert], left=left, label=f"expert {expert}")
        left += shares[:, expert]
    axes.set_xlabel("share of users")
    axes.invert_yaxis()
    drawn.legend(loc="outside right upper")
    return drawn


@cache
def _tell_missing() -> None:
    """Once in a process: every validation asks for the figure."""
    log.info("no figure of expert use: matplotlib is not installed; type: pip install 'hybridrec[plot]'")


def _choices(ranker: LLMRanker, mformer: MFormer, targets: Targets) -> np.ndarray:
    """The expert of each target's prompt, [M]; -1: none."""
    chosen = np.full(len(targets), -1)
    for batch in ranker.prompts.target_batches(targets):
        experts = mformer.choices(ranker.exchange.context(batch.to(ranker.device)))
        chosen[batch.numbers.numpy()] = experts.cpu().numpy()
    return chosen


def _thirds(values: np.ndarray) -> list[np.ndarray]:
    place = np.searchsorted(np.quantile(values, THIRDS), values, side="left")
    return [place == third for third in range(3)]
