"""The one door to RecBole 1.2.1, which was written for numpy 1 and reads the command line of whoever imports it.

Only ``recbole.model``, ``recbole.config``, ``recbole.data``, ``recbole.trainer`` and ``recbole.evaluator`` may be
imported, after ``require_recbole()``; never ``recbole.quick_start``, which needs an old ray.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from idmodels.errors import IDModelError
from idmodels.settings import IDSettings

if TYPE_CHECKING:
    from recbole.config import Config

INSTALL = "pip install --no-deps recbole==1.2.1"

# Names that numpy 2 removed and RecBole's Config still reads.
_REMOVED = {"float_": np.float64, "complex_": np.complex128, "unicode_": np.str_}

# Where RecBole is given a GPU, it asks CUDA for it with all others hidden, and the process keeps that one for good.
_NO_GPU = {"use_gpu": False, "gpu_id": ""}

_CLASSES = {"sasrec": "SASRec", "gru4rec": "GRU4Rec", "bert4rec": "BERT4Rec", "srgnn": "SRGNN"}

_TRANSFORMER_KEYS = {
    "hidden_size": "width",
    "n_layers": "layers",
    "n_heads": "heads",
    "inner_size": "inner_width",
    "hidden_dropout_prob": "dropout",
    "attn_dropout_prob": "attention_dropout",
    "MAX_ITEM_LIST_LENGTH": "max_length",
}

# RecBole's key of each of our settings.
_KEYS = {
    "SASRec": _TRANSFORMER_KEYS,
    "BERT4Rec": _TRANSFORMER_KEYS | {"mask_ratio": "mask_ratio"},
    "GRU4Rec": {
        "embedding_size": "width",
        "num_layers": "layers",
        "hidden_size": "inner_width",
        "dropout_prob": "dropout",
        "MAX_ITEM_LIST_LENGTH": "max_length",
    },
    "SRGNN": {"embedding_size": "width", "step": "layers", "MAX_ITEM_LIST_LENGTH": "max_length"},
}

# What our models do and RecBole lets one choose.
_TRANSFORMER_FIXED = {"hidden_act": "gelu", "layer_norm_eps": 1e-12, "initializer_range": 0.02}
_FIXED: dict[str, dict[str, Any]] = {
    "SASRec": _TRANSFORMER_FIXED,
    "BERT4Rec": _TRANSFORMER_FIXED,
    "GRU4Rec": {},
    "SRGNN": {},
}


def require_recbole() -> None:
    """Make RecBole usable; raises IDModelError with the install command where it is absent."""
    try:
        import recbole  # noqa: F401
    except ImportError:
        raise IDModelError(f"this needs RecBole, which is not installed: {INSTALL}") from None
    for name, kind in _REMOVED.items():
        if not hasattr(np, name):
            setattr(np, name, kind)


def recbole_config(model: str, dataset: str, overrides: dict[str, Any]) -> "Config":
    """RecBole's Config of a model and dataset by RecBole's names, ``overrides`` on top; nothing is written to disk.

    Its device is the CPU, whatever the overrides say: a model moves afterwards, as any module does.

    RecBole evaluates strings among the overrides as Python: never pass it text from a file.
    """
    require_recbole()
    with _isolated():
        from recbole.config import Config

        return Config(model=model, dataset=dataset, config_dict=overrides | _NO_GPU)


def recbole_class_name(settings: IDSettings) -> str:
    """RecBole's class for these settings; raises IDModelError where it has none."""
    if settings.model not in _CLASSES:
        raise IDModelError(
            f"no RecBole class computes what {settings.model!r} does here; there is one for "
            f"{', '.join(sorted(_CLASSES))}"
        )
    return _CLASSES[settings.model]


def to_recbole(settings: IDSettings) -> dict[str, Any]:
    """The settings as RecBole's config keys, with full-softmax loss."""
    name = recbole_class_name(settings)
    sizes = {key: getattr(settings, ours) for key, ours in _KEYS[name].items()}
    return {**sizes, **_FIXED[name], "loss_type": "CE", "train_neg_sample_args": None}


def from_recbole(config: dict[str, Any]) -> IDSettings:
    """Settings of a RecBole config with a ``model`` key; raises IDModelError where our models can't follow it."""
    ours = {name: key for key, name in _CLASSES.items()}
    name = config.get("model")
    if name not in ours:
        raise IDModelError(f"RecBole model {name!r} has no counterpart here; accepted: {', '.join(sorted(ours))}")
    for key, value in _FIXED[name].items():
        if config.get(key, value) != value:
            raise IDModelError(f"RecBole config: {key} must be {value!r}, got {config[key]!r}")
    try:
        return IDSettings(model=ours[name], **{setting: config[key] for key, setting in _KEYS[name].items()})
    except KeyError as error:
        raise IDModelError(f"RecBole config: no {error.args[0]}") from None
    except (TypeError, ValueError) as error:
        raise IDModelError(f"RecBole config: {error}") from None


def recbole_model(n_items: int, settings: IDSettings) -> nn.Module:
    """RecBole's own class over N rows, freshly initialised, on the CPU; no dataset is read."""
    name = recbole_class_name(settings)
    config = recbole_config(name, "none", to_recbole(settings))
    model: nn.Module = config.model_class(config, SimpleNamespace(num=lambda field: n_items))
    return model


@contextmanager
def _isolated() -> Iterator[None]:
    """Hide the command line from RecBole's Config, and undo what it and its models do to the whole process.

    It sets the CUDA devices, and its SINE switches torch's anomaly detection on, which slows every backward pass.
    """
    arguments, devices = sys.argv, os.environ.get("CUDA_VISIBLE_DEVICES")
    anomalies = torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()
    sys.argv = arguments[:1] or ["recbole"]
    try:
        yield
    finally:
        torch.autograd.set_detect_anomaly(*anomalies)
        sys.argv = arguments
        if devices is None:
            os.environ.pop("CUDA_VISIBLE_DEVICES", None)
        else:
            os.environ["CUDA_VISIBLE_DEVICES"] = devices
