"""The PEFT configuration of the adapter; what stands in ``adapter_config.json``."""

from dataclasses import dataclass, field, fields
from typing import Any

from peft import PeftConfig

from bridges.lora.settings import Granularity, RouterSettings

PEFT_TYPE = "CORE_LORA"


@dataclass
class CoreLoraConfig(PeftConfig):
    """Rank, scaling and core of an adapter ``(alpha / R) B M(u) A x`` with K experts of rank R.

    Raises BridgeError for settings that do not go together.
    """

    r: int = field(default=8, metadata={"help": "rank R of one expert"})
    lora_alpha: float = field(default=16.0, metadata={"help": "the output is multiplied by alpha / R"})
    lora_dropout: float = field(default=0.0, metadata={"help": "dropout on the adapter's input"})
    target_modules: list[str] | set[str] | str | None = field(
        default=None, metadata={"help": "names of the linear layers that get the adapter"}
    )
    core: str = field(default="identity", metadata={"help": "identity, mixture, gate or dense"})
    combine: str = field(default="sum_of_products", metadata={"help": "sum_of_products or product_of_sums"})
    granularity: Granularity = field(default="module", metadata={"help": "what shares weights: model, layer or module"})
    experts: int = field(default=1, metadata={"help": "number of experts K"})
    condition_width: int = field(default=0, metadata={"help": "width of the user vectors"})
    hidden_width: int = field(default=60, metadata={"help": "hidden layer of the router's network; 0: none"})
    router_dropout: float = field(default=0.1, metadata={"help": "dropout after that hidden layer"})
    temperature: float = field(default=1.0, metadata={"help": "temperature of a gate's softmax"})
    top: int = field(default=0, metadata={"help": "a gate keeps this many experts; 0: all"})

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = PEFT_TYPE
        if isinstance(self.target_modules, list):
            self.target_modules = set(self.target_modules)
        self.router_settings()

    def router_settings(self) -> RouterSettings:
        """What the router is made from."""
        renamed: dict[str, Any] = {"rank": self.r, "dropout": self.router_dropout}
        same = {item.name: getattr(self, item.name) for item in fields(RouterSettings) if item.name not in renamed}
        return RouterSettings(**same, **renamed)
