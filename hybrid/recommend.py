"""Recommendations of a finished run for one user of its data, or for any history of its items.

Letters: N items (row 0 is padding), K list length.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hybrid.controls import controlled
from hybrid.data.dataset import Dataset
from hybrid.data.split import Histories, Targets, split_training
from hybrid.errors import UserError, nearest
from hybrid.evaluation.evaluate import open_dataset
from hybrid.evaluation.rankers import IDRanker, Ranker
from hybrid.evaluation.rankings import best_ranker
from hybrid.evaluation.test_part import whole_history
from hybrid.exchange import judged_sides
from hybrid.system import build_system
from hybrid.training.run_directory import RunDirectory


@dataclass(frozen=True)
class Recommendation:
    """One item of a list."""

    item_id: str
    text: str
    score: float


def recommend_run(
    path: Path, user: str | None, history: Sequence[str] | None, side: str = "both", top: int = 10
) -> dict[str, list[Recommendation]]:
    """The best K items by side, none of the history among them.

    user: a raw id, after all that the data has of it; history: raw item ids, oldest first. Raises UserError for an
    unfinished run, data that has changed since, an unknown user or item, or a side that the run has not.
    """
    run = RunDirectory(path)
    run.recover_unless_held()
    run.check()
    config = run.read_config()
    if config.task != "ranking" or config.llm.scorer.kind == "candidate_likelihood":
        raise UserError(f"{path}: this run does not rank the catalogue, so it has nothing to recommend from")
    sides = [one for one in judged_sides(config) if side in (one, "both")]
    if not sides:
        raise UserError(f"{path}: the arm {config.arm} has no {side} side; it has {', '.join(judged_sides(config))}")
    dataset = controlled(open_dataset(config, run), config)
    asked = _asked(dataset, user, history)
    system = build_system(config, split_training(dataset, config.data))
    found: dict[str, list[Recommendation]] = {}
    for one in sides:
        ranker, _ = best_ranker(system, one, run)
        found[one] = _best(_scores(ranker, asked), asked, dataset, top)
    return found


def _asked(dataset: Dataset, user: str | None, history: Sequence[str] | None) -> Targets:
    """One history, of a user or of nobody (-1)."""
    if user is not None:
        if user not in dataset.user_ids:
            raise UserError(f"unknown user {user!r}{nearest(user, dataset.user_ids)}")
        row = dataset.user_ids.index(user)
        items = whole_history(dataset, row)
    else:
        row, items = -1, np.array([_row(dataset, item) for item in history or ()], dtype=np.int32)
    histories = Histories(items, np.array([0]), np.array([len(items)]))
    return Targets(np.array([row]), np.array([0]), histories)


def _row(dataset: Dataset, item: str) -> int:
    known = dataset.item_ids[1:]
    if item not in known:
        raise UserError(f"unknown item {item!r}{nearest(item, known)}")
    return 1 + known.index(item)


def _scores(ranker: Ranker, asked: Targets) -> Tensor:
    """[N] on the CPU."""
    if isinstance(ranker, IDRanker):
        return ranker.scores(asked, range(1))[0].float().cpu()
    return (ranker.user_states(asked) @ ranker.item_matrix().T)[0].float().cpu()


def _best(scores: Tensor, asked: Targets, dataset: Dataset, top: int) -> list[Recommendation]:
    scores[0] = -torch.inf
    scores[torch.from_numpy(asked.histories.row(0).astype(np.int64))] = -torch.inf
    values, items = scores.topk(min(top, int(scores.isfinite().sum())))
    return [
        Recommendation(dataset.item_ids[item], dataset.item_text[item], value)
        for item, value in zip(items.tolist(), values.tolist(), strict=True)
    ]
