"""RecBole's config and batch transform for a model of the zoo."""

import re
from collections.abc import Callable
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import torch

from idmodels.errors import IDModelError
from idmodels.recbole_compat import recbole_config
from idmodels.recbole_names import model_keys
from idmodels.recbole_stub import ZooData

if TYPE_CHECKING:
    from recbole.config import Config
    from recbole.data.interaction import Interaction

# RecBole's key for the item features that the model reads; such a model is useless without any.
_FEATURE_KEYS = {
    "FDSA": "selected_features",
    "GRU4RecF": "selected_features",
    "S3Rec": "item_attribute",
    "SASRecF": "selected_features",
}
_CANDIDATES = "reranker_CAN_NUM"  # how many items the CPR models rank again; by default more than a small catalogue has


def zoo_config(name: str, data: ZooData, overrides: dict[str, Any], max_length: int, device: torch.device) -> "Config":
    """RecBole's Config of the model, ``overrides`` over its defaults.

    Raises IDModelError for a key that RecBole does not have, and for text other than a plain word: RecBole would
    evaluate it as Python.
    """
    known = recbole_config(name, "none", {"train_neg_sample_args": None}).final_config_dict
    for key, value in overrides.items():
        if key not in known:
            close = get_close_matches(key, known, n=1)
            raise IDModelError(f"{name} has no setting {key!r}" + (f"; did you mean {close[0]!r}?" if close else ""))
        if isinstance(value, str) and not re.fullmatch(r"\w*", value):
            raise IDModelError(f"{name}: {key} must be a plain word, got {value!r}")
    fixed = {"MAX_ITEM_LIST_LENGTH": max_length, "train_neg_sample_args": None}
    if _CANDIDATES in known:
        fixed[_CANDIDATES] = min(int(known[_CANDIDATES]), data.n_items)
    config = recbole_config(name, "none", fixed | overrides | _features(name, data))
    if name == "BERT4Rec" and config["mask_ratio"] * max_length < 1:
        raise IDModelError(f"BERT4Rec hides no item of {max_length} at mask_ratio {config['mask_ratio']}")
    config["device"] = device
    return config


def own_settings(config: "Config") -> dict[str, Any]:
    """The settings that RecBole lists for the model, with their values, and those that its trainer must have."""
    name = config["model"]
    own = {key: config[key] for key in model_keys(name)} | {"MAX_ITEM_LIST_LENGTH": config["MAX_ITEM_LIST_LENGTH"]}
    return own | ({"train_neg_sample_args": None} if config["loss_type"] == "CE" else {})


def batch_transform(config: "Config") -> Callable[[Any, "Interaction"], "Interaction"]:
    """What RecBole does to a batch before the model sees it: BERT4Rec's masks, SHAN's reversed histories."""
    from recbole.data.transform import construct_transform

    made: Callable[[Any, Interaction], Interaction] = construct_transform(config)
    return made


def _features(name: str, data: ZooData) -> dict[str, Any]:
    key, names = _FEATURE_KEYS.get(name), list(data.item_features)
    if key is None:
        return {}
    if not names:
        raise IDModelError(f"{name} needs at least one item feature (ZooData.item_features)")
    return {key: names[0] if key == "item_attribute" else names}
