"""DCN-V2: layers that multiply the input with itself, beside an MLP (Wang et al., WWW 2021).

A cross layer is ``x' = x_0 * (W x + b) + x``. The fields are those of `idmodels.deepfm`.
Letters: B batch, N items, D id width; the user state is both means, S = 2 D.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from idmodels.click import ClickBatch
from idmodels.click_layers import mlp, pooled_by_mark
from idmodels.click_settings import ClickSettings
from idmodels.pooled_clicks import PooledClicks


class DCNv2(PooledClicks):
    """Cross layers and an MLP side by side, each with a weight of its own in the sum."""

    def __init__(self, n_items: int, settings: ClickSettings) -> None:
        super().__init__(n_items, settings)
        width = 3 * settings.width + settings.feature_width
        self.cross = nn.ModuleList(nn.Linear(width, width) for _ in range(settings.cross_layers))
        self.cross_weight = nn.Linear(width, 1)
        self.predict = mlp([width, *settings.hidden_widths], settings.activation, settings.dropout)

    def logits(self, batch: ClickBatch) -> Tensor:
        """See `ClickModel`."""
        self.check_length(batch.histories)
        table = self.item_table()
        target = F.embedding(batch.targets, table)
        fields = torch.cat([*pooled_by_mark(table, batch), target, self.pair_features(batch)], dim=1)  # [B, 3 * D + F]
        crossed = fields
        for layer in self.cross:
            crossed = fields * layer(crossed) + crossed
        return (self.cross_weight(crossed) + self.predict(fields)).squeeze(1)
