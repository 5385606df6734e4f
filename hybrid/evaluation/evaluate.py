"""Evaluation of a finished run: its best ID model and its best LLM recommender, once, on a part of the data."""

import logging
import time
from pathlib import Path
from typing import Any

import torch

from hybrid.config.load import build_config, read_yaml
from hybrid.config.schema import Config
from hybrid.data.dataset import Dataset
from hybrid.data.prepare import prepare
from hybrid.data.split import Targets, split_training
from hybrid.errors import UserError
from hybrid.evaluation.clicks import Part, evaluate_clicks
from hybrid.evaluation.rankers import IDRanker, LLMRanker, Ranker, rank_side
from hybrid.evaluation.test_part import open_test
from hybrid.exchange import judged_sides
from hybrid.system import System, build_system
from hybrid.training.run_directory import RunDirectory, read_json, write_json
from idmodels.saved import load_id_model

log = logging.getLogger(__name__)


def evaluate_run(path: Path, part: Part) -> dict[str, Any]:
    """Metrics, parameters and cost of each side of a run, by side; kept in ``<part>.json`` and read from there again.

    Raises:
        UserError: not a run directory, an unfinished run, or a dataset that has changed since.
    """
    run = RunDirectory(path)
    run.recover()
    kept = path / f"{part}.json"
    if kept.exists():
        log.info("%s: measured before, read from there", kept)
        return dict(read_json(kept))
    run.check()
    if not run.finished.exists():
        raise UserError(f"{path}: the run is not finished; go on with: hybridrec train {run.config} --resume")
    config = build_config(read_yaml(run.config))
    if config.threads:
        torch.set_num_threads(config.threads)
    dataset = _open(config, run)
    results = (evaluate_clicks if config.task == "ctr" else _evaluate_rankings)(config, run, dataset, part)
    write_json(kept, results)
    return results


def _open(config: Config, run: RunDirectory) -> Dataset:
    dataset = prepare(config.data)
    if dataset.fingerprint != run.dataset_fingerprint():
        known, now = run.dataset_fingerprint(), dataset.fingerprint
        raise UserError(f"{run.path}: trained on dataset {known}, but {config.data.dataset} is now {now}")
    return dataset


def _evaluate_rankings(config: Config, run: RunDirectory, dataset: Dataset, part: Part) -> dict[str, Any]:
    data = split_training(dataset, config.data)
    targets = open_test(dataset, config.data) if part == "test" else data.valid
    if config.llm.scorer.kind == "candidate_likelihood":
        from hybrid.evaluation.mixed import evaluate_mixed

        return {"part": part, **evaluate_mixed(config, run, dataset, data, targets)}
    system = build_system(config, data)
    return {
        "part": part,
        "users": len(targets.users),
        "history_masked": config.evaluation.mask_history,
        "sides": {side: _evaluate(system, side, run, targets) for side in judged_sides(config)},
    }


def _evaluate(system: System, side: str, run: RunDirectory, targets: Targets) -> dict[str, Any]:
    ranker, parameters = _best(system, side, run)
    started = time.perf_counter()
    metrics, _ = rank_side(ranker, targets, system.config.evaluation)
    cost_ms = 1000 * (time.perf_counter() - started) / len(targets.users)
    return {"metrics": metrics, "parameters": parameters, "cost_ms": cost_ms}


def _best(system: System, side: str, run: RunDirectory) -> tuple[Ranker, int]:
    """The side as it was at its best validation, and how many weights it needs to serve."""
    evaluation = system.config.evaluation
    if side == "id":
        model, _ = load_id_model(run.best_id)
        ranker = IDRanker(model.to(system.device), evaluation.batch_users, system.device)
        return ranker, sum(weight.numel() for weight in model.parameters())
    system.load(run.best_llm)
    ranker_llm = LLMRanker(system.need_llm(), system.exchange, system.need_prompts(), system.device)
    return ranker_llm, system.serving_parameters()
