"""A linear layer with adapters ``(alpha / R) B M(u) A x`` beside it.

Letters: K experts, R rank of one expert.
"""

import math
from typing import Any, cast

import torch
from peft.tuners.tuners_utils import BaseTunerLayer, _get_in_out_features, check_adapters_to_merge
from torch import Tensor, nn

from bridges.errors import BridgeError
from bridges.lora.algebra import Core, core_matrix, low_rank
from bridges.lora.condition import Condition
from bridges.lora.config import CoreLoraConfig
from bridges.lora.routers import Router


class CoreLoraLinear(nn.Module, BaseTunerLayer):
    """The layer it wraps, plus its active adapters.

    Args:
        base_layer: nn.Linear, or GPT-2's Conv1D.
        condition: what all layers of the model know of the samples; not owned.
    """

    adapter_layer_names = ("core_lora_A", "core_lora_B")
    other_param_names = ("core_lora_dropout",)
    merged: bool
    disable_adapters: bool
    active_adapters: list[str]

    def __init__(self, base_layer: nn.Module, condition: Condition) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.in_features, self.out_features = _get_in_out_features(base_layer)
        self.condition = condition
        self.core_lora_A = nn.ParameterDict()  # [K R, in] by adapter
        self.core_lora_B = nn.ParameterDict()  # [out, K R] by adapter
        self.core_lora_dropout = nn.ModuleDict()
        self.scaling: dict[str, float] = {}
        self._routes: dict[str, tuple[Router, str]] = {}  # the routers belong to the tuner, a dict hides them here
        self._disable_adapters = False
        self.merged_adapters: list[str] = []

    def add(self, adapter: str, config: CoreLoraConfig, router: Router, group: str) -> None:
        """Add an adapter that gets its core from ``router``. B starts at zero, each expert's A as in PEFT's LoRA."""
        width = config.experts * config.r
        down = torch.empty(config.experts, config.r, self.in_features)
        for expert in down:
            nn.init.kaiming_uniform_(expert, a=math.sqrt(5))
        self.core_lora_A[adapter] = nn.Parameter(down.flatten(0, 1))
        self.core_lora_B[adapter] = nn.Parameter(torch.zeros(self.out_features, width))
        self.core_lora_dropout[adapter] = nn.Dropout(config.lora_dropout) if config.lora_dropout else nn.Identity()
        self.scaling[adapter] = config.lora_alpha / config.r
        self._routes[adapter] = router, group
        BaseTunerLayer._move_adapter_to_device_of_base_layer(self, adapter)
        BaseTunerLayer.set_adapter(self, self.active_adapters, inference_mode=config.inference_mode)

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Inputs [..., in] -> [..., out]. Raises BridgeError where a core needs user vectors and there are none."""
        if self.disable_adapters and self.merged:
            self.unmerge()
        result = self.base_layer(x, *args, **kwargs)
        if self.disable_adapters or self.merged:
            return result
        dtype = result.dtype
        for adapter in self.active_adapters:
            if adapter in self.core_lora_A:
                result = result + self._delta(x, adapter)
        return result.to(dtype)

    def delta_weight(self, adapter: str) -> Tensor:
        """``(alpha / R) B M A`` [out, in] of an adapter whose core is the same for all samples.

        Raises BridgeError for one that depends on the user.
        """
        router, group = self._routes[adapter]
        if router.reads_users:
            raise BridgeError(f"adapter {adapter!r} depends on the user, so it can't be merged into the layer's weight")
        down, up = self.core_lora_A[adapter], self.core_lora_B[adapter]
        matrix = core_matrix(router.core(group, None), len(down), down)
        return self.scaling[adapter] * (up @ matrix @ down)

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Add the adapters to the weight, for inference at a plain layer's cost; see `delta_weight`."""
        for adapter in check_adapters_to_merge(self, adapter_names):
            if adapter in self.core_lora_A:
                self._add_to_weight(adapter, 1)
                self.merged_adapters.append(adapter)

    def unmerge(self) -> None:
        """Undo `merge`, up to rounding."""
        while self.merged_adapters:
            self._add_to_weight(self.merged_adapters.pop(), -1)

    def _delta(self, x: Tensor, adapter: str) -> Tensor:
        down, up = self.core_lora_A[adapter], self.core_lora_B[adapter]
        inputs = self.core_lora_dropout[adapter](x.to(down.dtype))
        return low_rank(inputs, down, up, self._core(adapter)) * self.scaling[adapter]

    def _core(self, adapter: str) -> Core:
        router, group = self._routes[adapter]
        made = self.condition.cores
        if made is not None and (adapter, group) in made:
            return made[adapter, group]
        core = router.core(group, self.condition.users() if router.reads_users else None)
        if made is not None:
            made[adapter, group] = core
        return core

    def _add_to_weight(self, adapter: str, sign: int) -> None:
        weight = cast(Tensor, self.base_layer.weight)
        delta = self.delta_weight(adapter).detach().to(weight.dtype) * sign
        weight.data += delta.T if type(self.base_layer).__name__ == "Conv1D" else delta
