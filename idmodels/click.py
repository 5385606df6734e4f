"""What every click model promises.

Letters: B batch, L history length, N items (row 0 is padding), D id width, S width of a user state.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from idmodels.click_settings import ClickSettings
from idmodels.errors import IDModelError, check_length

UNKNOWN, DISLIKED, LIKED = 0, 1, 2
"""Marks of a behaviour: what the user thought of it."""


@dataclass(frozen=True)
class ClickBatch:
    """B users with what they did and what they are shown. What stands beyond a history's length is never read."""

    users: Tensor
    """[B] rows from 0; read by models with a user table only."""
    histories: Tensor
    """[B, L] items, right-padded with 0 and left-aligned."""
    marks: Tensor
    """[B, L] `UNKNOWN`, `DISLIKED` or `LIKED`."""
    lengths: Tensor
    """[B]."""
    targets: Tensor
    """[B] the items shown."""
    labels: Tensor
    """[B] 1 where it was clicked (liked), else 0; read by `ClickModel.loss` only."""

    def to(self, device: torch.device | str) -> "ClickBatch":
        """The same batch on another device."""
        return ClickBatch(*(getattr(self, field.name).to(device) for field in fields(self)))


class ClickModel(nn.Module, ABC):
    """Whether a user with this history would click this target: ``sigmoid(logits)``."""

    settings: ClickSettings

    def __init__(self, n_items: int, settings: ClickSettings) -> None:
        super().__init__()
        self.n_items, self.settings = n_items, settings
        # Lists hide the callables from nn.Module: features belong to a bridge, not to this model's weights.
        self._item_features: list[Callable[[], Tensor]] = []
        self._pair_features: list[Callable[[Tensor, Tensor], Tensor]] = []

    @property
    @abstractmethod
    def width(self) -> int:
        """Width D of an item vector."""

    @property
    @abstractmethod
    def state_width(self) -> int:
        """Width S of a user state."""

    @abstractmethod
    def user_state(self, batch: ClickBatch) -> Tensor:
        """What of the history matters to the target, [B, S]; 0 for an empty history.

        Raises IDModelError where L exceeds ``settings.max_length``.
        """

    @abstractmethod
    def logits(self, batch: ClickBatch) -> Tensor:
        """Logit of a click on each target, [B]."""

    @abstractmethod
    def own_table(self) -> Tensor:
        """The model's own item vectors, [N, D]."""

    def loss(self, batch: ClickBatch) -> Tensor:
        """Mean binary cross-entropy against the labels, and what else the model trains with."""
        return F.binary_cross_entropy_with_logits(self.logits(batch).float(), batch.labels.float())

    def attach_item_features(self, features: Callable[[], Tensor]) -> None:
        """Add ``features()`` [N, D] to the item table from now on."""
        self._item_features.append(features)

    def attach_pair_features(self, features: Callable[[Tensor, Tensor], Tensor]) -> None:
        """Read ``features(users, targets)``, [B] and [B] -> [B, F], from now on; F is ``settings.feature_width``.

        Raises IDModelError where the model was made for no features.
        """
        if not self.settings.feature_width:
            raise IDModelError(f"{self.settings.model}: was made without features (feature_width 0)")
        self._pair_features.append(features)

    def pair_features(self, batch: ClickBatch) -> Tensor:
        """What is attached for each user and target, [B, F]; zero until something is."""
        total = torch.zeros(len(batch.targets), self.settings.feature_width, device=batch.targets.device)
        for features in self._pair_features:
            total = total + features(batch.users, batch.targets)
        return total

    def item_table(self) -> Tensor:
        """The item vectors of histories and targets, [N, D]."""
        table = self.own_table()
        for features in self._item_features:
            table = table + features()
        return table

    def check_length(self, histories: Tensor) -> None:
        """Raise IDModelError where the histories [B, L] are longer than ``settings.max_length``."""
        check_length(histories.shape[1], self.settings.max_length)


class EmbeddedClicks(ClickModel):
    """A click model over an item table of its own."""

    def __init__(self, n_items: int, settings: ClickSettings) -> None:
        super().__init__(n_items, settings)
        self.item_embedding = nn.Embedding(n_items, settings.width, padding_idx=0)
        nn.init.normal_(self.item_embedding.weight, std=settings.width**-0.5)

    @property
    def width(self) -> int:
        """See `ClickModel`."""
        return self.settings.width

    def own_table(self) -> Tensor:
        """See `ClickModel`."""
        return self.item_embedding.weight
