"""What every ID model promises.

Letters: B batch, L history length, N items (row 0 is padding), D id width, M scored positions.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from idmodels.batches import IDBatch
from idmodels.errors import IDModelError, check_length
from idmodels.settings import IDSettings


@dataclass(frozen=True)
class Scored:
    """M states that each predict one item."""

    states: Tensor
    """[M, D] gradient flows."""
    targets: Tensor
    """[M] the item to predict."""
    rows: Tensor
    """[M] row of the train interaction that the state stands after; -1 where that has no meaning."""


class IDModel(nn.Module, ABC):
    """A sequential recommender over item ids whose score is ``state @ item_table().T``.

    Histories are right-padded with 0 and left-aligned: the first item stands at position 0.
    """

    causal: ClassVar[bool] = True
    """Whether position t of `encode` has seen items 0..t only, so that one pass trains every position."""
    any_table: ClassVar[bool] = False
    """Whether `encode` knows an item by its row of ``table`` alone, so that a table of more rows than N serves too."""
    own_loss: ClassVar[str] = ""
    """Name of the one loss that it learns by; empty: any loss of states and item table."""

    item_embedding: nn.Embedding
    settings: IDSettings
    n_users: int = 0
    """Users that it knows by themselves; 0: it serves from histories alone."""
    popularity: Tensor | None
    """[N] how often each item is in the train part; absent until `read_interactions`. What an empty history gets."""

    def __init__(self, n_items: int, settings: IDSettings) -> None:
        super().__init__()
        self.n_items = n_items
        self.settings = settings
        # A list hides the callable from nn.Module: features belong to a bridge, not to this model's weights.
        self._item_features: list[Callable[[], Tensor]] = []
        self.register_buffer("popularity", None, persistent=False)

    @property
    def has_states(self) -> bool:
        """Whether its scores are ``state @ item_table().T``; if not, `scores` is all there is to rank by."""
        return True

    @property
    def width(self) -> int:
        """Width D of a state and of an item vector."""
        return self.item_embedding.embedding_dim

    def attach_item_features(self, features: Callable[[], Tensor]) -> None:
        """Add ``features()`` [N, D] to the item table from now on: ``e_i = b_i + features_i``."""
        self._item_features.append(features)

    def item_table(self) -> Tensor:
        """The item vectors that histories are read with and targets are scored with, [N, D].

        Of length 1 where ``settings.temperature`` is above 0.
        """
        table = self.raw_table()
        return F.normalize(table, dim=1) if self.settings.temperature > 0 else table

    def raw_table(self) -> Tensor:
        """Own item vectors and attached features, of any length, [N, D]."""
        table = self.own_table()
        for features in self._item_features:
            table = table + features()
        return table

    def own_table(self) -> Tensor:
        """The model's own item vectors, [N, D]."""
        return self.item_embedding.weight

    def tempered(self, states: Tensor) -> Tensor:
        """The last step of `encode`: with a temperature, states [..., D] of length 1 / temperature.

        Then ``state @ item_table().T`` is the cosine over the temperature.
        """
        temperature = self.settings.temperature
        return F.normalize(states, dim=-1) / temperature if temperature > 0 else states

    def load_plain(self, state: dict[str, Tensor]) -> None:
        """Take the weights of a plain model of the same kind; features that are attached here stay attached."""
        own = {name: name.replace("parametrizations.weight.original", "weight") for name in self.state_dict()}
        self.load_state_dict({name: state[plain] for name, plain in own.items()})

    def fold(self, state: dict[str, Tensor], table: Tensor) -> None:
        """Put ``item_table()`` [N, D] in the place of the weights in ``state`` that `own_table` is made of."""
        state["item_embedding.weight"] = table

    def check_length(self, items: Tensor) -> None:
        """Raise IDModelError where the histories ``items`` [B, L] are longer than ``settings.max_length``."""
        check_length(items.shape[1], self.settings.max_length)

    def check_items(self, items: Tensor) -> None:
        """Raise IDModelError where an id in ``items``, of any shape, is outside the model's N rows."""
        low, high = (int(edge) for edge in items.aminmax()) if items.numel() else (0, 0)
        if low < 0 or high >= self.n_items:
            wrong = low if low < 0 else high
            raise IDModelError(f"item id {wrong} in a history; this model knows items 1 to {self.n_items - 1}")

    def read_interactions(self, items: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> None:
        """Called once before training with the train part: user u has ``items[starts[u]:ends[u]]``, in time order.

        Most models keep the items' popularity only.
        """
        counts = torch.from_numpy(np.bincount(items, minlength=self.n_items))
        self.popularity = counts.to(next(self.parameters()).device)

    @abstractmethod
    def encode(self, items: Tensor, table: Tensor | None = None) -> Tensor:
        """States after each item: [B, L] ids -> [B, L, D]; position t has seen items 0..t only if ``causal``.

        ``table`` is ``item_table()`` where the caller has it already. States at padding are undefined.
        Raises IDModelError where L exceeds ``settings.max_length``.
        """

    def training_states(self, batch: IDBatch, table: Tensor) -> Scored:
        """What the loss is computed from: M states and the items they must predict.

        Every position with a target, from one pass; a model that is not ``causal`` must hide the targets from itself.
        """
        positions = batch.targets != 0  # [B, L]
        states = self.encode(batch.items, table)[positions]
        return Scored(states, batch.targets[positions], batch.rows[positions])

    def training_loss(
        self, batch: IDBatch, table: Tensor, loss: Callable[[Tensor, Tensor, Tensor], Tensor]
    ) -> tuple[Tensor, Scored | None]:
        """The mean loss of a batch, and the states it was computed from (None where the model has no states).

        loss: of states [M, D], item table [N, D] and targets [M]; a model with a loss of its own leaves it out.
        """
        scored = self.training_states(batch, table)
        return loss(scored.states, table, scored.targets), scored

    def scores(self, histories: Tensor, lengths: Tensor, users: Tensor | None = None) -> Tensor:
        """Score of every item after each history: [B, L] ids and their lengths [B] -> [B, N].

        users [B]: rows of users that the model knows by themselves, from 0; -1 and None: nobody it knows. An empty
        history scores every item 0. Raises IDModelError for an item id outside the N rows.
        """
        self.check_items(histories)
        table = self.item_table()
        return self.last_states(histories, lengths, table) @ table.T

    def last_states(self, histories: Tensor, lengths: Tensor, table: Tensor | None = None) -> Tensor:
        """State that predicts the item after each history: [B, L] ids and their lengths [B] -> [B, D].

        An empty history has the state 0, which scores every item alike. Gradient and dropout are the caller's choice.
        """
        states = self.encode(histories, table)  # [B, L, D]
        last = (lengths - 1).clamp(min=0)
        picked = states[torch.arange(len(states), device=states.device), last]
        return picked * (lengths > 0).unsqueeze(1)
