"""RecBole's sequential models as ID models: ``model="recbole:NARM"``, trained by RecBole's own loss.

Trained on RecBole's rows: one per target, with the L items before it. Histories are served as with any ID model; what a
model can't give (a state for the bridges) it says, see `IDModel.has_states`.

Letters: B batch, L history length, M targets, N items (row 0 is padding), U users, D id width.
"""

from collections.abc import Callable
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from idmodels.batches import IDBatch, padded_histories
from idmodels.contract import IDModel, Scored
from idmodels.errors import IDModelError
from idmodels.prefix_rows import prefix_rows
from idmodels.ragged import positions
from idmodels.recbole_names import zoo_name
from idmodels.recbole_stub import ZooData
from idmodels.recbole_zoo import ZooModel
from idmodels.settings import IDSettings

# What a dataset of interactions and texts does not hold.
_NEEDS = {
    **dict.fromkeys(("FDSA", "GRU4RecF", "S3Rec", "SASRecF"), "item features"),
    **dict.fromkeys(("GRU4RecKG", "KSR"), "vectors of a knowledge graph"),
}
_WITH_USERS = frozenset(("Caser", "DIEN", "FOSSIL", "FPMC", "HGN", "HRM", "NPE", "SHAN", "TransRec"))
_ROWS = 2048  # histories read at once where every position has a row of its own
_WEIGHTS = "zoo.model."


class ZooIDModel(IDModel):
    """A model of the zoo behind the contract of all ID models.

    Of the settings it reads ``max_length`` and ``recbole``, RecBole's own keys. n_users: U, for the models with a
    vector per user. Raises IDModelError for an unknown name or key, one that needs data that is not there, and a
    temperature.
    """

    own_loss: ClassVar[str] = "recbole"

    def __init__(self, n_items: int, settings: IDSettings, n_users: int = 0) -> None:
        super().__init__(n_items, settings)
        if settings.temperature > 0:
            raise IDModelError(f"{settings.model} scores in RecBole's way; leave temperature at 0")
        name = _usable_name(settings.model)
        self.n_users = n_users if name in _WITH_USERS else 0
        data = ZooData(n_items, self.n_users + 1)  # user row 0 is nobody known
        self.zoo = ZooModel(name, data, settings.recbole, settings.max_length)
        self._train: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None

    @property
    def item_embedding(self) -> nn.Embedding:  # type: ignore[override]
        """RecBole's own module with the item vectors."""
        return self.zoo.item_embedding

    @property
    def has_states(self) -> bool:
        """Whether RecBole's scores are inner products of a state that the history alone decides."""
        return self.zoo.has_states

    def own_table(self) -> Tensor:
        """See `IDModel`: attached features left out, though RecBole's module has them in its table."""
        return self.zoo.own_items()

    def raw_table(self) -> Tensor:
        """What states are multiplied with, attached features included, [N, D]."""
        return self.zoo.score_table()

    def attach_item_features(self, features: Callable[[], Tensor]) -> None:
        """Add ``features()`` [N, D] to the item vectors from now on, wherever RecBole's model reads them."""
        self.zoo.attach_item_features(features)

    def fold(self, state: dict[str, Tensor], table: Tensor) -> None:
        """Put the weights of a plain model in the place of ``state``, attached features folded in."""
        state.clear()
        state |= {f"{_WEIGHTS}{name}": weight for name, weight in self.zoo.folded_state().items()}

    def read_interactions(self, items: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> None:
        """Rows are cut from the whole train part, as RecBole cuts them; without it, from the windows of a batch."""
        super().read_interactions(items, starts, ends)
        lengths = ends - starts
        owners = np.full(len(items), -1, dtype=np.int64)
        owners[positions(starts, lengths)] = np.repeat(np.arange(len(starts)), lengths)
        self._train = items, starts, owners

    def encode(self, items: Tensor, table: Tensor | None = None) -> Tensor:
        """States after each item, every position from a row of its own: [B, L] -> [B, L, D].

        ``table`` is not used: RecBole's models read their own. Raises IDModelError for a model without states.
        """
        self.check_length(items)
        window, last = (items != 0).nonzero(as_tuple=True)
        seen = torch.arange(items.shape[1], device=items.device)
        states = self.own_table().new_zeros(*items.shape, self.width)
        for part in torch.arange(len(window), device=items.device).split(_ROWS):
            rows, ends = window[part], last[part]
            read = self._states(items[rows] * (seen <= ends.unsqueeze(1)), ends + 1)
            states = states.index_put((rows, ends), read)
        return states

    def last_states(self, histories: Tensor, lengths: Tensor, table: Tensor | None = None) -> Tensor:
        """State after each history [B, L] of lengths [B]: [B, D]; 0 for an empty one. See `encode`."""
        self.check_length(histories)
        known = torch.arange(histories.shape[1], device=histories.device) < lengths.unsqueeze(1)
        states = self._states(histories * known, lengths)
        return states.masked_fill((lengths == 0).unsqueeze(1), 0.0)

    def training_loss(
        self, batch: IDBatch, table: Tensor, loss: Callable[[Tensor, Tensor, Tensor], Tensor]
    ) -> tuple[Tensor, Scored | None]:
        """RecBole's own loss of the batch's rows, in float32; ``table`` and ``loss`` are not used."""
        histories, lengths, targets, rows, users = self._rows(batch)
        if not len(targets):
            return table.sum() * 0.0, Scored(table[:0], targets, rows) if self.has_states else None
        with torch.autocast(histories.device.type, enabled=False):
            value, states = self.zoo.loss_and_states(histories, lengths, targets, users)
        return value, None if states is None else Scored(states, targets, rows)

    def scores(self, histories: Tensor, lengths: Tensor, users: Tensor | None = None) -> Tensor:
        """RecBole's own score of every item, [B, N]; see `IDModel.scores`."""
        self.check_length(histories)
        return self.zoo.scores(histories, lengths, None if users is None or not self.n_users else users + 1)

    def _states(self, histories: Tensor, lengths: Tensor) -> Tensor:
        if not self.has_states:
            raise IDModelError(f"{self.settings.model} has no state that its scores are inner products with")
        with torch.autocast(histories.device.type, enabled=False):
            return self.zoo.states(histories, lengths)

    def _rows(self, batch: IDBatch) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]:
        """Histories [M, L], lengths, targets, rows and users [M] of the batch's targets."""
        histories, lengths, targets, rows = prefix_rows(batch)
        if self._train is None:
            return histories, lengths, targets, rows, None
        items, starts, owners = self._train
        places = rows.cpu().numpy()
        users = owners[places]
        histories, lengths = padded_histories(items, starts[users], places + 1, self.settings.max_length)
        known = torch.from_numpy(users + 1) if self.n_users else torch.zeros(len(users), dtype=torch.int64)
        device = targets.device
        return histories.to(device), lengths.to(device), targets, rows, known.to(device)


def _usable_name(model: str) -> str:
    name = zoo_name(model)
    if name in _NEEDS:
        raise IDModelError(f"{model} needs {_NEEDS[name]}, which an ID model is not given; see docs/recbole_zoo.md")
    return name
