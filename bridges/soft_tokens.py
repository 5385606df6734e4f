"""Soft tokens that start as long as the LLM's own input embeddings."""

import math

import torch
from torch import nn

from bridges.errors import BridgeError


class EmbeddingSize(nn.LayerNorm):
    """LayerNorm over H whose output has the norm ``embedding_norm`` at first.

    A frozen LLM meets no input of a size that it has never seen, whatever the layers before put out.
    """

    def __init__(self, llm_width: int, embedding_norm: float) -> None:
        super().__init__(llm_width)
        nn.init.constant_(self.weight, embedding_scale(llm_width, embedding_norm))


def learned_tokens(count: int, llm_width: int, embedding_norm: float) -> nn.Parameter:
    """Learned constants [count, H], about as long as an embedding at first."""
    return nn.Parameter(torch.randn(count, llm_width) * embedding_scale(llm_width, embedding_norm))


def projector(id_width: int, llm_width: int, embedding_norm: float) -> nn.Sequential:
    """Two-layer map D -> H from the ID model's space to the LLM's input space."""
    return nn.Sequential(
        nn.Linear(id_width, llm_width),
        nn.GELU(),
        nn.Linear(llm_width, llm_width),
        EmbeddingSize(llm_width, embedding_norm),
    )


def embedding_scale(llm_width: int, embedding_norm: float) -> float:
    """Size of one component of a vector of H equal ones with norm ``embedding_norm``; BridgeError unless positive."""
    if not (embedding_norm > 0 and math.isfinite(embedding_norm)):
        raise BridgeError(f"embedding_norm must be positive and finite, got {embedding_norm}")
    return embedding_norm / math.sqrt(llm_width)
