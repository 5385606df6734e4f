"""BSARec, made causal: attention beside a low-pass filter (Shin et al., AAAI 2024).

Items of one history that stand close together are alike; averaging neighbours (a low-pass filter) is the inductive
bias that self-attention has to learn from data, and on sparse data can't. A block mixes both:
``alpha filter(x) + (1 - alpha) attention(x)``, then the feed-forward part. The filter is
``LN(x + dropout(low + beta^2 (x - low)))`` with a learned beta per channel.

Differences from the paper, all so that one pass trains every position and a state depends on what came before only:
the low pass is the mean of the last ``settings.filter_items`` items, not the lowest Fourier frequencies over the
whole padded window, which mixes in later items and needs one row per prefix; and order is a learned bias of the
attention scores by distance (as in T5), not an absolute position, so that a history reads the same wherever it starts.
With ``settings.temperature`` the scores are cosines, also not in the paper.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from idmodels.contract import IDModel
from idmodels.dropout import dropout
from idmodels.settings import IDSettings
from idmodels.transformer import NORM_EPS, Attention, FeedForward, initialise


class BSARec(IDModel):
    """``settings.layers`` blocks of filter, attention and feed-forward part; after each residual a LayerNorm."""

    any_table = True

    def __init__(self, n_items: int, settings: IDSettings) -> None:
        super().__init__(n_items, settings)
        self.item_embedding = nn.Embedding(n_items, settings.width, padding_idx=0)
        self.LayerNorm = nn.LayerNorm(settings.width, eps=NORM_EPS)
        self.blocks = nn.ModuleList(_Block(settings) for _ in range(settings.layers))
        self.apply(initialise)

    def encode(self, items: Tensor, table: Tensor | None = None) -> Tensor:
        """States after each item, [B, L] -> [B, L, D]; raises IDModelError where L exceeds ``settings.max_length``."""
        self.check_length(items)
        table = self.item_table() if table is None else table
        states = self.LayerNorm(F.embedding(items, table, padding_idx=0))  # [B, L, D]
        states = dropout(states, self.settings.dropout, self.training)
        steps = torch.arange(items.shape[1], device=items.device)
        distances = steps.unsqueeze(1) - steps  # [L, L]
        for block in self.blocks:
            states = block(states, distances)
        return self.tempered(states)


class _Block(nn.Module):
    def __init__(self, settings: IDSettings) -> None:
        super().__init__()
        self.filter_share = settings.filter_share
        self.filter = _CausalFilter(settings)
        self.attention = Attention(settings)
        self.distance_bias = nn.Parameter(torch.zeros(settings.heads, settings.max_length))
        self.feed_forward = FeedForward(settings)

    def forward(self, states: Tensor, distances: Tensor) -> Tensor:
        """states [B, L, D], distances [L, L] from a position back to another, negative to later ones."""
        bias = self.distance_bias[:, distances.clamp(min=0)]  # [heads, L, L]
        attended = self.attention(states, bias.masked_fill(distances < 0, -math.inf))
        return self.feed_forward(torch.lerp(attended, self.filter(states), self.filter_share))


class _CausalFilter(nn.Module):
    def __init__(self, settings: IDSettings) -> None:
        super().__init__()
        self.items = settings.filter_items
        self.dropout = settings.dropout
        self.sqrt_beta = nn.Parameter(torch.randn(settings.width))
        self.LayerNorm = nn.LayerNorm(settings.width, eps=NORM_EPS)

    def forward(self, states: Tensor) -> Tensor:
        """[B, L, D] -> [B, L, D]."""
        low = causal_mean(states, self.items)
        filtered = low + self.sqrt_beta**2 * (states - low)
        return self.LayerNorm(dropout(filtered, self.dropout, self.training) + states)


def causal_mean(values: Tensor, count: int) -> Tensor:
    """Mean over each position and the ``count - 1`` before it, as far as they exist, [B, L, D] -> [B, L, D]."""
    length = values.shape[1]
    sums = values.cumsum(dim=1)
    sums = sums - F.pad(sums, (0, 0, count, 0))[:, :length]
    sizes = torch.arange(1, length + 1, device=values.device).clamp(max=count)
    return sums / sizes.unsqueeze(1)
