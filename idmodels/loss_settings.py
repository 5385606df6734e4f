"""Settings of the loss that an ID model is trained with."""

from dataclasses import dataclass
from typing import Literal, get_args

Kind = Literal["softmax", "linear_cross_entropy", "sampled_softmax", "gbce", "bce", "bpr"]
SOFTMAX_KINDS: tuple[Kind, ...] = ("softmax", "linear_cross_entropy", "sampled_softmax")
"""Losses that are the cross-entropy of a distribution over items."""
Proposal = Literal["uniform", "popularity"]


@dataclass(frozen=True)
class LossSettings:
    """Which loss, and how its negatives are drawn; full softmax draws none."""

    kind: Kind = "softmax"
    """softmax and linear_cross_entropy (torch's own form of it) compare with all items, the others with negatives."""
    negatives: int = 256
    """Negatives n that a position is compared with."""
    proposal: Proposal = "uniform"
    """Distribution of the negatives; popularity: by train frequency plus one."""
    shared_negatives: bool = True
    """One draw of negatives for the whole batch, which is cheap; false: each position has its own."""
    gbce_t: float = 0.75
    """Calibration t of gbce: 0 is bce, 1 undoes the bias of negative sampling."""

    def __post_init__(self) -> None:
        if self.negatives < 1:
            raise ValueError(f"negatives must be at least 1, got {self.negatives}")
        if self.proposal not in get_args(Proposal):
            raise ValueError(f"proposal must be one of {', '.join(get_args(Proposal))}, got {self.proposal!r}")
        if not 0 <= self.gbce_t <= 1:
            raise ValueError(f"gbce_t must be in [0, 1], got {self.gbce_t}")
