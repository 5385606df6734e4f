"""Parts of the click models: Dice, a small MLP, and DIN's attention unit.

Letters: B batch, L history length, D id width, T real (not padded) history items of the batch.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from idmodels.click import DISLIKED, UNKNOWN, ClickBatch

_MOMENTUM = 0.1


class Dice(nn.Module):
    """PReLU whose corner follows the data: ``p x + (1 - p) a x``, p the sigmoid of the standardised x (DIN, eq. 3)."""

    running_mean: Tensor
    running_variance: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_variance", torch.ones(width))

    def forward(self, values: Tensor) -> Tensor:
        """values [rows, width]; a single row is standardised by the running statistics, in training too."""
        alone = len(values) < 2
        standard = F.batch_norm(
            values, self.running_mean, self.running_variance, training=self.training and not alone, momentum=_MOMENTUM
        )
        share = torch.sigmoid(standard)
        return values * (share + (1 - share) * self.slope)


def mlp(widths: Sequence[int], activation: str, dropout: float) -> nn.Sequential:
    """Linear layers between ``widths``, ``dice`` or ``prelu`` and dropout after each, and one output."""
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), Dice(after) if activation == "dice" else nn.PReLU(after)]
        layers += [nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(widths[-1], 1))


class AttentionUnit(nn.Module):
    """DIN's pooling: each history item weighs what a small MLP says of it and the target, not normalised.

    Only real items reach the MLP, so padding costs nothing and never enters Dice's statistics.
    """

    def __init__(self, width: int, hidden: Sequence[int], activation: str) -> None:
        super().__init__()
        self.weigh = mlp([4 * width, *hidden], activation, 0.0)

    def forward(self, items: Tensor, real: Tensor, target: Tensor) -> Tensor:
        """items [B, L, D], real [B, L] bool, target [B, D] -> [B, D]; 0 where nothing is real."""
        row = real.nonzero(as_tuple=True)[0]  # [T]
        item = items[real]  # [T, D]
        weight = self.weigh[1:](self._first_layer(item, target, row))  # [T, 1]
        return torch.zeros_like(target).index_add(0, row, weight * item)

    def _first_layer(self, item: Tensor, target: Tensor, row: Tensor) -> Tensor:
        """The first layer on [item, target, item - target, item * target]: the target's part once per row of the batch.

        Half the products of the whole, and nothing 4 D wide is built.
        """
        first = self.weigh[0]
        assert isinstance(first, nn.Linear)
        own, offered, difference, product = first.weight.split(target.shape[1], dim=1)  # [hidden, D] each
        from_item = F.linear(item, own + difference) + F.linear(item * target[row], product)  # [T, hidden]
        return from_item + F.linear(target, offered - difference, first.bias)[row]


def mark_embedding(width: int) -> nn.Embedding:
    """What is added to a behaviour's item vector for what the user thought of it; nothing for an unknown mark."""
    made = nn.Embedding(3, width, padding_idx=UNKNOWN)
    nn.init.normal_(made.weight[1:], std=width**-0.5)
    return made


def pooled_by_mark(table: Tensor, batch: ClickBatch) -> tuple[Tensor, Tensor]:
    """Mean vector of the behaviours that were liked (or of which nothing is known) and of those that were not.

    Both [B, D], 0 where there are none; ``table`` [N, D].
    """
    items = F.embedding(batch.histories, table)  # [B, L, D]
    real = real_positions(batch.histories, batch.lengths)
    disliked = batch.marks == DISLIKED
    liked_mean, disliked_mean = (_mean(items, real & chosen) for chosen in (~disliked, disliked))
    return liked_mean, disliked_mean


def _mean(items: Tensor, chosen: Tensor) -> Tensor:
    weights = chosen / chosen.sum(dim=1, keepdim=True).clamp(min=1)  # [B, L]
    return (weights.unsqueeze(1) @ items).squeeze(1)


def real_positions(histories: Tensor, lengths: Tensor) -> Tensor:
    """[B, L] bool: True before each history's end."""
    return torch.arange(histories.shape[1], device=histories.device) < lengths.unsqueeze(1)
