"""The LoRA adapter of a frozen backbone, by PEFT; saved as a PEFT directory.

Adapter weights are float32 whatever the backbone's dtype: with bfloat16's 8 bits small steps would round to nothing.
LoRA: Hu et al. 2021, y = W x + (alpha / R) B A x. A plain one is PEFT's own, so that its directory loads anywhere;
those that depend on the user are of `bridges.lora`, which has to be imported before PEFT can load their directories.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from hybrid.config.schema import LoRAConfig
from hybrid.errors import UserError, nearest
from hybrid.llm.backbone import Backbone
from hybrid.llm.quiet import quiet_transformers

if TYPE_CHECKING:
    from peft import PeftModel

WEIGHTS_FILE = "adapter_model.safetensors"
CONFIG_FILE = "adapter_config.json"


def attach_adapter(backbone: Backbone, config: LoRAConfig, user_width: int = 0) -> "PeftModel":
    """Put a LoRA on the layers named by ``config.targets``; only its weights are trainable.

    The backbone's model is changed in place; B starts at zero, so its outputs do not change. ``user_width`` is that of
    the user vectors, where the adapter depends on them. Raises UserError where a name fits no linear layer.
    """
    from peft import get_peft_model

    _check_targets(backbone.model, config.targets)
    settings = _peft_config(config, backbone.name, user_width)
    backbone.model.name_or_path = backbone.name  # what PEFT writes down as the base model
    with quiet_transformers():
        model = get_peft_model(backbone.model, settings, autocast_adapter_dtype=True)
    trainable = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    if not trainable or any("lora_" not in name for name in trainable):
        raise RuntimeError(f"the adapter should make LoRA weights trainable and nothing else, got {trainable[:3]}")
    return model


def given_users(model: nn.Module, users: Tensor | None) -> AbstractContextManager[None]:
    """Within this context an adapter that depends on the user reads ``users`` [B, C]; None: texts of no user."""
    tuner: Any = getattr(model, "base_model", None)
    return tuner.given(users) if hasattr(tuner, "given") else nullcontext()


def _peft_config(config: LoRAConfig, base_model: str, user_width: int) -> Any:
    common: dict[str, Any] = {
        "r": config.rank // config.experts if config.kind == "block" else config.rank,
        "lora_alpha": config.alpha,
        "lora_dropout": config.dropout,
        "target_modules": list(config.targets),
        "base_model_name_or_path": base_model,
    }
    if config.kind == "plain":
        from peft import LoraConfig

        return LoraConfig(**common)
    from bridges.lora.tuner import CoreLoraConfig

    gates: dict[str, Any] = {
        "core": "gate",
        "experts": config.experts,
        "temperature": config.gate_temperature,
        "top": config.gate_top,
    }
    if config.kind == "gated":
        gates["combine"] = config.combine
    return CoreLoraConfig(
        **common,
        **({"core": "dense"} if config.kind == "dense" else gates),
        granularity=config.granularity,
        condition_width=user_width,
        hidden_width=config.gate_width,
        router_dropout=config.gate_dropout,
    )


def save_adapter(model: "PeftModel", directory: Path) -> None:
    """Write ``adapter_model.safetensors`` and ``adapter_config.json``, as PEFT reads them."""
    # "auto" would ask the hub whether the base model's vocabulary was enlarged.
    model.save_pretrained(str(directory), save_embedding_layers=False)


def load_adapter(model: "PeftModel", directory: Path) -> None:
    """Load what `save_adapter` wrote into an adapter of the same shape.

    Raises UserError where a file is missing or damaged, or rank, scaling, targets or shapes differ.
    """
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    _check_config(model, directory)
    path = directory / WEIGHTS_FILE
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} cannot be read: {error}") from None
    check_shapes(path, weights, get_peft_model_state_dict(model, save_embedding_layers=False))
    set_peft_model_state_dict(model, weights)


def check_shapes(path: Path, saved: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    """Raise UserError where the tensors in a file are not those of this run, by name and shape."""
    for name in sorted(own.keys() | saved.keys()):
        theirs, ours = (tuple(side[name].shape) if name in side else "absent" for side in (saved, own))
        if theirs != ours:
            raise UserError(f"{path}: {name} is {theirs}, but this run's is {ours}")


def adapter_weights(model: nn.Module) -> dict[str, nn.Parameter]:
    """The LoRA weights by name, whether or not they learn at the moment; none in a model without adapter."""
    return {name: parameter for name, parameter in model.named_parameters() if "lora_" in name}


def is_untuned(model: nn.Module) -> bool:
    """Whether no adapter changes anything yet: B is zero."""
    return not any(parameter.any() for name, parameter in adapter_weights(model).items() if "lora_B" in name)


def without_adapter(model: nn.Module) -> AbstractContextManager[None]:
    """Within this context the model is as it was before it got an adapter."""
    return cast("PeftModel", model).disable_adapter() if adapter_weights(model) else nullcontext()


def _check_targets(model: nn.Module, targets: tuple[str, ...]) -> None:
    found = {name.rsplit(".", 1)[-1] for name, module in model.named_modules() if _is_linear(module)}
    for target in targets:
        if target not in found:
            raise UserError(f"llm.lora.targets: no linear layer is named {target!r}{nearest(target, found)}")
    if not targets:
        raise UserError(f"llm.lora.targets is empty; accepted: {', '.join(sorted(found))}")


def _is_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"  # GPT-2's linear layer


def _check_config(model: "PeftModel", directory: Path) -> None:
    from peft import PeftConfig

    import bridges.lora.tuner  # noqa: F401 - so that PEFT knows adapters of that kind

    try:
        saved: Any = PeftConfig.from_pretrained(str(directory))
    except Exception as error:  # a missing or broken file comes as several types
        raise UserError(f"{directory} is not a PEFT directory: {' '.join(str(error).split())[:200]}") from None
    own: Any = model.peft_config["default"]
    for key in ("peft_type", "r", "lora_alpha", "target_modules", "core", "combine", "granularity", "experts"):
        mine, theirs = getattr(own, key, None), getattr(saved, key, None)
        if mine != theirs:
            shown = [sorted(value) if isinstance(value, set) else value for value in (theirs, mine)]
            raise UserError(f"{directory / CONFIG_FILE}: {key} is {shown[0]}, but this run's adapter has {shown[1]}")
