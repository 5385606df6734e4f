"""Transformer blocks with RecBole 1.2.1's weights and arithmetic: post-norm, GELU.

Letters: B batch, L history length, D id width. ``mask`` says what a position may look at: None for itself and earlier
ones (causal); a bool that is True at visible positions; or numbers to be added to the attention scores. The latter two
broadcast to [B, heads, L, L].
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from idmodels.dropout import dropout
from idmodels.settings import IDSettings

NORM_EPS = 1e-12
INIT_STD = 0.02


class Encoder(nn.Module):
    """``settings.layers`` blocks, [B, L, D] -> [B, L, D]."""

    def __init__(self, settings: IDSettings) -> None:
        super().__init__()
        self.layer = nn.ModuleList(Block(settings) for _ in range(settings.layers))

    def forward(self, states: Tensor, mask: Tensor | None = None) -> Tensor:
        """States after the last block."""
        for block in self.layer:
            states = block(states, mask)
        return states

    def at(self, states: Tensor, position: Tensor, mask: Tensor | None = None) -> Tensor:
        """States of one position [B] of each row: [B, L, D] -> [B, D]; the last block computes nothing else."""
        *earlier, last = self.layer
        assert isinstance(last, Block)
        for block in earlier:
            states = block(states, mask)
        if mask is None:
            visible = torch.arange(states.shape[1], device=states.device) <= position.unsqueeze(1)
            mask = visible[:, None, None]  # [B, 1, 1, L]
        return last.at(states, position, mask)


class Block(nn.Module):
    """Attention, then the feed-forward part."""

    def __init__(self, settings: IDSettings) -> None:
        super().__init__()
        self.multi_head_attention = Attention(settings)
        self.feed_forward = FeedForward(settings)

    def forward(self, states: Tensor, mask: Tensor | None = None) -> Tensor:
        """[B, L, D] -> [B, L, D]."""
        return self.feed_forward(self.multi_head_attention(states, mask))

    def at(self, states: Tensor, position: Tensor, mask: Tensor) -> Tensor:
        """[B, L, D] -> [B, D]."""
        return self.feed_forward(self.multi_head_attention.at(states, position, mask))


class Attention(nn.Module):
    """Multi-head self-attention, residual, LayerNorm."""

    def __init__(self, settings: IDSettings) -> None:
        super().__init__()
        self.heads = settings.heads
        self.dropout = settings.dropout
        self.attention_dropout = settings.attention_dropout
        self.query = nn.Linear(settings.width, settings.width)
        self.key = nn.Linear(settings.width, settings.width)
        self.value = nn.Linear(settings.width, settings.width)
        self.dense = nn.Linear(settings.width, settings.width)
        self.LayerNorm = nn.LayerNorm(settings.width, eps=NORM_EPS)

    def forward(self, states: Tensor, mask: Tensor | None = None) -> Tensor:
        """[B, L, D] -> [B, L, D]."""
        size, length, width = states.shape
        # One product instead of three, [B, L, 3 * D].
        mixed = F.linear(states, *_joined(self.query, self.key, self.value))
        query, key, value = mixed.view(size, length, 3, self.heads, -1).permute(
            2, 0, 3, 1, 4
        )  # [B, heads, L, D / heads]
        rate = self.attention_dropout if self.training else 0.0
        context = attention(query, key, value, mask, rate)
        context = self.dense(context.transpose(1, 2).reshape(size, length, width))
        return self.LayerNorm(dropout(context, self.dropout, self.training) + states)

    def at(self, states: Tensor, position: Tensor, mask: Tensor) -> Tensor:
        """[B, L, D] -> [B, D]."""
        size, length, width = states.shape
        own = states[torch.arange(size, device=states.device), position]  # [B, D]
        query = self.query(own).view(size, self.heads, 1, -1)
        mixed = F.linear(states, *_joined(self.key, self.value))  # [B, L, 2 * D]
        key, value = mixed.view(size, length, 2, self.heads, -1).permute(2, 0, 3, 1, 4)
        rate = self.attention_dropout if self.training else 0.0
        context = self.dense(attention(query, key, value, mask, rate).reshape(size, width))
        return self.LayerNorm(dropout(context, self.dropout, self.training) + own)


def _joined(*parts: nn.Linear) -> tuple[Tensor, Tensor]:
    return torch.cat([part.weight for part in parts]), torch.cat([part.bias for part in parts])


class FeedForward(nn.Module):
    """Two linear layers with GELU between, residual, LayerNorm."""

    def __init__(self, settings: IDSettings) -> None:
        super().__init__()
        self.dropout = settings.dropout
        self.dense_1 = nn.Linear(settings.width, settings.inner_width)
        self.dense_2 = nn.Linear(settings.inner_width, settings.width)
        self.LayerNorm = nn.LayerNorm(settings.width, eps=NORM_EPS)

    def forward(self, states: Tensor) -> Tensor:
        """[..., D] -> [..., D]."""
        inner = self.dense_2(F.gelu(self.dense_1(states)))
        return self.LayerNorm(dropout(inner, self.dropout, self.training) + states)


def attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, rate: float) -> Tensor:
    """Attention with dropout ``rate`` on the weights, all tensors [B, heads, L, D / heads]; each row sees a position.

    The fused CPU kernel knows no dropout and torch falls back to a slow path: written out, with the cheap mask of
    `idmodels.dropout`, the same arithmetic takes about half the time.
    """
    if rate == 0.0 or query.device.type != "cpu":
        return F.scaled_dot_product_attention(query, key, value, mask, rate, is_causal=mask is None)
    if mask is None:
        mask = torch.ones(query.shape[2], query.shape[2], dtype=torch.bool).tril_()
    if mask.dtype == torch.bool:
        mask = torch.zeros(mask.shape, dtype=query.dtype).masked_fill_(~mask, -math.inf)
    scores = (query * query.shape[3] ** -0.5) @ key.transpose(2, 3)  # [B, heads, L, L]
    weights = torch.softmax(scores + mask, dim=-1)
    return dropout(weights, rate, True) @ value


def initialise(module: nn.Module) -> None:
    """RecBole's first weights, for ``nn.Module.apply``."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=INIT_STD)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
