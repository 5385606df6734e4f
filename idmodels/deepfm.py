"""DeepFM: a factorisation machine and an MLP over the same embeddings (Guo et al., IJCAI 2017).

The fields are the target, the mean of the behaviours that were liked, and the mean of those that were not.
Letters: B batch, N items, D id width; the user state is both means, S = 2 D.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from idmodels.click import ClickBatch
from idmodels.click_layers import mlp, pooled_by_mark
from idmodels.click_settings import ClickSettings
from idmodels.pooled_clicks import PooledClicks


class DeepFM(PooledClicks):
    """First-order weights, inner products of every two fields, and an MLP, added up."""

    def __init__(self, n_items: int, settings: ClickSettings) -> None:
        super().__init__(n_items, settings)
        self.item_weight = nn.Embedding(n_items, 1)
        nn.init.zeros_(self.item_weight.weight)
        self.field_weight = nn.Linear(2 * settings.width, 1)
        width = 3 * settings.width + settings.feature_width
        self.predict = mlp([width, *settings.hidden_widths], settings.activation, settings.dropout)

    def logits(self, batch: ClickBatch) -> Tensor:
        """See `ClickModel`."""
        self.check_length(batch.histories)
        table = self.item_table()
        liked, disliked = pooled_by_mark(table, batch)  # [B, D] each
        target = F.embedding(batch.targets, table)
        first = self.item_weight(batch.targets) + self.field_weight(torch.cat([liked, disliked], dim=1))
        pairs = (target * (liked + disliked) + liked * disliked).sum(dim=1, keepdim=True) * self.settings.width**0.5
        deep = self.predict(torch.cat([liked, disliked, target, self.pair_features(batch)], dim=1))
        return (first + pairs + deep).squeeze(1)
