"""DIN: a user's interest depends on what is offered (Zhou et al., KDD 2018).

What the user thought of a behaviour is added to its item vector. Letters: B batch, L history length, D id width; the
user state is as wide as an item, S = D.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from idmodels.click import ClickBatch, EmbeddedClicks
from idmodels.click_layers import AttentionUnit, mark_embedding, mlp, real_positions
from idmodels.click_settings import ClickSettings


class DIN(EmbeddedClicks):
    """Attention unit over the history, then an MLP on interest, target and their product."""

    def __init__(self, n_items: int, settings: ClickSettings) -> None:
        super().__init__(n_items, settings)
        self.mark_embedding = mark_embedding(settings.width)
        self.attention = AttentionUnit(settings.width, settings.attention_widths, settings.activation)
        width = 3 * settings.width + settings.feature_width
        self.predict = mlp([width, *settings.hidden_widths], settings.activation, settings.dropout)

    @property
    def state_width(self) -> int:
        """See `ClickModel`."""
        return self.settings.width

    def user_state(self, batch: ClickBatch) -> Tensor:
        """See `ClickModel`: the history pooled by the attention unit, [B, D]."""
        table = self.item_table()
        return self._interest(table, batch, F.embedding(batch.targets, table))

    def logits(self, batch: ClickBatch) -> Tensor:
        """See `ClickModel`."""
        table = self.item_table()
        target = F.embedding(batch.targets, table)  # [B, D]
        interest = self._interest(table, batch, target)
        inputs = [interest, target, interest * target, self.pair_features(batch)]
        return self.predict(torch.cat(inputs, dim=1)).squeeze(1)

    def _interest(self, table: Tensor, batch: ClickBatch, target: Tensor) -> Tensor:
        self.check_length(batch.histories)
        items = F.embedding(batch.histories, table, padding_idx=0) + self.mark_embedding(batch.marks)  # [B, L, D]
        return self.attention(items, real_positions(batch.histories, batch.lengths), target)
