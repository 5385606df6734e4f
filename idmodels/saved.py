"""The saved form of an ID model: a folder that loads with ``idmodels`` alone.

``model.safetensors`` holds the weights in RecBole's names, item features folded into the item table; ``config.json``
the model's name, settings and size; ``item_ids.json`` the raw id of every row; ``popularity.json``, where the model has
been trained, how often each row is in the train part. Nothing in it is code.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from idmodels.contract import IDModel
from idmodels.disk import os_errors
from idmodels.errors import IDModelError
from idmodels.folders import complete_folder
from idmodels.registry import create_id_model
from idmodels.settings import PADDING_ID, IDSettings

FORMAT_VERSION = 1
WEIGHTS, CONFIG, ITEM_IDS, README = "model.safetensors", "config.json", "item_ids.json", "README.md"
POPULARITY = "popularity.json"
FILES = (WEIGHTS, CONFIG, ITEM_IDS, README, POPULARITY)

_README = """# {model}: a sequential recommender over {items} items

Loads without the system that trained it:

    from idmodels.saved import load_id_model

    model, item_ids = load_id_model("this folder")  # item_ids[row] is the raw id; row 0 is padding
    scores = model.scores(histories, lengths)       # rows [B, L], right-padded with 0, and [B] -> [B, N]

`model.safetensors` has RecBole 1.2.1's parameter names (after `zoo.model.` for a model `recbole:...`). Knowledge
features are part of the item vectors in it.
"""


def save_id_model(
    model: IDModel, directory: Path, item_ids: list[str] | None, extra: dict[str, Any] | None = None
) -> None:
    """Write the model to ``directory``, which is replaced as a whole; see `write_id_model`.

    Raises IDModelError where ``directory`` holds other files, too.
    """
    with complete_folder(Path(directory), FILES) as folder:
        write_id_model(model, folder, item_ids, extra)


def write_id_model(
    model: IDModel, folder: Path, item_ids: list[str] | None, extra: dict[str, Any] | None = None
) -> None:
    """Write the model's files into ``folder``, which is there.

    item_ids [N]: raw id of every row, row 0 (padding) included; None: the row numbers. ``extra`` goes into
    ``config.json`` under "extra". Raises IDModelError where ``item_ids`` has another length than the item table, and
    OSError where the disk is full.
    """
    from safetensors.torch import save_file

    ids = item_ids if item_ids is not None else [PADDING_ID, *map(str, range(1, model.n_items))]
    if len(ids) != model.n_items:
        raise IDModelError(f"{len(ids)} item ids, but the item table has {model.n_items} rows (row 0 is padding)")
    config = {
        "format_version": FORMAT_VERSION,
        "model": model.settings.model,
        "n_items": model.n_items,
        "n_users": model.n_users,
        "settings": asdict(model.settings),
        "extra": extra or {},
    }
    with os_errors(folder):
        save_file(folded_state(model), folder / WEIGHTS)
    _write_json(folder / CONFIG, config)
    _write_json(folder / ITEM_IDS, list(ids))
    if model.popularity is not None:
        _write_json(folder / POPULARITY, model.popularity.tolist())
    readme = _README.format(model=model.settings.model, items=model.n_items - 1)
    (folder / README).write_text(readme, encoding="utf-8")


def folded_state(model: IDModel) -> dict[str, Tensor]:
    """The model's weights on the CPU, item features folded: without any, they give the same ``item_table()``."""
    state = model.state_dict()
    model.fold(state, model.item_table())
    return {name: weight.detach().cpu().contiguous() for name, weight in state.items()}


def load_id_model(directory: Path) -> tuple[IDModel, list[str]]:
    """The model of ``save_id_model``, on the CPU in evaluation mode, and the raw id of every row.

    Raises IDModelError for a missing or unreadable file, another format version, an unknown model or setting, and
    weights or item ids that do not fit the config.
    """
    directory = Path(directory)
    config = read_config(directory)
    model = create_id_model(config["n_items"], _settings(config, directory / CONFIG), config["n_users"])
    load_weights(model, _read_weights(directory / WEIGHTS), str(directory / WEIGHTS))
    item_ids = _read_json(directory / ITEM_IDS)
    if not isinstance(item_ids, list) or len(item_ids) != model.n_items:
        found = len(item_ids) if isinstance(item_ids, list) else "no list of"
        raise IDModelError(f"{directory / ITEM_IDS}: {found} item ids, but {CONFIG} says n_items {model.n_items}")
    if (directory / POPULARITY).exists():
        model.popularity = _popularity(directory / POPULARITY, model.n_items)
    return model.eval(), [str(item) for item in item_ids]


def read_config(directory: Path) -> dict[str, Any]:
    """``config.json`` of a saved model, its format version and keys checked; raises IDModelError."""
    path = Path(directory) / CONFIG
    config = _read_json(path)
    if not isinstance(config, dict) or "format_version" not in config:
        raise IDModelError(f"{path}: not the config of a saved ID model (no format_version)")
    if config["format_version"] != FORMAT_VERSION:
        raise IDModelError(f"{path}: format version {config['format_version']}, this program reads {FORMAT_VERSION}")
    config.setdefault("n_users", 0)
    for key, kind in (("model", str), ("n_items", int), ("n_users", int), ("settings", dict)):
        if not isinstance(config.get(key), kind):
            raise IDModelError(f"{path}: {key} is missing or not of type {kind.__name__}")
    return config


def load_weights(model: IDModel, state: dict[str, Tensor], source: str) -> None:
    """Copy RecBole-named weights into the model; every name and shape must match, else IDModelError says which."""
    wanted = model.state_dict()
    missing, unknown = sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys())
    if missing:
        raise IDModelError(f"{source}: no weight {missing[0]!r} ({len(missing)} missing)")
    if unknown:
        raise IDModelError(f"{source}: {model.settings.model} has no weight {unknown[0]!r} ({len(unknown)} unknown)")
    for name, weight in wanted.items():
        if state[name].shape != weight.shape:
            found, expected = list(state[name].shape), list(weight.shape)
            raise IDModelError(f"{source}: {name} has shape {found}, the model's settings ask for {expected}")
    model.load_state_dict(state)


def _settings(config: dict[str, Any], path: Path) -> IDSettings:
    try:
        settings = IDSettings(**config["settings"])
    except (TypeError, ValueError) as error:
        raise IDModelError(f"{path}: settings: {error}") from None
    if settings.model != config["model"]:
        raise IDModelError(f"{path}: model is {config['model']!r}, but settings.model {settings.model!r}")
    return settings


def _popularity(path: Path, n_items: int) -> Tensor:
    counts = _read_json(path)
    if not isinstance(counts, list) or len(counts) != n_items or not all(type(count) is int for count in counts):
        raise IDModelError(f"{path}: not one whole number for each of the {n_items} rows")
    return torch.tensor(counts)


def _read_weights(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except FileNotFoundError:
        raise IDModelError(f"{path.parent}: no {path.name}; not a saved ID model") from None
    except (SafetensorError, OSError) as error:
        raise IDModelError(f"{path}: not readable as safetensors: {error}") from None


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise IDModelError(f"{path.parent}: no {path.name}; not a saved ID model") from None
    except (ValueError, OSError) as error:
        raise IDModelError(f"{path}: not readable as JSON: {error}") from None


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
