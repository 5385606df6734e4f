"""Mixture of experts that turns knowledge vectors into a few features (KAR's hybrid-expert adapter, arXiv 2306.10933).

Each tower (users, items) mixes experts that all towers share with experts of its own. With no shared experts it is the
simple form ``sum_e softmax(W_g z)_e MLP_e(z)``.

Letters: B rows, Z width of a knowledge vector, E experts, W width of the features.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bridges.errors import BridgeError


class Experts(nn.Module):
    """E two-layer networks Z -> hidden -> W with ReLU between, computed together."""

    def __init__(self, count: int, width: int, hidden: int, out: int) -> None:
        super().__init__()
        self.inner = nn.Parameter(torch.empty(count, width, hidden))
        self.inner_bias = nn.Parameter(torch.zeros(count, 1, hidden))
        self.outer = nn.Parameter(torch.empty(count, hidden, out))
        self.outer_bias = nn.Parameter(torch.zeros(count, 1, out))
        nn.init.normal_(self.inner, std=(2 / width) ** 0.5)
        nn.init.normal_(self.outer, std=hidden**-0.5)

    def forward(self, vectors: Tensor) -> Tensor:
        """[B, Z] -> [E, B, W]."""
        hidden = torch.relu(vectors @ self.inner + self.inner_bias)  # [E, B, hidden]
        return hidden @ self.outer + self.outer_bias


class ExpertAdapter(nn.Module):
    """Towers over shared experts and experts of their own, each with a gate ``softmax(Linear(z))`` over both.

    Raises BridgeError where a tower would have no expert at all.
    """

    def __init__(self, towers: Sequence[str], width: int, shared: int, specific: int, hidden: int, out: int) -> None:
        super().__init__()
        if shared + specific < 1:
            raise BridgeError("knowledge_adapter: shared_experts and specific_experts are both 0; one expert is needed")
        self.shared = Experts(shared, width, hidden, out)
        self.specific = nn.ModuleDict({tower: Experts(specific, width, hidden, out) for tower in towers})
        self.gates = nn.ModuleDict({tower: nn.Linear(width, shared + specific) for tower in towers})

    def weights(self, tower: str, vectors: Tensor) -> Tensor:
        """Share of each expert, the shared ones first: [B, Z] -> [B, E]; rows sum to one."""
        return self.gates[tower](vectors).softmax(dim=1)

    def forward(self, tower: str, vectors: Tensor) -> Tensor:
        """Features of a tower: [B, Z] -> [B, W]."""
        outputs = torch.cat([self.shared(vectors), self.specific[tower](vectors)])  # [E, B, W]
        return torch.einsum("be,ebw->bw", self.weights(tower, vectors), outputs)
