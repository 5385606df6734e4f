"""SR-GNN: a history as a graph of its items (Wu et al., AAAI 2019), with RecBole 1.2.1's weights and arithmetic.

The graph of a history has its different items as nodes and an edge for each pair of neighbours in it. Gated steps pass
the mean of the nodes before and after to each node; the state joins the last item's vector with an attention over all.
RecBole builds dense matrices history by history in Python; here the graphs of a whole batch are one edge list. Every
prefix of a history is its own graph, so position t sees items 0..t only.

Letters: B batch, L history length, D width, M prefixes, T items of all prefixes together, V nodes of all graphs.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from idmodels.contract import IDModel
from idmodels.pyg import mean_conv
from idmodels.settings import IDSettings


class SRGNN(IDModel):
    """``settings.layers`` gated steps, then attention queried by the last item."""

    def __init__(self, n_items: int, settings: IDSettings) -> None:
        super().__init__(n_items, settings)
        width = settings.width
        self.item_embedding = nn.Embedding(n_items, width, padding_idx=0)
        self.gnn = _GatedGraph(width)
        self.linear_one = nn.Linear(width, width)
        self.linear_two = nn.Linear(width, width)
        self.linear_three = nn.Linear(width, 1, bias=False)
        self.linear_transform = nn.Linear(width * 2, width)
        for weight in self.parameters():
            nn.init.uniform_(weight, -1 / math.sqrt(width), 1 / math.sqrt(width))

    def encode(self, items: Tensor, table: Tensor | None = None) -> Tensor:
        """States after each item, [B, L] -> [B, L, D]; raises IDModelError where L exceeds ``settings.max_length``."""
        self.check_length(items)
        table = self.item_table() if table is None else table
        states = table.new_zeros(*items.shape, self.width)
        window, last = (items != 0).nonzero(as_tuple=True)  # M prefixes
        if not len(window):
            return states
        seen = torch.arange(items.shape[1], device=items.device) <= last.unsqueeze(1)  # [M, L]
        states[window, last] = self._graph_states(items[window] * seen, table)
        return states

    def last_states(self, histories: Tensor, lengths: Tensor, table: Tensor | None = None) -> Tensor:
        """See `IDModel.last_states`; one graph per history instead of one per prefix."""
        self.check_length(histories)
        table = self.item_table() if table is None else table
        states = table.new_zeros(len(histories), self.width)
        known = lengths > 0
        if known.any():
            seen = torch.arange(histories.shape[1], device=histories.device) < lengths.unsqueeze(1)
            states[known] = self._graph_states((histories * seen)[known], table)
        return states

    def _graph_states(self, prefixes: Tensor, table: Tensor) -> Tensor:
        """[M, L] histories, none empty, 0 after their last item -> states [M, D]."""
        real = prefixes != 0
        row = real.nonzero(as_tuple=True)[0]  # [T] prefix of each item
        nodes, node = torch.unique(row * self.n_items + prefixes[real], return_inverse=True)  # [V], [T]
        edges = _edges(row, node, len(nodes))
        hidden = F.embedding(nodes % self.n_items, table)  # [V, D]
        for _ in range(self.settings.layers):
            hidden = self.gnn(hidden, edges)
        final = hidden[node[real.sum(dim=1).cumsum(0) - 1]]  # [M, D] node of each prefix's last item
        query, key = self.linear_one(final), self.linear_two(hidden)
        weight = self.linear_three(torch.sigmoid(query[row] + key[node]))  # [T, 1]
        pooled = torch.zeros_like(final).index_add(0, row, weight * hidden[node])
        return self.tempered(self.linear_transform(torch.cat([pooled, final], dim=1)))


class _GatedGraph(nn.Module):
    """A GRU-like step whose input is the mean over a node's predecessors and over its successors."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.w_ih = nn.Parameter(torch.empty(3 * width, 2 * width))
        self.w_hh = nn.Parameter(torch.empty(3 * width, width))
        self.b_ih = nn.Parameter(torch.empty(3 * width))
        self.b_hh = nn.Parameter(torch.empty(3 * width))
        self.b_iah = nn.Parameter(torch.empty(width))
        self.b_ioh = nn.Parameter(torch.empty(width))
        self.linear_edge_in = nn.Linear(width, width)
        self.linear_edge_out = nn.Linear(width, width)
        self.mean = mean_conv()

    def forward(self, hidden: Tensor, edges: Tensor) -> Tensor:
        """hidden [V, D], edges [2, E] from earlier to later -> [V, D]."""
        before = self.mean(self.linear_edge_in(hidden), edges) + self.b_iah
        after = self.mean(self.linear_edge_out(hidden), edges.flip(0)) + self.b_ioh
        received = F.linear(torch.cat([before, after], dim=1), self.w_ih, self.b_ih)  # [V, 3 * D]
        kept = F.linear(hidden, self.w_hh, self.b_hh)
        reset_in, update_in, new_in = received.chunk(3, dim=1)
        reset_own, update_own, new_own = kept.chunk(3, dim=1)
        update = torch.sigmoid(update_in + update_own)
        new = torch.tanh(new_in + torch.sigmoid(reset_in + reset_own) * new_own)
        return (1 - update) * hidden + update * new


def _edges(row: Tensor, node: Tensor, n_nodes: int) -> Tensor:
    """Different pairs of neighbours, [2, E]; row [T] and node [T] of each item, history after history."""
    follows = row[1:] == row[:-1]
    pairs = torch.unique(node[:-1][follows] * n_nodes + node[1:][follows])
    return torch.stack([pairs // n_nodes, pairs % n_nodes])
