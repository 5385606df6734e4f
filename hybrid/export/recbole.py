"""RecBole's form: a checkpoint with RecBole's keys that loads into RecBole's own class and scores the same.

The checkpoint holds tensors and plain values only (RecBole's own pickles its Config object), so that
``torch.load(weights_only=True)``, and with it RecBole's trainer on a current torch, can read it.
"""

import json
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from hybrid.errors import UserError
from idmodels.contract import IDModel
from idmodels.disk import os_errors
from idmodels.errors import IDModelError
from idmodels.folders import complete_folder
from idmodels.recbole_compat import from_recbole, recbole_class_name, recbole_model, to_recbole
from idmodels.recbole_stub import ZooData
from idmodels.recbole_zoo import ZooModel
from idmodels.saved import folded_state, load_id_model
from idmodels.zoo_id_model import ZooIDModel

CHECKPOINT, CONFIG, ITEM_IDS, README = "model.pth", "recbole.yaml", "item_ids.json", "README.md"
FILES = (CHECKPOINT, CONFIG, ITEM_IDS, README)

_README = """# {name} for RecBole 1.2.1

RecBole 1.2.1 needs names that NumPy 2 removed; with NumPy 2, first:

    import numpy as np
    np.float_, np.complex_, np.unicode_ = np.float64, np.complex128, np.str_

`model.pth` is a RecBole checkpoint, `recbole.yaml` the config of its sizes, `item_ids.json` the raw item id of every
row of the item table (row 0 is padding). RecBole numbers items in its own order, so for a dataset of RecBole's put the
table into that order before loading:

    row_of = {{raw: row for row, raw in enumerate(json.load(open("item_ids.json")))}}
    checkpoint = torch.load("model.pth", weights_only=True)
    state = checkpoint["state_dict"]
    order = [row_of[raw] for raw in dataset.field2id_token["item_id"]]
    for name in {item_weights}:  # what follows the items, a token for masks, stays at the end
        state[name] = torch.cat([state[name][order], state[name][len(row_of):]])
    model.load_state_dict(state)  # model = {name}(config, dataset)

Every item of that dataset must be in `item_ids.json`.{users}{scores}
"""


_USERS = """

The model has a vector for each of {n_users} users: row 0 is nobody known, then the users in the order in which they
first stand in the interactions, which is RecBole's numbering of the same file too."""


_COSINES = """

This model scores by cosines / {temperature}, RecBole's class by inner products: it ranks the items of a user alike, but
its scores have another factor for each user, and training would go on with another loss."""


@dataclass(frozen=True)
class _Export:
    """A model by RecBole's names."""

    config: dict[str, Any]
    state: dict[str, Tensor]
    item_weights: Sequence[str]
    """Weights with a row per item."""
    n_users: int = 0
    temperature: float = 0.0

    def readme(self) -> str:
        users = _USERS.format(n_users=self.n_users) if self.n_users else ""
        scores = _COSINES.format(temperature=self.temperature) if self.temperature else ""
        return _README.format(name=self.config["model"], item_weights=self.item_weights, users=users, scores=scores)


def export_id_model(source_dir: Path, out: Path) -> None:
    """Write the saved ID model of ``source_dir`` to the folder ``out`` in RecBole's form; RecBole isn't needed.

    Raises UserError where the source is no saved ID model, RecBole has no such model, or ``out`` can't be written or
    holds other files.
    """
    try:
        model, item_ids = load_id_model(source_dir)
        export = _zoo_export(model) if isinstance(model, ZooIDModel) else _own_export(model)
        with complete_folder(Path(out), FILES) as folder:
            with os_errors(folder / CHECKPOINT):
                torch.save(_checkpoint(model, export), folder / CHECKPOINT)
            (folder / CONFIG).write_text(yaml.safe_dump(export.config, sort_keys=False), encoding="utf-8")
            (folder / ITEM_IDS).write_text(json.dumps(item_ids, indent=1, ensure_ascii=False), encoding="utf-8")
            (folder / README).write_text(export.readme(), encoding="utf-8")
    except IDModelError as error:
        raise UserError(str(error)) from None
    except OSError as error:
        raise UserError(f"{out}: not written: {error.strerror or error}") from None


def load_into_recbole(directory: Path) -> nn.Module:
    """RecBole's own model with the exported weights, rows in the exported order, in evaluation mode.

    Raises UserError where the folder is no such export or RecBole is not installed.
    """
    path = Path(directory, CHECKPOINT)
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        state = checkpoint["state_dict"]
        model = _recbole_model(checkpoint)
        model.load_state_dict(state)
    except FileNotFoundError:
        raise UserError(f"{directory}: no {CHECKPOINT}; not an ID model exported for RecBole") from None
    except IDModelError as error:
        raise UserError(str(error)) from None
    except (OSError, RuntimeError, KeyError, TypeError, pickle.UnpicklingError) as error:
        raise UserError(f"{path}: not a checkpoint of an exported ID model: {error}") from None
    return model.eval()


def _own_export(model: IDModel) -> _Export:
    config = {"model": recbole_class_name(model.settings), **to_recbole(model.settings)}
    state = folded_state(model)
    of_items = [name for name in ("item_embedding.weight", "output_bias") if name in state]
    return _Export(config, state, of_items, temperature=model.settings.temperature)


def _zoo_export(model: ZooIDModel) -> _Export:
    config = {"model": model.zoo.name, **model.zoo.config}
    return _Export(config, model.zoo.folded_state(), model.zoo.item_weights(), model.n_users)


def _recbole_model(checkpoint: dict[str, Any]) -> nn.Module:
    config, n_items = dict(checkpoint["config"]), checkpoint["n_items"]
    if "n_users" not in checkpoint:
        return recbole_model(n_items, from_recbole(config))
    name, length = config.pop("model"), config.pop("MAX_ITEM_LIST_LENGTH")
    model: nn.Module = ZooModel(name, ZooData(n_items, checkpoint["n_users"] + 1), config, length).model
    return model


def _checkpoint(model: IDModel, export: _Export) -> dict[str, Any]:
    """All keys that RecBole's trainer reads when it loads or resumes."""
    users = {"n_users": export.n_users} if isinstance(model, ZooIDModel) else {}
    return users | {
        "config": export.config,
        "n_items": model.n_items,
        "epoch": 0,
        "cur_step": 0,
        "best_valid_score": float("-inf"),
        "state_dict": export.state,
        "other_parameter": {},
        "optimizer": torch.optim.Adam(model.parameters()).state_dict(),
    }
