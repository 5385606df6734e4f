"""Evaluation of a finished run that ranks the catalogue: metrics, groups of users, and every user's rank.

Beside ``<part>.json`` stands ``<part>_ranks.safetensors``: `users` and `targets` [M], `tail` [M] bool, and of each side
its `<side>.ranks` [M] and best items `<side>.top` [M, K]. Significance is computed from it without ranking again.
``<part>_states.safetensors`` holds `<side>.states` [M, P] and `<side>.items` [N, P], where they are asked for.

Letters: M targets, N items (row 0 is padding), P score width, K list length.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hybrid.checkpoint_files import save_tensors
from hybrid.config.schema import Config, EvaluationConfig
from hybrid.data.dataset import Dataset
from hybrid.data.split import Targets, split_training
from hybrid.evaluation.clicks import Part
from hybrid.evaluation.groups import Members, group_metrics, members
from hybrid.evaluation.metrics import ranking_metrics
from hybrid.evaluation.rankers import IDRanker, LLMRanker, Ranked, Ranker, rank_targets
from hybrid.evaluation.ranking import seen_pairs
from hybrid.evaluation.shuffled import rewrite_user_states, shuffled
from hybrid.evaluation.test_part import open_test
from hybrid.exchange import judged_sides
from hybrid.system import System, build_system
from hybrid.training.run_directory import RunDirectory, disk_errors
from hybrid.whole_files import written_beside
from idmodels.saved import WEIGHTS, load_id_model

TOP = 20
"""Best items K that are kept of each user."""


@dataclass(frozen=True)
class Measurement:
    """What is measured of a run."""

    part: Part
    keep_states: bool = False
    """Whether user states and item matrices are written too."""
    shuffle_histories: bool = False
    """Whether each history is read in an order drawn by the run's seed."""

    @property
    def name(self) -> str:
        """Stem of the files it leaves in the run."""
        return f"{self.part}_shuffled" if self.shuffle_histories else self.part

    def files(self, run: Path) -> list[Path]:
        """What stands beside the results of a ranking."""
        wanted = [ranks_file(run, self.name)]
        return [*wanted, states_file(run, self.name)] if self.keep_states else wanted


def ranks_file(run: Path, name: str) -> Path:
    """Every user's rank, by side."""
    return run / f"{name}_ranks.safetensors"


def states_file(run: Path, name: str) -> Path:
    """User states and item matrices, by side."""
    return run / f"{name}_states.safetensors"


def evaluate_rankings(config: Config, run: RunDirectory, dataset: Dataset, what: Measurement) -> dict[str, Any]:
    """Metrics, groups, parameters and cost of each side; ranks and, if asked for, states beside it in the run."""
    data = split_training(dataset, config.data)
    targets = open_test(dataset, config.data) if what.part == "test" else data.valid
    if what.shuffle_histories:
        targets = shuffled(targets, config.seed)
    order = "in an order drawn at random" if what.shuffle_histories else "in their order"
    if config.llm.scorer.kind == "candidate_likelihood":
        from hybrid.evaluation.mixed import evaluate_mixed

        found = evaluate_mixed(config, run, dataset, data, targets)
    else:
        found = _evaluate_sides(build_system(config, data), run, targets, what)
    return {"part": what.part, "histories": order, **found}


def _evaluate_sides(system: System, run: RunDirectory, targets: Targets, what: Measurement) -> dict[str, Any]:
    """Who was ranked and how, and what `evaluate_side` finds of each side; writes the ranks and states."""
    config, groups = system.config, members(targets, system.data.popularity())
    ranks, states = _who(targets, groups), dict[str, Tensor]()
    found: dict[str, Any] = {}
    for side in judged_sides(config):
        found[side], ranked = evaluate_side(system, side, run, targets, groups, what)
        ranks |= _ranks_of(side, ranked, targets, config.evaluation)
        if ranked.states is not None:
            states |= {f"{side}.states": ranked.states, f"{side}.items": ranked.item_matrix}
    write_tensors(ranks_file(run.path, what.name), ranks)
    if what.keep_states:
        write_tensors(states_file(run.path, what.name), states)
    return {"users": len(targets.users), "history_masked": config.evaluation.mask_history, "sides": found}


def _who(targets: Targets, groups: Members) -> dict[str, Tensor]:
    """Whose ranks they are."""
    return {
        "users": torch.from_numpy(targets.users),
        "targets": torch.from_numpy(targets.items),
        "tail": torch.from_numpy(groups["popularity"]["tail"]),
    }


def _ranks_of(side: str, ranked: Ranked, targets: Targets, config: EvaluationConfig) -> dict[str, Tensor]:
    """Every user's rank and, where the side has states, its best items."""
    found = {f"{side}.ranks": ranked.ranks}
    if ranked.states is not None:
        found[f"{side}.top"] = top_items(ranked.states, ranked.item_matrix, targets, config)
    return found


def evaluate_side(
    system: System, side: str, run: RunDirectory, targets: Targets, groups: Members, what: Measurement
) -> tuple[dict[str, Any], Ranked]:
    """One side as it was at its best validation."""
    ranker, sizes = best_ranker(system, side, run)
    if what.shuffle_histories and side == "llm":
        rewrite_user_states(system, targets)
    started = time.perf_counter()
    ranked = rank_targets(ranker, targets, system.config.evaluation)
    cost_ms = 1000 * (time.perf_counter() - started) / len(targets.users)
    metrics, by_group = ranking_metrics(ranked.ranks), group_metrics(ranked.ranks, groups)
    return {"metrics": metrics, "groups": by_group, **sizes, "cost_ms": cost_ms}, ranked


def top_items(states: Tensor, item_matrix: Tensor, targets: Targets, config: EvaluationConfig) -> Tensor:
    """The best K items of each user, best first, [M, K] int32; 0 where no item is left.

    Items of the history are left out where the ranks leave them out.
    """
    parts = []
    for start in range(0, len(states), config.batch_users):
        users = range(start, min(start + config.batch_users, len(states)))
        scores = (states[users.start : users.stop] @ item_matrix.T).float()  # [B, N]
        scores[:, 0] = -torch.inf
        if config.mask_history:
            rows, items = seen_pairs(targets.histories, users, 0, scores.shape[1])
            scores[rows, items] = -torch.inf
        best = scores.topk(min(TOP, scores.shape[1] - 1), dim=1)
        parts.append((best.indices * best.values.isfinite()).int().cpu())
    return torch.cat(parts)


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """A safetensors file, whole or not at all. UserError where the disk is full."""
    with disk_errors(path), written_beside(path) as beside:
        save_tensors(beside, dict(tensors))


def best_ranker(system: System, side: str, run: RunDirectory) -> tuple[Ranker, dict[str, int]]:
    """The side as it was at its best validation, how many weights it needs to serve and the bytes of its export."""
    evaluation = system.config.evaluation
    if side == "id":
        model, _ = load_id_model(run.best_id)
        ranker = IDRanker(model.to(system.device), evaluation.batch_users, system.device)
        weights = sum(weight.numel() for weight in model.parameters())
        return ranker, {"parameters": weights, "bytes": (run.best_id / WEIGHTS).stat().st_size}
    system.load(run.best_llm)
    ranker_llm = LLMRanker(system.need_llm(), system.exchange, system.need_prompts(), system.device)
    return ranker_llm, {"parameters": system.serving_parameters(), "bytes": _bytes(run.best_llm)}


def _bytes(folder: Path) -> int:
    return int(np.sum([file.stat().st_size for file in folder.rglob("*") if file.is_file()]))
