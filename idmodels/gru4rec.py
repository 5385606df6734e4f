"""GRU4Rec: a GRU over the history (Tan et al., DLRS 2016), with RecBole 1.2.1's weights and arithmetic.

Every parameter has RecBole's name, so state dicts interchange. ``settings.inner_width`` is the width of the recurrent
state, ``settings.layers`` the number of recurrent layers.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from idmodels.contract import IDModel
from idmodels.dropout import dropout
from idmodels.recurrent import gru
from idmodels.settings import IDSettings


class GRU4Rec(IDModel):
    """Embedding dropout, GRU without biases, one linear layer back to the item width D."""

    any_table = True

    def __init__(self, n_items: int, settings: IDSettings) -> None:
        super().__init__(n_items, settings)
        self.item_embedding = nn.Embedding(n_items, settings.width, padding_idx=0)
        self.gru_layers = nn.GRU(settings.width, settings.inner_width, settings.layers, bias=False, batch_first=True)
        self.dense = nn.Linear(settings.inner_width, settings.width)
        nn.init.xavier_normal_(self.item_embedding.weight)
        # As in RecBole, only the first recurrent layer departs from torch's own initialisation.
        for name in ("weight_hh_l0", "weight_ih_l0"):
            nn.init.xavier_uniform_(self.gru_layers.get_parameter(name))

    def encode(self, items: Tensor, table: Tensor | None = None) -> Tensor:
        """States after each item, [B, L] -> [B, L, D]; raises IDModelError where L exceeds ``settings.max_length``."""
        self.check_length(items)
        table = self.item_table() if table is None else table
        embedded = F.embedding(items, table, padding_idx=0)  # [B, L, D]
        return self.tempered(self.dense(self._read(dropout(embedded, self.settings.dropout, self.training))))

    def _read(self, embedded: Tensor) -> Tensor:
        if embedded.device.type != "cpu":
            return self._read_as_weights_are(embedded)
        if torch.is_grad_enabled():
            return gru(self.gru_layers, embedded)
        hidden: Tensor = self.gru_layers(embedded)[0]
        return hidden

    def _read_as_weights_are(self, embedded: Tensor) -> Tensor:
        """Under autocast CUDA's GRU is in float16 whatever dtype was asked for, and nobody here scales the loss."""
        with torch.autocast(embedded.device.type, enabled=False):
            hidden: Tensor = self.gru_layers(embedded.to(self.dense.weight.dtype))[0]
        return hidden
