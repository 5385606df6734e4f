"""What every click model promises.

Letters: B batch, L history length, N items (row 0 is padding), D id width, S width of a user state.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

from idmodels.click_settings import ClickSettings
from idmodels.errors import IDModelError


class ClickModel(nn.Module, ABC):
    """Whether a user with this history would click this target: ``sigmoid(logits)``.

    Histories are right-padded with 0 and left-aligned. What stands beyond a history's length is never read.
    """

    item_embedding: nn.Embedding
    settings: ClickSettings

    def __init__(self, n_items: int, settings: ClickSettings) -> None:
        super().__init__()
        self.n_items, self.settings = n_items, settings
        self.item_embedding = nn.Embedding(n_items, settings.width, padding_idx=0)
        nn.init.normal_(self.item_embedding.weight, std=settings.width**-0.5)
        # A list hides the callable from nn.Module: features belong to a bridge, not to this model's weights.
        self._item_features: list[Callable[[], Tensor]] = []

    @property
    @abstractmethod
    def state_width(self) -> int:
        """Width S of a user state."""

    @abstractmethod
    def user_state(self, histories: Tensor, lengths: Tensor, targets: Tensor) -> Tensor:
        """What of the history matters to the target: [B, L], [B], [B] -> [B, S]; 0 for an empty history.

        Raises IDModelError where L exceeds ``settings.max_length``.
        """

    @abstractmethod
    def logits(self, histories: Tensor, lengths: Tensor, targets: Tensor) -> Tensor:
        """Logit of a click on each target: [B, L], [B], [B] -> [B]."""

    def loss(self, histories: Tensor, lengths: Tensor, targets: Tensor, labels: Tensor) -> Tensor:
        """Mean binary cross-entropy against ``labels`` [B] of 0 and 1, and what else the model trains with."""
        return F.binary_cross_entropy_with_logits(self.logits(histories, lengths, targets), labels.float())

    def attach_item_features(self, features: Callable[[], Tensor]) -> None:
        """Add ``features()`` [N, D] to the item table from now on."""
        self._item_features.append(features)

    def item_table(self) -> Tensor:
        """The item vectors of histories and targets, [N, D]."""
        table: Tensor = self.item_embedding.weight
        for features in self._item_features:
            table = table + features()
        return table

    def check_length(self, histories: Tensor) -> None:
        """Raise IDModelError where the histories [B, L] are longer than ``settings.max_length``."""
        length, longest = histories.shape[1], self.settings.max_length
        if length > longest:
            raise IDModelError(f"histories of {length} items, but this model reads at most {longest} (max_length)")
