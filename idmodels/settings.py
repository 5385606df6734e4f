"""Settings that every ID model is built from."""

import math
from dataclasses import dataclass, field
from typing import Any, Literal

PADDING_ID = "[PAD]"
"""What stands for row 0 among the raw ids of items."""
Precision = Literal["auto", "float32", "bfloat16"]
"""In which number format products are made, see `idmodels.precision`."""


@dataclass(frozen=True)
class IDSettings:
    """Shape of an ID model; names a model does not use are ignored by it."""

    model: str = "sasrec"
    """Name in the registry: bert4rec, bsarec, gru4rec, lightgcn, sasrec, srgnn, recbole:NAME (one of RecBole's
    sequential models, see docs/recbole_zoo.md)."""
    width: int = 64
    """Width D of an item vector and of a state."""
    max_length: int = 50
    """History length L; longer histories are cut into windows for training, to their last items for scoring."""
    layers: int = 2
    """Blocks or recurrent layers."""
    heads: int = 2
    """Attention heads."""
    inner_width: int = 256
    """Width of the feed-forward part (SASRec) or of the recurrent state (GRU4Rec)."""
    dropout: float = 0.5
    """Dropout on embeddings and between layers."""
    attention_dropout: float = 0.5
    """Dropout on attention weights."""
    temperature: float = 0.0
    """Above 0: items are ranked by the cosine of state and item vector, over this in the loss; 0: inner product."""
    mask_ratio: float = 0.2
    """Share of a history's items that BERT4Rec hides in training."""
    filter_share: float = 0.7
    """Share alpha of the low-pass filter in a block of BSARec; the rest is attention."""
    filter_items: int = 5
    """Most recent items whose mean is the low pass of BSARec."""
    recbole: dict[str, Any] = field(default_factory=dict)
    """RecBole's own settings of a model recbole:NAME, which reads these and max_length only: {embedding_size: 64}."""

    def __post_init__(self) -> None:
        for name in ("width", "max_length", "layers", "heads", "inner_width", "filter_items"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("dropout", "attention_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be in [0, 1), got {getattr(self, name)}")
        if not 0 <= self.temperature < math.inf:
            raise ValueError(f"temperature must be at least 0, got {self.temperature}")
        if not 0 < self.mask_ratio < 1:
            raise ValueError(f"mask_ratio must be between 0 and 1, got {self.mask_ratio}")
        if not 0 <= self.filter_share <= 1:
            raise ValueError(f"filter_share must be in [0, 1], got {self.filter_share}")
        if self.width % self.heads:
            raise ValueError(f"width {self.width} must be a multiple of heads {self.heads}")
