"""One training run, as the command line starts it."""

import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from hybrid.config.schema import Config
from hybrid.controls import controlled
from hybrid.data.clicks import split_clicks
from hybrid.data.dataset import Dataset
from hybrid.data.prepare import prepare
from hybrid.data.split import split_training
from hybrid.data.statistics import FEW_REPEATS, repeat_share
from hybrid.errors import UserError
from hybrid.logs import log_file
from hybrid.training.rising import rising_sides
from hybrid.training.run_directory import RunDirectory, write_json

if TYPE_CHECKING:
    from hybrid.instruct.stages import StagedTrainer
    from hybrid.training.trainer import BaseTrainer

log = logging.getLogger(__name__)

LABELS = {
    ("id_only", "id"): "ID alone",
    ("both", "id"): "ID after joint training",
    ("llm_only", "llm"): "LLM alone",
    ("both", "llm"): "LLM after joint training",
    ("llm2id", "id"): "ID, LLM-to-ID only",
    ("llm2id", "llm"): "LLM, LLM-to-ID only",
    ("id2llm", "id"): "ID, ID-to-LLM only",
    ("id2llm", "llm"): "LLM, ID-to-LLM only",
}
"""Name of each recommender in the comparison, by arm and side."""


def train_run(config: Config, resume: bool = False) -> RunDirectory:
    """Train one run to its end.

    Raises:
        UserError: bad data or config, a directory that is taken or that another process trains in, or, with ``resume``,
            one of another config or dataset.
    """
    run = RunDirectory(Path(config.output_dir) / config.name)
    check_directory(run, config, resume)
    if config.threads:
        torch.set_num_threads(config.threads)
    if not run.config.exists():
        _check_encoders(config)
    dataset = prepare(config.data, log=log.info)
    if run.config.exists():
        check_dataset(run, dataset.fingerprint)
    trainer = create_trainer(config, dataset)  # before anything is written: it may find the config impossible
    with run.held():
        if not run.config.exists():
            run.create(config, dataset.fingerprint)
        with log_file(run.log):
            _tell_of_repeats(config, dataset)
            trainer.start(run, resume)
            results = trainer.train()
            write_json(run.time, {"train_s": trainer.clock.seconds})
            write_json(run.finished, results)
            for line in rising_sides(run, config.arm):
                log.info(line)
    return run


def create_trainer(config: Config, dataset: Dataset) -> "BaseTrainer[Any] | StagedTrainer":
    """The trainer of the config's task on a dataset, of which it sees the train and valid part only."""
    dataset = controlled(dataset, config)
    if config.task == "ctr":
        from hybrid.ctr.system import build_click_system
        from hybrid.ctr.trainer import ClickTrainer

        return ClickTrainer(build_click_system(config, split_clicks(dataset, config.data, log.info)))
    data = split_training(dataset, config.data)
    if config.llm.scorer.kind == "candidate_likelihood":
        from hybrid.instruct.stages import StagedTrainer

        return StagedTrainer(config, dataset, data)
    from hybrid.system import build_system
    from hybrid.training.trainer import Trainer

    return Trainer(build_system(config, data))


def _check_encoders(config: Config) -> None:
    """Encoders of texts have their first work after a plain model has trained: one that is not there is found now."""
    if config.arm == "id_only":
        return
    from hybrid.llm.sentence_encoder import encoder_directory
    from hybrid.llm.word_vectors import BAG_OF_WORDS

    shared = config.llm.shared_encoder if config.arm in ("llm2id", "both") else ""
    for name in {config.llm.item_encoder, shared} - {"", BAG_OF_WORDS}:
        encoder_directory(name)


def _tell_of_repeats(config: Config, dataset: Dataset) -> None:
    """Repeats flatter a ranking of the catalogue that leaves history items out."""
    is_ranking = config.task == "ranking" and config.llm.scorer.kind != "candidate_likelihood"
    share = repeat_share(dataset) if is_ranking and config.evaluation.mask_history else 0.0
    if share > FEW_REPEATS:
        log.info(
            "%.1f%% of the interactions are of an item that the user had before; such a target is ranked without the "
            "rest of the history, so metrics look better: evaluation.mask_history=false ranks all items",
            100 * share,
        )


def check_directory(run: RunDirectory, config: Config, resume: bool) -> None:
    """The directory is new, or holds the run to be resumed."""
    if not run.config.exists():
        return
    if not resume:
        raise UserError(f"{run.path}: a run is there already; go on with --resume or choose another name=")
    different = differing_keys(_that_matter(run.read_config()), _that_matter(config))
    if different:
        raise UserError(f"{run.path}: was started with another config; different: {'; '.join(different)}")


def _that_matter(config: Config) -> dict[str, Any]:
    """The settings but for where files lie: folders may be moved, and `check_dataset` knows the data by content.

    Without what is of the arm llm_only alone, too, in another arm.
    """
    settings = asdict(config)
    if config.arm != "llm_only":
        del settings["train"]["schedule"]["llm_only_length"]
    del settings["output_dir"]
    for key in ("dataset", "item_file", "cache_dir"):
        del settings["data"][key]
    return settings


def check_dataset(run: RunDirectory, fingerprint: str) -> None:
    """The run was started on this very dataset."""
    if run.dataset_fingerprint() != fingerprint:
        known, place = run.dataset_fingerprint(), run.read_config().data.dataset
        raise UserError(f"{run.path}: was started on dataset {known} of {place}, this one is {fingerprint}")


def differing_keys(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """``key (old -> new)`` of every setting that differs."""
    found = []
    for key in [*old, *(key for key in new if key not in old)]:
        before, now = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(now, dict):
            found += differing_keys(before, now, f"{prefix}{key}.")
        elif before != now:
            found.append(f"{prefix}{key} ({before} -> {now})")
    return found


def check_runs(groups: Sequence[Sequence[Config]], dataset: Dataset) -> None:
    """Raise now what a later run would be refused for: another one in its place, or parts that do not fit together.

    The runs of a group differ in seed or share only: one that is not finished is built for all of them.
    """
    for configs in groups:
        unfinished, new = [], []
        for config in configs:
            run = RunDirectory(Path(config.output_dir) / config.name)
            check_directory(run, config, resume=True)
            if run.config.exists():
                check_dataset(run, dataset.fingerprint)
            else:
                new.append(config)
            unfinished += [] if run.finished.exists() else [config]
        if new:
            _check_encoders(new[0])
        if unfinished:
            create_trainer(unfinished[0], dataset)


def finished_run(config: Config, fingerprint: str) -> RunDirectory:
    """The finished run of a config: as it is there already, gone on with, or trained from its beginning."""
    run = RunDirectory(Path(config.output_dir) / config.name)
    if run.finished.exists():
        check_directory(run, config, resume=True)
        check_dataset(run, fingerprint)
        log.info("%s: finished before, skipped", run.path)
        return run
    log.info("arm %s -> %s", config.arm, run.path)
    return train_run(config, resume=run.config.exists())
