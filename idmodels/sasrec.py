"""SASRec: self-attention over the history (Kang and McAuley, ICDM 2018), with RecBole 1.2.1's weights and arithmetic.

Every parameter has RecBole's name, so state dicts interchange. RecBole runs one padded row per prefix; here one causal
pass gives the state after every item. Right padding never reaches a real position through a causal mask, so there is
no padding mask.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from idmodels.contract import IDModel
from idmodels.dropout import dropout
from idmodels.settings import IDSettings

_NORM_EPS = 1e-12
_INIT_STD = 0.02


class SASRec(IDModel):
    """Causal Transformer encoder with learned positions; after each residual a LayerNorm (post-norm), GELU inside."""

    def __init__(self, n_items: int, settings: IDSettings) -> None:
        super().__init__(n_items, settings)
        self.item_embedding = nn.Embedding(n_items, settings.width, padding_idx=0)
        self.position_embedding = nn.Embedding(settings.max_length, settings.width)
        self.trm_encoder = _Encoder(settings)
        self.LayerNorm = nn.LayerNorm(settings.width, eps=_NORM_EPS)
        self.apply(_initialise)

    def encode(self, items: Tensor, table: Tensor | None = None) -> Tensor:
        """States after each item, [B, L] -> [B, L, D]; raises IDModelError where L exceeds ``settings.max_length``."""
        self.check_length(items)
        table = self.item_table() if table is None else table
        states = F.embedding(items, table, padding_idx=0)  # [B, L, D]
        states = self.LayerNorm(states + self.position_embedding.weight[: items.shape[1]])
        states = dropout(states, self.settings.dropout, self.training)
        return self.trm_encoder(states)


class _Encoder(nn.Module):
    def __init__(self, settings: IDSettings) -> None:
        super().__init__()
        self.layer = nn.ModuleList(_Block(settings) for _ in range(settings.layers))

    def forward(self, states: Tensor) -> Tensor:
        for block in self.layer:
            states = block(states)
        return states


class _Block(nn.Module):
    def __init__(self, settings: IDSettings) -> None:
        super().__init__()
        self.multi_head_attention = _Attention(settings)
        self.feed_forward = _FeedForward(settings)

    def forward(self, states: Tensor) -> Tensor:
        return self.feed_forward(self.multi_head_attention(states))


class _Attention(nn.Module):
    def __init__(self, settings: IDSettings) -> None:
        super().__init__()
        self.heads = settings.heads
        self.dropout = settings.dropout
        self.attention_dropout = settings.attention_dropout
        self.query = nn.Linear(settings.width, settings.width)
        self.key = nn.Linear(settings.width, settings.width)
        self.value = nn.Linear(settings.width, settings.width)
        self.dense = nn.Linear(settings.width, settings.width)
        self.LayerNorm = nn.LayerNorm(settings.width, eps=_NORM_EPS)

    def forward(self, states: Tensor) -> Tensor:
        size, length, width = states.shape
        mixed = F.linear(states, *self._joined())  # [B, L, 3 * D]: one product instead of three
        query, key, value = mixed.view(size, length, 3, self.heads, -1).permute(
            2, 0, 3, 1, 4
        )  # [B, heads, L, D / heads]
        rate = self.attention_dropout if self.training else 0.0
        context = causal_attention(query, key, value, rate)
        context = self.dense(context.transpose(1, 2).reshape(size, length, width))
        return self.LayerNorm(dropout(context, self.dropout, self.training) + states)

    def _joined(self) -> tuple[Tensor, Tensor]:
        parts = (self.query, self.key, self.value)
        return torch.cat([part.weight for part in parts]), torch.cat([part.bias for part in parts])


class _FeedForward(nn.Module):
    def __init__(self, settings: IDSettings) -> None:
        super().__init__()
        self.dropout = settings.dropout
        self.dense_1 = nn.Linear(settings.width, settings.inner_width)
        self.dense_2 = nn.Linear(settings.inner_width, settings.width)
        self.LayerNorm = nn.LayerNorm(settings.width, eps=_NORM_EPS)

    def forward(self, states: Tensor) -> Tensor:
        inner = self.dense_2(F.gelu(self.dense_1(states)))
        return self.LayerNorm(dropout(inner, self.dropout, self.training) + states)


def causal_attention(query: Tensor, key: Tensor, value: Tensor, rate: float) -> Tensor:
    """Attention to this and earlier positions, all tensors [B, heads, L, D / heads], dropout ``rate`` on the weights.

    The fused CPU kernel knows no dropout and torch falls back to a slow path: written out, with the cheap mask of
    `idmodels.dropout`, the same arithmetic takes about half the time.
    """
    if rate == 0.0 or query.device.type != "cpu":
        return F.scaled_dot_product_attention(query, key, value, dropout_p=rate, is_causal=True)
    length = query.shape[2]
    hidden = torch.full((length, length), -math.inf, dtype=query.dtype).triu_(1)
    scores = (query * query.shape[3] ** -0.5) @ key.transpose(2, 3)  # [B, heads, L, L]
    weights = torch.softmax(scores + hidden, dim=-1)
    return dropout(weights, rate, True) @ value


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=_INIT_STD)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
