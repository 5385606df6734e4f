"""Further ID models that the LLM side reads beside the run's own: made anew, or loaded from a folder and checked."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from hybrid.config.schema import Config
from hybrid.data.split import TrainingData
from hybrid.errors import UserError
from hybrid.id_models import new_id_model
from hybrid.training.run_directory import RunDirectory
from idmodels.contract import IDModel
from idmodels.errors import IDModelError
from idmodels.saved import load_id_model

KEY = "bridges.mformer.sources"


@dataclass
class Source:
    """A frozen ID model."""

    name: str
    """As the config names it."""
    model: IDModel
    trained: bool
    """Whether it was trained before; else it is trained before the first round."""


def create_sources(config: Config, data: TrainingData, device: torch.device) -> list[Source]:
    """The models that the config names, but for the run's own; each is drawn from the seed by itself.

    Raises UserError for a name that is no model and no folder, a model of another item map, or one that reads shorter
    histories than the run's.
    """
    return [
        _create(name, config, data, device) for name in dict.fromkeys(config.bridges.mformer.sources)
        if name != config.id.model
    ]  # fmt: skip


def _create(name: str, config: Config, data: TrainingData, device: torch.device) -> Source:
    torch.manual_seed(config.seed)
    folder = Path(name).expanduser()
    if folder.is_dir():
        source = Source(name, _load(folder, config, data).to(device), trained=True)
    else:
        source = Source(name, _new(name, config, data, device), trained=False)
    source.model.requires_grad_(False).eval()
    return source


def _new(name: str, config: Config, data: TrainingData, device: torch.device) -> IDModel:
    if "/" in name:
        raise UserError(f"{KEY}: no such folder: {name}")
    try:
        return new_id_model(replace(config.id, model=name), data, device)
    except IDModelError as error:
        raise UserError(f"{KEY}: {error} (or name the folder of a run or of an exported ID model)") from None


def load_best(folder: Path, data: TrainingData, key: str) -> IDModel:
    """The ID model of a run's best ID side, or of an exported folder.

    Raises UserError, naming the setting ``key``, where it is of another item map, or has learned from other
    interactions than this run's train part: it might know valid or test items.
    """
    run = RunDirectory(folder)
    run.recover_unless_held()
    path = run.best_id if run.best_id.is_dir() else folder
    model, item_ids = load_id_model(path)
    if item_ids != data.item_ids:
        raise UserError(f"{key}: {path} has another item map: {_difference(item_ids, data.item_ids)}")
    if model.popularity is not None and not np.array_equal(model.popularity.numpy(), data.popularity()):
        raise UserError(f"{key}: {path} was trained on other interactions than this run's train part (another split?)")
    return model


def _load(folder: Path, config: Config, data: TrainingData) -> IDModel:
    model = load_best(folder, data, KEY)
    if model.settings.max_length < config.id.max_length:
        raise UserError(
            f"{KEY}: {folder} reads {model.settings.max_length} items at most, fewer than id.max_length "
            f"{config.id.max_length}"
        )
    return model


def _difference(theirs: list[str], ours: list[str]) -> str:
    if len(theirs) != len(ours):
        return f"{len(theirs) - 1} items, this run's data has {len(ours) - 1}"
    row = next(row for row, pair in enumerate(zip(theirs, ours, strict=True)) if pair[0] != pair[1])
    return f"item {row} is {theirs[row]!r}, in this run's data {ours[row]!r}"
