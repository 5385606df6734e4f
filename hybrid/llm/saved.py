"""A trained LLM recommender on disk: a PEFT directory with `scorer.safetensors` beside the adapter.

Of a frozen model there is `scorer.safetensors` alone.
"""

from pathlib import Path
from typing import TYPE_CHECKING, cast

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from hybrid.errors import UserError
from hybrid.llm.adapter import check_shapes, load_adapter, save_adapter
from idmodels.disk import os_errors

if TYPE_CHECKING:
    from peft import PeftModel

    from hybrid.llm.recommender import LLMRecommender

SCORER_FILE = "scorer.safetensors"


def save_recommender(recommender: "LLMRecommender", directory: Path) -> None:
    """Write adapter, soft tokens and scorer, its item vectors included. Raises UserError where the disk is full."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in _tensors(recommender).items()}
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with os_errors(directory):
            if recommender.config.tune == "lora":
                save_adapter(cast("PeftModel", recommender.lm), directory)
            save_file(tensors, directory / SCORER_FILE, metadata=_identity(recommender))
    except OSError as error:
        raise UserError(f"cannot write the LLM recommender to {directory}: {error.strerror or error}") from None


def load_recommender(recommender: "LLMRecommender", directory: Path) -> None:
    """Load what `save_recommender` wrote, all of it or nothing.

    Raises UserError where a file is missing or damaged, or was made for another base model, scorer or adapter shape.
    """
    saved = _read(directory / SCORER_FILE, _identity(recommender))
    own = _tensors(recommender)
    check_shapes(directory / SCORER_FILE, saved, own)
    if recommender.config.tune == "lora":
        load_adapter(cast("PeftModel", recommender.lm), directory)
    for name, tensor in own.items():
        tensor.data.copy_(saved[name])


def _tensors(recommender: "LLMRecommender") -> dict[str, Tensor]:
    scorer = {f"scorer.{name}": tensor for name, tensor in recommender.scorer.state_dict().items()}
    prefix = {} if recommender.prefix is None else {"prefix": recommender.prefix}
    reader = {} if recommender.reader is None else recommender.reader.state_dict(prefix="reader.")
    return {"suffix": recommender.suffix, **prefix, **reader, **scorer}


def _identity(recommender: "LLMRecommender") -> dict[str, str]:
    backbone = recommender.backbone
    return {
        "base_model": backbone.name,
        "layers": str(backbone.layers),
        "weights": backbone.fingerprint,
        "scorer": recommender.scorer_kind,
        "tune": recommender.config.tune,
    }


def _read(path: Path, identity: dict[str, str]) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    for key, own in identity.items():
        if metadata.get(key) != own:
            raise UserError(f"{path}: {key} is {metadata.get(key)!r}, but this run has {own!r}")
    return tensors
