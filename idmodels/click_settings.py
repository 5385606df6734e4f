"""Settings that every click model is built from."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class ClickShape:
    """Shape of a click model; names a model does not use are ignored by it."""

    width: int = 32
    """Width D of an item vector."""
    max_length: int = 100
    """History length L; callers give the last L items of longer histories."""
    attention_widths: tuple[int, ...] = (64,)
    """Hidden widths of the attention unit's MLP."""
    hidden_widths: tuple[int, ...] = (128, 64)
    """Hidden widths of the MLP that predicts the click."""
    activation: Literal["dice", "prelu"] = "dice"
    """Activation of both."""
    dropout: float = 0.0
    """Dropout in the MLP that predicts the click."""
    cross_layers: int = 3
    """DCN-V2: cross layers."""
    search: Literal["soft", "hard"] = "soft"
    """SIM: search by inner product, or by the target's category."""
    found_items: int = 20
    """SIM: items K that the search keeps."""
    recent_items: int = 20
    """SIM: most recent items that are read whatever the target."""
    heads: int = 2
    """SIM: heads of the attention over the found items."""
    search_weight: float = 1.0
    """SIM: weight of the loss that a soft search learns from."""

    def __post_init__(self) -> None:
        for name in ("width", "max_length", "cross_layers", "found_items", "recent_items", "heads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("attention_widths", "hidden_widths"):
            if not getattr(self, name) or min(getattr(self, name)) < 1:
                raise ValueError(f"{name} must be one or more widths of at least 1, got {getattr(self, name)}")
        for name, accepted in (("activation", ("dice", "prelu")), ("search", ("soft", "hard"))):
            if getattr(self, name) not in accepted:
                raise ValueError(f"{name} must be one of {', '.join(accepted)}, got {getattr(self, name)!r}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout}")
        if self.search_weight < 0:
            raise ValueError(f"search_weight must not be negative, got {self.search_weight}")
        if self.width % self.heads:
            raise ValueError(f"width {self.width} must be a multiple of heads {self.heads}")


@dataclass(frozen=True)
class ClickSettings(ClickShape):
    """Which click model, and its shape."""

    model: str = "din"
    """Name in the registry: dcnv2, deepfm, din, sim; or a sequential ID model, or recbole:NAME."""
    feature_width: int = 0
    """Width F of the features of a user and an item that are attached; 0: none."""
