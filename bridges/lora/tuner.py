"""The adapter as a PEFT method: ``get_peft_model``, ``save_pretrained`` and ``from_pretrained`` work as for any other.

Importing this module registers it, so the configuration is to be had from here.
"""

from contextlib import AbstractContextManager
from typing import Any, cast

from peft.tuners.tuners_utils import BaseTuner
from peft.utils import PeftType, register_peft_method
from torch import Tensor, nn

from bridges.errors import BridgeError
from bridges.lora.condition import Condition
from bridges.lora.config import PEFT_TYPE, CoreLoraConfig
from bridges.lora.layer import CoreLoraLinear
from bridges.lora.routers import ROUTERS, Router, group_name

__all__ = ["CoreLoraConfig", "CoreLoraModel"]

ROUTER = "core_lora_router"


class CoreLoraModel(BaseTuner):
    """A language model whose target layers have adapters; it owns their routers and their `Condition`."""

    prefix = "core_lora_"
    tuner_layer_cls = CoreLoraLinear
    target_module_mapping: dict[str, list[str]] = {}  # noqa: RUF012 - PEFT's own form
    core_lora_router: nn.ModuleDict
    condition: Condition

    def given(self, users: Tensor | None) -> AbstractContextManager[None]:
        """Within this context the model reads samples with the user vectors ``users`` [B, C]; None: of no user."""
        return self.condition.given(users)

    def router(self, adapter: str = "default") -> Router:
        """What makes the cores of an adapter."""
        return cast(Router, self.core_lora_router[adapter])

    def _create_and_replace(
        self, config: CoreLoraConfig, adapter_name: str, target: nn.Module, target_name: str, parent: nn.Module,
        current_key: str, **kwargs: Any,
    ) -> None:  # fmt: skip
        router, group = self._router_for(adapter_name, config), group_name(current_key, config.granularity)
        router.add(group)
        layer = target
        if not isinstance(target, CoreLoraLinear):
            if not isinstance(target, nn.Linear) and type(target).__name__ != "Conv1D":
                raise BridgeError(f"{current_key} is a {type(target).__name__}; only linear layers can have an adapter")
            layer = CoreLoraLinear(target, self.condition)
            self._replace_module(parent, target_name, layer, target)
        cast(CoreLoraLinear, layer).add(adapter_name, config, router, group)
        router.to(cast(Tensor, target.weight).device)
        if adapter_name not in self.active_adapters:
            router.requires_grad_(False)

    def _router_for(self, adapter: str, config: CoreLoraConfig) -> Router:
        if ROUTER not in self._modules:  # PEFT injects layers before a subclass could say anything in its __init__
            self.core_lora_router = nn.ModuleDict()
            self.condition = Condition()
        if adapter not in self.core_lora_router:
            settings = config.router_settings()
            self.core_lora_router[adapter] = ROUTERS[settings.core](settings)
        return self.router(adapter)

    @classmethod
    def _remove_adapter_name_from_key(cls, key: str, adapter_name: str) -> str:
        """A router's keys have the adapter's name in their middle."""
        head, found, tail = key.partition(f"{ROUTER}.{adapter_name}.")
        return f"{head}{ROUTER}.{tail}" if found else super()._remove_adapter_name_from_key(key, adapter_name)


def _register() -> None:
    """Register with PEFT, which takes only names that are in its list of types."""
    if PEFT_TYPE not in PeftType.__members__:
        member = str.__new__(PeftType, PEFT_TYPE)
        member._name_ = member._value_ = PEFT_TYPE
        type.__setattr__(PeftType, PEFT_TYPE, member)
        PeftType._member_names_.append(PEFT_TYPE)
        PeftType._member_map_[PEFT_TYPE] = member
        PeftType._value2member_map_[PEFT_TYPE] = member
        register_peft_method(name=PEFT_TYPE.lower(), config_cls=CoreLoraConfig, model_cls=CoreLoraModel)


_register()
