"""What makes the core M(u) of each layer: fixed or learned mixture weights, gates, or a matrix from the user.

A router has one set of weights per *group* of layers: the whole model, a layer, or a module (see `group_name`).
Letters: B samples, C width of a user vector, K experts, R rank of one expert.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from bridges.errors import BridgeError
from bridges.lora.algebra import Core, Dense, Identity, ProductOfSums, SumOfProducts
from bridges.lora.settings import CoreKind, Granularity, RouterSettings


def group_name(module: str, granularity: Granularity) -> str:
    """The group of a module named such as ``layers.3.self_attn.q_proj``: ``all``, ``3`` or its own name.

    A module outside any layer is a group of its own.
    """
    if granularity == "model":
        return "all"
    layer = re.search(r"(?:^|\.)(\d+)\.", module) if granularity == "layer" else None
    return layer[1] if layer else module.replace(".", "-")


class Router(nn.Module, ABC):
    """Cores by group."""

    def __init__(self, settings: RouterSettings) -> None:
        super().__init__()
        self.settings = settings

    @property
    def reads_users(self) -> bool:
        """Whether the core depends on the sample."""
        return False

    def add(self, group: str) -> None:
        """Make the weights of a group, unless they are there."""

    @abstractmethod
    def core(self, group: str, users: Tensor | None) -> Core:
        """M(u) of the group for user vectors [B, C]; for None the core of no user in particular."""

    def _merged(self, weights: Tensor) -> Core:
        return SumOfProducts(weights) if self.settings.combine == "sum_of_products" else ProductOfSums(weights)


class NoRouter(Router):
    """M = 1."""

    def core(self, group: str, users: Tensor | None) -> Core:
        """See `Router`."""
        return Identity()


class Mixture(Router):
    """Weights of their own, ``softmax(logits)``, equal at first: MoLoRec (arXiv 2502.03041)."""

    def __init__(self, settings: RouterSettings) -> None:
        super().__init__(settings)
        self.logits = nn.ParameterDict()

    def add(self, group: str) -> None:
        """See `Router`."""
        if group not in self.logits:
            self.logits[group] = nn.Parameter(torch.zeros(self.settings.experts))

    def core(self, group: str, users: Tensor | None) -> Core:
        """See `Router`."""
        return self._merged(self.logits[group].softmax(dim=0))

    def weights(self) -> dict[str, Tensor]:
        """[K] of each group, without gradient."""
        return {group: logits.detach().softmax(dim=0) for group, logits in self.logits.items()}

    def set_weights(self, weights: Sequence[float]) -> None:
        """Give all groups these weights, which must be at least 0 and sum to 1; a weight of 0 stays 0."""
        values = torch.tensor(weights, dtype=torch.float64)
        if len(values) != self.settings.experts or (values < 0).any() or abs(values.sum() - 1) > 1e-6:
            expected = f"{self.settings.experts} numbers of at least 0 that sum to 1"
            raise BridgeError(f"mixture weights must be {expected}, got {list(weights)}")
        for logits in self.logits.values():
            logits.data.copy_(values.log())


class _UserRouter(Router):
    """One small net for each group that reads the user's vector."""

    def __init__(self, settings: RouterSettings) -> None:
        super().__init__(settings)
        self.nets = nn.ModuleDict()

    @property
    def reads_users(self) -> bool:
        """See `Router`."""
        return True


class Gate(_UserRouter):
    """Weights from the user: ``softmax(g(u) / temperature)``; RecLoRA (arXiv 2408.03533) or, by blocks, iLoRA.

    No user in particular: equal weights.
    """

    def add(self, group: str) -> None:
        """See `Router`."""
        if group not in self.nets:
            self.nets[group] = user_net(self.settings, self.settings.experts)

    def core(self, group: str, users: Tensor | None) -> Core:
        """See `Router`."""
        if users is None:
            experts = self.settings.experts
            return self._merged(next(self.nets[group].parameters()).new_full((experts,), 1 / experts))
        return self._merged(self.weights(group, users))

    def weights(self, group: str, users: Tensor) -> Tensor:
        """[B, C] -> [B, K]; each row sums to one."""
        scores = _answers(self.nets[group], users, self.settings) / self.settings.temperature
        if self.settings.top:
            kept = scores.topk(self.settings.top, dim=-1)
            scores = torch.full_like(scores, -torch.inf).scatter(-1, kept.indices, kept.values)
        return scores.softmax(dim=-1)


class DenseRouter(_UserRouter):
    """A matrix from the user, ``1 + f(u)`` where f starts at zero: an adapter that starts as plain LoRA."""

    def add(self, group: str) -> None:
        """See `Router`."""
        if group not in self.nets:
            net = user_net(self.settings, self.settings.rank**2)
            for parameter in net[-1].parameters():
                nn.init.zeros_(parameter)
            self.nets[group] = net

    def core(self, group: str, users: Tensor | None) -> Core:
        """See `Router`."""
        if users is None:
            return Identity()
        rank = self.settings.rank
        changes = _answers(self.nets[group], users, self.settings).unflatten(-1, (rank, rank))  # [B, R, R]
        return Dense(changes + torch.eye(rank, dtype=changes.dtype, device=changes.device))


ROUTERS: dict[CoreKind, type[Router]] = {
    "identity": NoRouter,
    "mixture": Mixture,
    "gate": Gate,
    "dense": DenseRouter,
}


def user_net(settings: RouterSettings, outputs: int) -> nn.Sequential:
    """LayerNorm, Linear, ReLU, Dropout, Linear (RecLoRA's code); one Linear where there is no hidden width (iLoRA)."""
    if not settings.hidden_width:
        return nn.Sequential(nn.Linear(settings.condition_width, outputs))
    return nn.Sequential(
        nn.LayerNorm(settings.condition_width),
        nn.Linear(settings.condition_width, settings.hidden_width),
        nn.ReLU(),
        nn.Dropout(settings.dropout),
        nn.Linear(settings.hidden_width, outputs),
    )


def _answers(net: nn.Module, users: Tensor, settings: RouterSettings) -> Tensor:
    """[B, C] -> [B, outputs], computed in the net's own dtype."""
    if users.dim() != 2 or users.shape[1] != settings.condition_width:
        raise BridgeError(f"user vectors must be [B, {settings.condition_width}], got {list(users.shape)}")
    return net(users.to(next(net.parameters()).dtype))
