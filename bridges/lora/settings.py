"""How a core M(u) is made: which kind, from how many experts, and which layers share its weights."""

from dataclasses import dataclass
from typing import Literal, get_args

from bridges.errors import BridgeError, nearest

CoreKind = Literal["identity", "mixture", "gate", "dense"]
Combine = Literal["sum_of_products", "product_of_sums"]
Granularity = Literal["model", "layer", "module"]


@dataclass(frozen=True)
class RouterSettings:
    """How a core is made."""

    core: CoreKind = "identity"
    """identity; mixture: weights of their own; gate: weights from the user; dense: a matrix from the user."""
    combine: Combine = "sum_of_products"
    """How weights merge experts: ``sum_k w_k B_k A_k`` or ``(sum_k w_k B_k) (sum_k w_k A_k)``."""
    granularity: Granularity = "module"
    """Which modules share weights: all of the model, those of a layer, or none."""
    experts: int = 1
    """K."""
    rank: int = 8
    """R, of one expert."""
    condition_width: int = 0
    """C, for gate and dense."""
    hidden_width: int = 60
    """Hidden layer of a gate or of the network that makes the matrix; 0: none."""
    dropout: float = 0.1
    """Dropout after the hidden layer."""
    temperature: float = 1.0
    """Of a gate's softmax."""
    top: int = 0
    """A gate keeps only this many largest weights, made to sum to one again; 0: all."""

    def __post_init__(self) -> None:
        for name, kind in (("core", CoreKind), ("combine", Combine), ("granularity", Granularity)):
            if getattr(self, name) not in get_args(kind):
                raise BridgeError(
                    f"{name}: {getattr(self, name)!r} is unknown{nearest(getattr(self, name), get_args(kind))}"
                )
        for name in ("experts", "rank"):
            if getattr(self, name) < 1:
                raise BridgeError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.core in ("identity", "dense") and self.experts != 1:
            raise BridgeError(f"core {self.core} has one expert, got {self.experts}")
        if self.core in ("gate", "dense") and self.condition_width < 1:
            raise BridgeError(f"core {self.core} needs the width of the user vectors, got {self.condition_width}")
        if not 0 <= self.top <= self.experts:
            raise BridgeError(f"top must be between 0 and the number of experts {self.experts}, got {self.top}")
        if not self.temperature > 0:
            raise BridgeError(f"temperature must be above 0, got {self.temperature}")
