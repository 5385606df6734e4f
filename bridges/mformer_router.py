"""The M-Former's router: which query expert reads a history (Laser, arXiv 2409.01605, eqs 5-7 and 9-11)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Routing:
    """What the router decided for B histories."""

    expert: Tensor
    """[B] the chosen expert, the one with the largest share."""
    share: Tensor
    """[B] its share, with gradient."""
    shares: Tensor
    """[B, E] mean over a history's items of their softmax over experts (eq 7)."""
    balance: Tensor
    """Scalar load-balancing loss over all real items."""


class Router(nn.Module):
    """One linear layer D -> E, softmax per item, mean over the real items, the largest wins."""

    def __init__(self, id_width: int, experts: int) -> None:
        super().__init__()
        self.linear = nn.Linear(id_width, experts, bias=False)

    def forward(self, states: Tensor, mask: Tensor) -> Routing:
        """States [B, L, D], ``mask`` [B, L] with at least one True in a row."""
        probabilities = self.linear(states).softmax(dim=-1)  # [B, L, E]
        real = mask.unsqueeze(-1)
        shares = (probabilities * real).sum(dim=1) / real.sum(dim=1)  # [B, E]
        share, expert = shares.max(dim=-1)
        return Routing(expert, share, shares, balance_loss(probabilities[mask]))


def balance_loss(probabilities: Tensor) -> Tensor:
    """Switch Transformer's ``E * sum_j f_j P_j`` over items [items, E]; 1 when the load is even, up to E if not.

    f_j is the share of items whose largest probability is expert j's (no gradient), P_j the mean probability of j.
    """
    experts = probabilities.shape[-1]
    load = F.one_hot(probabilities.argmax(dim=-1), experts).to(probabilities.dtype).mean(dim=0)
    return experts * (load * probabilities.mean(dim=0)).sum()


def entropy(probabilities: Tensor) -> Tensor:
    """Entropy in nats over the last axis."""
    return torch.special.entr(probabilities).sum(dim=-1)
