"""LightGCN: item vectors smoothed over the user-item graph (He et al., SIGIR 2020), for histories instead of user ids.

The graph has an edge for every item a user has in the train part. Users have no vectors of their own: a user node
holds what its items send it, so one layer here is two hops, items to users and back, and the item table is the mean of
layers 0..K: ``e = (1 / (K + 1)) sum_k (S^T S)^k b`` with ``S = D_user^-1/2 A D_item^-1/2`` [U, N] and the trained base
``b``. A history's state is what a user node with these items would receive from the finished table,
``(1 / sqrt(n)) sum_i e_i / sqrt(d_i)`` over its n different items, d_i the users of item i: known and new users are
served alike, and no user is saved with the model.

A saved model has the smoothed table folded in and needs no graph; reading interactions into it would smooth twice.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from idmodels.contract import IDModel
from idmodels.dropout import dropout
from idmodels.pyg import neighbours, weighted_sum
from idmodels.ragged import positions
from idmodels.settings import IDSettings


class LightGCN(IDModel):
    """``settings.layers`` round trips over the graph; dropout on the history's items. It knows no order."""

    item_degrees: Tensor
    """[N] users of each item in the graph, at least 1; saved with the model."""
    to_users: Tensor | None
    """[U, N] sparse S; absent until `read_interactions` and in a loaded model."""
    to_items: Tensor | None
    """[N, U] sparse, the transpose."""

    def __init__(self, n_items: int, settings: IDSettings) -> None:
        super().__init__(n_items, settings)
        self.item_embedding = nn.Embedding(n_items, settings.width, padding_idx=0)
        nn.init.xavier_normal_(self.item_embedding.weight)
        self.conv = weighted_sum("LightGCN")
        self.register_buffer("item_degrees", torch.ones(n_items))
        self.register_buffer("to_users", None, persistent=False)
        self.register_buffer("to_items", None, persistent=False)

    def read_interactions(self, items: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> None:
        """Build the graph of the train part; an item that a user has twice is one edge."""
        super().read_interactions(items, starts, ends)
        lengths = ends - starts
        users = np.repeat(np.arange(len(starts)), lengths)
        edges = np.unique(users * self.n_items + items[positions(starts, lengths)])  # distinct pairs
        user, item = torch.from_numpy(edges // self.n_items), torch.from_numpy(edges % self.n_items)
        device = self.item_degrees.device
        degrees = torch.bincount(item, minlength=self.n_items).clamp(min=1)
        own = torch.bincount(user, minlength=len(starts)).clamp(min=1)
        weights = (own[user] * degrees[item]).float().rsqrt()
        self.item_degrees = degrees.float().to(device)
        self.to_users = neighbours(user, item, weights, (len(starts), self.n_items)).to(device)
        self.to_items = neighbours(item, user, weights, (self.n_items, len(starts))).to(device)

    def raw_table(self) -> Tensor:
        """Mean of the base, attached features included, and its smoothed forms, [N, D]; the base without a graph."""
        layer = super().raw_table()
        if self.to_users is None:
            return layer
        total = layer
        for _ in range(self.settings.layers):
            layer = self.conv(self.conv(layer, self.to_users), self.to_items)
            total = total + layer
        return total / (self.settings.layers + 1)

    def encode(self, items: Tensor, table: Tensor | None = None) -> Tensor:
        """States after each item, [B, L] -> [B, L, D]; raises IDModelError where L exceeds ``settings.max_length``."""
        self.check_length(items)
        table = self.item_table() if table is None else table
        fresh = _first_times(items)  # [B, L]
        shares = fresh * self.item_degrees[items].rsqrt()
        sent = F.embedding(items, table, padding_idx=0) * shares.unsqueeze(2)  # [B, L, D]
        sent = dropout(sent, self.settings.dropout, self.training)
        return self.tempered(sent.cumsum(1) * fresh.cumsum(1).clamp(min=1).rsqrt().unsqueeze(2))


def _first_times(items: Tensor) -> Tensor:
    """1 where an item stands in its history [B, L] for the first time, else 0 (padding too), as float."""
    earlier = torch.ones(items.shape[1], items.shape[1], dtype=torch.bool, device=items.device).tril(-1)
    again = ((items.unsqueeze(2) == items.unsqueeze(1)) & earlier).any(dim=2)
    return ((items != 0) & ~again).float()
