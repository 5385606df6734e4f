"""What every ID model promises.

Letters: B batch, L history length, N items (row 0 is padding), D id width, M scored positions.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

from torch import Tensor, nn

from idmodels.errors import IDModelError
from idmodels.settings import IDSettings


class IDModel(nn.Module, ABC):
    """A sequential recommender over item ids whose score is ``state @ item_table().T``.

    Histories are right-padded with 0 and left-aligned: the first item stands at position 0.
    """

    item_embedding: nn.Embedding
    settings: IDSettings

    def __init__(self, n_items: int, settings: IDSettings) -> None:
        super().__init__()
        self.n_items = n_items
        self.settings = settings
        # A list hides the callable from nn.Module: features belong to a bridge, not to this model's weights.
        self._item_features: list[Callable[[], Tensor]] = []

    @property
    def width(self) -> int:
        """Width D of a state and of an item vector."""
        return self.item_embedding.embedding_dim

    def attach_item_features(self, features: Callable[[], Tensor]) -> None:
        """Add ``features()`` [N, D] to the item table from now on: ``e_i = b_i + features_i``."""
        self._item_features.append(features)

    def item_table(self) -> Tensor:
        """The item vectors that histories are read with and targets are scored with, [N, D]."""
        table: Tensor = self.item_embedding.weight
        for features in self._item_features:
            table = table + features()
        return table

    def check_length(self, items: Tensor) -> None:
        """Raise IDModelError where the histories ``items`` [B, L] are longer than ``settings.max_length``."""
        length, longest = items.shape[1], self.settings.max_length
        if length > longest:
            raise IDModelError(f"histories of {length} items, but this model reads at most {longest} (max_length)")

    @abstractmethod
    def encode(self, items: Tensor, table: Tensor | None = None) -> Tensor:
        """States after each item: [B, L] ids -> [B, L, D]; position t has seen items 0..t only.

        ``table`` is ``item_table()`` where the caller has it already. States at padding are undefined.
        Raises IDModelError where L exceeds ``settings.max_length``.
        """
