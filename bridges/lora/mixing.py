"""Merging finished PEFT LoRAs of one shape (MoLoRec, arXiv 2502.03041, eqs 6-7; LoRA soups by their products).

An adapter here is the state dict that PEFT saves: ``....q_proj.lora_A.weight`` [R, in] and ``.lora_B.weight`` [out, R].
Letters: K adapters, R rank.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from bridges.errors import BridgeError
from bridges.lora.settings import Combine

Adapter = Mapping[str, Tensor]
DOWN, UP = ".lora_A.weight", ".lora_B.weight"


def mix_adapters(
    adapters: Sequence[Adapter], weights: Callable[[str], Tensor], combine: Combine
) -> tuple[dict[str, Tensor], int]:
    """One plain LoRA that does what K adapters do under mixture weights, and by how much its rank has grown.

    ``weights`` gives the [K] weights of a module. ``product_of_sums`` keeps the rank R; ``sum_of_products`` stands the
    adapters one after the other, rank K R, so that alpha must grow by K too. Raises BridgeError where the adapters
    differ in layers or shapes.
    """
    mixed: dict[str, Tensor] = {}
    for module in module_names(adapters):
        downs, ups = [[adapter[module + part] for adapter in adapters] for part in (DOWN, UP)]
        shares = weights(module).to(downs[0])
        if combine == "product_of_sums":
            mixed[module + DOWN], mixed[module + UP] = _weighted_sum(downs, shares), _weighted_sum(ups, shares)
        else:
            mixed[module + DOWN] = torch.cat([share * down for share, down in zip(shares, downs, strict=True)])
            mixed[module + UP] = torch.cat(ups, dim=1)
    return mixed, 1 if combine == "product_of_sums" else len(adapters)


def stack_adapters(adapters: Sequence[Adapter]) -> dict[str, Tensor]:
    """K adapters as the experts of one core LoRA: A [K R, in] and B [out, K R] by that method's names.

    Raises BridgeError where the adapters differ in layers or shapes.
    """
    stacked: dict[str, Tensor] = {}
    for module in module_names(adapters):
        stacked[f"{module}.core_lora_A"] = torch.cat([adapter[module + DOWN] for adapter in adapters])
        stacked[f"{module}.core_lora_B"] = torch.cat([adapter[module + UP] for adapter in adapters], dim=1)
    return stacked


def module_names(adapters: Sequence[Adapter]) -> list[str]:
    """Modules that the adapters change, such as ``base_model.model.layers.0.self_attn.q_proj``.

    Raises BridgeError where an adapter lacks a part, or two differ in modules or shapes.
    """
    first = adapters[0]
    for adapter in adapters:
        for name in sorted(first.keys() | adapter.keys()):
            shapes = [tuple(one[name].shape) if name in one else "absent" for one in (first, adapter)]
            if shapes[0] != shapes[1]:
                raise BridgeError(f"adapters can't be mixed: {name} is {shapes[0]} in one and {shapes[1]} in another")
    modules = sorted({name.removesuffix(DOWN).removesuffix(UP) for name in first})
    for module in modules:
        for part in (DOWN, UP):
            if module + part not in first:
                raise BridgeError(f"not the weights of a LoRA: {module + part} is missing")
    return modules


def _weighted_sum(tensors: Sequence[Tensor], weights: Tensor) -> Tensor:
    return torch.stack([weight * tensor for weight, tensor in zip(weights, tensors, strict=True)]).sum(dim=0)
