"""Adapters of the stages: made, stored as PEFT directories with their origin, loaded again, and mixed."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from bridges.lora.mixing import mix_adapters, stack_adapters
from bridges.lora.routers import Mixture, group_name
from bridges.lora.settings import Combine
from hybrid.config.schema import Config, LoRAConfig, MixtureConfig
from hybrid.errors import UserError
from hybrid.llm.adapter import CONFIG_FILE, WEIGHTS_FILE, load_adapter, save_adapter
from hybrid.llm.backbone import Backbone
from hybrid.llm.quiet import quiet_transformers
from hybrid.training.run_directory import read_json, replace_directory, write_json

if TYPE_CHECKING:
    from peft import PeftModel

ORIGIN_FILE = "adapter_origin.json"
COMBINE: dict[str, Combine] = {"ab": "product_of_sums", "delta": "sum_of_products"}
Weights = dict[str, Tensor]


def fresh_adapter(lm: "PeftModel", seed: int) -> None:
    """Put a plain adapter back to its beginning: A random by the seed, B zero."""
    from peft.tuners.lora import LoraLayer

    torch.manual_seed(seed)
    for module in lm.modules():
        if isinstance(module, LoraLayer):
            module.reset_lora_parameters("default", True)


def adapter_state(lm: nn.Module) -> Weights:
    """The adapter's weights as PEFT saves them, copied."""
    from peft import get_peft_model_state_dict

    state = get_peft_model_state_dict(lm, save_embedding_layers=False)
    return {name: tensor.detach().clone() for name, tensor in state.items()}


def store_adapter(lm: "PeftModel", backbone: Backbone, directory: Path, about: Mapping[str, Any]) -> None:
    """Write a PEFT directory with what it was made from beside it, whole or not at all."""

    def fill(path: Path) -> None:
        save_adapter(lm, path)
        write_json(path / ORIGIN_FILE, {**_identity(backbone), **about})

    directory.parent.mkdir(parents=True, exist_ok=True)
    replace_directory(directory, fill)


def is_stored(directory: Path) -> bool:
    """Whether there is an adapter to load. Raises UserError for a directory in which some file of one is missing."""
    if not directory.exists():
        return False
    missing = [name for name in (CONFIG_FILE, WEIGHTS_FILE, ORIGIN_FILE) if not (directory / name).is_file()]
    if missing:
        raise UserError(
            f"{directory}: not a whole adapter directory, {missing[0]} is missing; delete it to have it trained anew"
        )
    return True


def load_stored(lm: "PeftModel", backbone: Backbone, directory: Path) -> Weights:
    """Load what `store_adapter` wrote into a plain adapter, and return its weights.

    Raises UserError where it is of another base model, rank, scaling or set of layers, damaged, or not finite.
    """
    origin = read_json(directory / ORIGIN_FILE)
    if not isinstance(origin, dict):
        raise UserError(f"{directory / ORIGIN_FILE}: a JSON object is expected, found {type(origin).__name__}")
    for key, own in _identity(backbone).items():
        if origin.get(key) != own:
            raise UserError(f"{directory / ORIGIN_FILE}: {key} is {origin.get(key)!r}, but this run has {own!r}")
    load_adapter(lm, directory)
    loaded = adapter_state(lm)
    for name, tensor in loaded.items():
        if not torch.isfinite(tensor).all():
            raise UserError(f"{directory / WEIGHTS_FILE}: {name} has values that are not finite")
    return loaded


def attach_mixture(
    lm: "PeftModel", backbone: Backbone, adapters: list[Weights], lora: LoRAConfig, config: MixtureConfig
) -> "PeftModel":
    """Take the plain adapter off and put the mixture of ``adapters`` in its place; its weights alone are trainable."""
    from peft import get_peft_model, set_peft_model_state_dict

    from bridges.lora.tuner import CoreLoraConfig

    settings = CoreLoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        target_modules=list(lora.targets),
        base_model_name_or_path=backbone.name,
        core="mixture",
        combine=COMBINE[config.merge],
        granularity=config.granularity,
        experts=len(adapters),
    )
    with quiet_transformers():
        mixed = get_peft_model(cast(Any, lm.unload()), settings)
    set_peft_model_state_dict(mixed, stack_adapters(adapters))
    mixed.requires_grad_(False)
    mixture(mixed).requires_grad_(True)
    return mixed


def mixture(lm: nn.Module) -> Mixture:
    """The weights of a mixed adapter."""
    return cast(Mixture, cast(Any, lm).base_model.router())


def store_merged(backbone: Backbone, adapters: list[Weights], router: Mixture, config: Config, directory: Path) -> None:
    """Write the mixture as one plain LoRA, which loads anywhere and costs what one adapter costs.

    `ab` keeps the rank; `delta` doubles it.
    """
    from peft import LoraConfig
    from safetensors.torch import save_file

    combine, shares = COMBINE[config.instruct.mixture.merge], router.weights()

    def of_module(name: str) -> Tensor:
        return shares[group_name(name.removeprefix("base_model.model."), config.instruct.mixture.granularity)]

    merged, growth = mix_adapters(adapters, of_module, combine)
    lora = config.llm.lora
    settings = LoraConfig(
        r=lora.rank * growth,
        lora_alpha=lora.alpha * growth,
        lora_dropout=0.0,
        target_modules=list(lora.targets),
        base_model_name_or_path=backbone.name,
        inference_mode=True,
    )

    def fill(path: Path) -> None:
        settings.save_pretrained(str(path))
        save_file({name: value.cpu().contiguous() for name, value in merged.items()}, path / WEIGHTS_FILE)

    directory.parent.mkdir(parents=True, exist_ok=True)
    replace_directory(directory, fill)


def _identity(backbone: Backbone) -> dict[str, Any]:
    return {"base_model": backbone.name, "layers": backbone.layers, "weights": backbone.fingerprint}
