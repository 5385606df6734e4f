"""From LLM states to scores of all items: ``logits = user(states) @ items().T``.

Row 0 of `items` is padding; ranking must mask it.
Letters: H LLM width, N items (row 0 is padding), D id width, P score width, Z item vector width, M states.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from bridges.whitening import KeptWhitening
from hybrid.config.schema import LLMConfig


class Scorer(nn.Module, ABC):
    """Both halves of an inner product, P wide."""

    @abstractmethod
    def user(self, states: Tensor) -> Tensor:
        """States [M, H] float32 -> user states [M, P]; a temperature is inside."""

    @property
    @abstractmethod
    def width(self) -> int:
        """Width P of the score space."""

    @abstractmethod
    def items(self, features: Sequence[Tensor] = ()) -> Tensor:
        """Item matrix [N, P]; ``features`` [N, P] each are added to the items' own vectors."""


class SuffixCosine(Scorer):
    """Cosine of the suffix state and the item's vector, both projected to ``width`` (0: compared as they are).

    Item vectors come from the LLM too (Laser, Zhang et al.); ``whiten_width`` principal components of them are kept,
    whitened (0: all, left as they are). The axes are those of the first vectors for good: with new axes each time the
    items are encoded, the learned projection would not fit them any more. Without a projection the axes are new each
    time, and states are mapped by them too: raw states lie in a cone so narrow that all their cosines are nearly one.

    ``recentre``: mean and spread along the axes are those of the newest vectors. Soft tokens that learn are read in
    every item's prompt and move all vectors together; seen from the first mean, items would become one.
    """

    item_vectors: Tensor
    """[N, Z]; Z is at most min(H, N - 2) where vectors are whitened."""
    whitening: KeptWhitening | None
    same_axes: bool
    """States are whitened by the axes of the newest item vectors."""

    def __init__(
        self,
        n_items: int,
        state_width: int,
        whiten_width: int,
        width: int,
        temperature: float,
        recentre: bool = False,
    ) -> None:
        super().__init__()
        self.whitening = KeptWhitening(n_items, state_width, whiten_width) if whiten_width else None
        vector_width = self.whitening.count if self.whitening else state_width
        self.temperature = temperature
        self.same_axes = not width and whiten_width > 0
        self.recentre = recentre
        self.user_projection = nn.Linear(state_width, width) if width else nn.Identity()
        self.item_projection = nn.Linear(vector_width, width) if width else nn.Identity()
        self.register_buffer("item_vectors", torch.zeros(n_items, vector_width))

    def set_item_vectors(self, vectors: Tensor) -> None:
        """Take over the LLM's item vectors [N, H]; they are whitened here. Row 0 is not used."""
        if self.whitening is None:
            kept = vectors
        else:
            if self.recentre and self.whitening.fitted:
                self.whitening.recentre(vectors[1:])
            kept = self.whitening(vectors, refit=self.same_axes)
        if kept.shape != self.item_vectors.shape:
            raise ValueError(f"item vectors are {tuple(kept.shape)}, expected {tuple(self.item_vectors.shape)}")
        self.item_vectors.copy_(kept)

    def user(self, states: Tensor) -> Tensor:
        """See `Scorer`."""
        if self.same_axes and self.whitening is not None:
            states = (states - self.whitening.mean) @ self.whitening.basis
        return normalize(self.user_projection(states), dim=-1) / self.temperature

    @property
    def width(self) -> int:
        """See `Scorer`."""
        projection = self.item_projection
        return projection.out_features if isinstance(projection, nn.Linear) else self.item_vectors.shape[1]

    def items(self, features: Sequence[Tensor] = ()) -> Tensor:
        """See `Scorer`."""
        return normalize(sum(features, self.item_projection(self.item_vectors)), dim=-1)


class IdHead(Scorer):
    """Inner product with a trainable item table, which may start as the ID model's."""

    def __init__(self, n_items: int, state_width: int, id_width: int) -> None:
        super().__init__()
        self.projection = nn.Linear(state_width, id_width)
        self.table = nn.Parameter(torch.randn(n_items, id_width) * id_width**-0.5)

    def load_table(self, table: Tensor) -> None:
        """Start from ``table`` [N, D]."""
        if table.shape != self.table.shape:
            raise ValueError(f"the item table is {tuple(table.shape)}, expected {tuple(self.table.shape)}")
        with torch.no_grad():
            self.table.copy_(table)

    def user(self, states: Tensor) -> Tensor:
        """See `Scorer`."""
        return self.projection(states)

    @property
    def width(self) -> int:
        """See `Scorer`."""
        return self.table.shape[1]

    def items(self, features: Sequence[Tensor] = ()) -> Tensor:
        """See `Scorer`."""
        return sum(features, self.table)


def create_scorer(config: LLMConfig, n_items: int, state_width: int, id_width: int) -> Scorer:
    """The scorer that ``config.scorer`` asks for; the ID model's width D is used by id_head only."""
    if config.scorer.kind == "id_head":
        return IdHead(n_items, state_width, id_width)
    cosine, moving = config.scorer, config.item_pooling == "history"
    return SuffixCosine(n_items, state_width, config.whiten_width, cosine.width, cosine.temperature, recentre=moving)
