"""The querying transformer of the M-Former: pre-norm blocks, cross-attention in every second one.

Letters: B prompts, Q query tokens, L history length, W inner width, D id width.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from bridges.errors import BridgeError


class Attention(nn.Module):
    """Multi-head attention of queries [B, Q, W] over a memory [B, L, memory_width]."""

    def __init__(self, width: int, memory_width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise BridgeError(f"mformer: width {width} must be a multiple of heads {heads}")
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(memory_width, width)
        self.value = nn.Linear(memory_width, width)
        self.output = nn.Linear(width, width)

    def forward(self, queries: Tensor, memory: Tensor, mask: Tensor | None = None) -> Tensor:
        """``mask`` [B, L] is False at memory that is not read; every row needs one True."""
        allowed = None if mask is None else mask[:, None, None, :]  # [B, 1, 1, L]
        read = F.scaled_dot_product_attention(
            self._split(self.query(queries)), self._split(self.key(memory)), self._split(self.value(memory)), allowed
        )  # [B, heads, Q, W / heads]
        return self.output(read.transpose(1, 2).flatten(2))

    def _split(self, states: Tensor) -> Tensor:
        return states.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class Block(nn.Module):
    """Self-attention, cross-attention to the history where ``crosses``, feed-forward; each on a normalised input."""

    def __init__(self, width: int, id_width: int, heads: int, crosses: bool) -> None:
        super().__init__()
        self.self_norm = nn.LayerNorm(width)
        self.self_attention = Attention(width, width, heads)
        self.cross_norm = nn.LayerNorm(width) if crosses else None
        self.cross_attention = Attention(width, id_width, heads) if crosses else None
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, tokens: Tensor, history: Tensor, mask: Tensor) -> Tensor:
        """Tokens [B, Q, W] after reading themselves and the history [B, L, D] where ``mask`` [B, L]."""
        normed = self.self_norm(tokens)
        tokens = tokens + self.self_attention(normed, normed)
        if self.cross_norm is not None and self.cross_attention is not None:
            tokens = tokens + self.cross_attention(self.cross_norm(tokens), history, mask)
        return tokens + self.feed_forward(tokens)
