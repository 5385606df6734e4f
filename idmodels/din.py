"""DIN: a user's interest depends on what is offered (Zhou et al., KDD 2018).

Letters: B batch, L history length, D id width; the user state is as wide as an item, S = D.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from idmodels.click import ClickModel
from idmodels.click_layers import AttentionUnit, mlp, real_positions
from idmodels.click_settings import ClickSettings


class DIN(ClickModel):
    """Attention unit over the history, then an MLP on interest, target and their product."""

    def __init__(self, n_items: int, settings: ClickSettings) -> None:
        super().__init__(n_items, settings)
        self.attention = AttentionUnit(settings.width, settings.attention_widths, settings.activation)
        self.predict = mlp([3 * settings.width, *settings.hidden_widths], settings.activation, settings.dropout)

    @property
    def state_width(self) -> int:
        """See `ClickModel`."""
        return self.settings.width

    def user_state(self, histories: Tensor, lengths: Tensor, targets: Tensor) -> Tensor:
        """See `ClickModel`: the history pooled by the attention unit, [B, D]."""
        table = self.item_table()
        return self._interest(table, histories, lengths, F.embedding(targets, table))

    def logits(self, histories: Tensor, lengths: Tensor, targets: Tensor) -> Tensor:
        """See `ClickModel`."""
        table = self.item_table()
        target = F.embedding(targets, table)  # [B, D]
        interest = self._interest(table, histories, lengths, target)
        return self.predict(torch.cat([interest, target, interest * target], dim=1)).squeeze(1)

    def _interest(self, table: Tensor, histories: Tensor, lengths: Tensor, target: Tensor) -> Tensor:
        self.check_length(histories)
        items = F.embedding(histories, table, padding_idx=0)  # [B, L, D]
        return self.attention(items, real_positions(histories, lengths), target)
