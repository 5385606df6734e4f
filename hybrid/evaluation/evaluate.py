"""Evaluation of a finished run: its best ID model and its best LLM recommender, once, on a part of the data."""

import logging
from pathlib import Path
from typing import Any

import torch

from hybrid.config.schema import Config
from hybrid.controls import controlled
from hybrid.data.dataset import Dataset
from hybrid.data.prepare import prepare
from hybrid.errors import UserError
from hybrid.evaluation.clicks import Part, evaluate_clicks
from hybrid.evaluation.rankings import Measurement, evaluate_rankings
from hybrid.training.run_directory import RunDirectory, read_json, write_json

log = logging.getLogger(__name__)


def evaluate_run(path: Path, part: Part, keep_states: bool = False, shuffle_histories: bool = False) -> dict[str, Any]:
    """Metrics, parameters and cost of each side of a run, by side; kept in ``<part>.json`` and read from there again.

    Rankings leave every user's rank beside it, and with ``keep_states`` the states too (`hybrid.evaluation.rankings`).
    With ``shuffle_histories`` each history is read in random order, and the files are ``<part>_shuffled*``.

    Raises:
        UserError: not a run directory, an unfinished run, or a dataset that has changed since.
    """
    run, what = RunDirectory(path), Measurement(part, keep_states, shuffle_histories)
    run.recover_unless_held()
    kept = path / f"{what.name}.json"
    if kept.exists() and (found := dict(read_json(kept))) and _is_whole(found, path, what):
        log.info("%s: measured before, read from there", kept)
        return found
    run.check()
    if not run.finished.exists():
        raise UserError(f"{path}: the run is not finished; go on with: hybridrec train {run.config} --resume")
    config = run.read_config()
    if config.threads:
        torch.set_num_threads(config.threads)
    results = _measure(config, run, controlled(open_dataset(config, run), config), what)
    write_json(kept, results)
    return results


def _measure(config: Config, run: RunDirectory, dataset: Dataset, what: Measurement) -> dict[str, Any]:
    if config.task == "ranking":
        return evaluate_rankings(config, run, dataset, what)
    if what.shuffle_histories:
        raise UserError(f"{run.path}: histories are shuffled for task=ranking, this run has task={config.task}")
    return evaluate_clicks(config, run, dataset, what.part)


def _is_whole(found: dict[str, Any], path: Path, what: Measurement) -> bool:
    """Whether the files that belong to the results of a ranking are there."""
    is_ranking = any("groups" in side for side in found["sides"].values())
    return not is_ranking or all(file.exists() for file in what.files(path))


def open_dataset(config: Config, run: RunDirectory) -> Dataset:
    """The dataset that the run was trained on; UserError where it has changed since."""
    dataset = prepare(config.data)
    if dataset.fingerprint != run.dataset_fingerprint():
        known, now = run.dataset_fingerprint(), dataset.fingerprint
        raise UserError(f"{run.path}: trained on dataset {known}, but {config.data.dataset} is now {now}")
    return dataset
