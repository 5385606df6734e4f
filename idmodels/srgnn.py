"""SR-GNN: a history as a graph of its items (Wu et al., AAAI 2019), with RecBole 1.2.1's weights and arithmetic.

The graph of a history has its different items as nodes and an edge for each pair of neighbours in it. Gated steps pass
the mean of the nodes before and after to each node; the state joins the last item's vector with an attention over all.
RecBole builds dense matrices history by history in Python; here the graphs of a whole batch are one edge list. Every
prefix of a history is its own graph, so position t sees items 0..t only. Nodes of one item start alike: all products of
the first step are made once per item, and only their means per node.

Letters: B batch, L history length, D width, M prefixes, T items of all prefixes together, V nodes of all graphs,
I vectors that the nodes hold (different items at first, then as many as nodes), E edges.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from idmodels.contract import IDModel
from idmodels.pyg import neighbours, weighted_sum
from idmodels.settings import IDSettings


class SRGNN(IDModel):
    """``settings.layers`` gated steps, then attention queried by the last item."""

    any_table = True

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
        nodes, node = torch.unique(row * len(table) + prefixes[real], return_inverse=True)  # [V], [T]
        edges = _edges(row, node, len(nodes))
        items, held = torch.unique(nodes % len(table), return_inverse=True)  # [I], [V]
        hidden = F.embedding(items, table)  # [I, D], from the first step on [V, D]
        for step in range(self.settings.layers):
            hidden = self.gnn(hidden, held if step == 0 else torch.arange(len(nodes), device=held.device), edges)
        final = hidden[node[real.sum(dim=1).cumsum(0) - 1]]  # [M, D] node of each prefix's last item
        query, key = self.linear_one(final), self.linear_two(hidden)
        weight = self.linear_three(torch.sigmoid(query[row] + key[node]))  # [T, 1]
        pooled = torch.zeros_like(final).index_add(0, row, weight * hidden[node])
        # Under autocast the last product is in its dtype; states are kept in the table's.
        return self.tempered(self.linear_transform(torch.cat([pooled, final], dim=1)).to(table.dtype))


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
        self.mean = weighted_sum("SR-GNN")

    def forward(self, vectors: Tensor, held: Tensor, edges: Tensor) -> Tensor:
        """vectors [I, D], the one that each node holds [V], edges [2, E] from earlier to later nodes -> [V, D]."""
        earlier, later = edges
        weight_in, weight_out = self.w_ih.chunk(2, dim=1)  # [3 * D, D] each
        # A mean of products is the product of the mean: what a node receives is made of I products, not V.
        before = self.mean(
            F.linear(self.linear_edge_in(vectors), weight_in), _means(later, held[earlier], held, vectors)
        )
        after = self.mean(
            F.linear(self.linear_edge_out(vectors), weight_out), _means(earlier, held[later], held, vectors)
        )
        received = before + after + F.linear(torch.cat([self.b_iah, self.b_ioh]), self.w_ih, self.b_ih)  # [V, 3 * D]
        reset_in, update_in, new_in = received.chunk(3, dim=1)
        reset_own, update_own, new_own = F.linear(vectors, self.w_hh, self.b_hh)[held].chunk(3, dim=1)
        update = torch.sigmoid(update_in + update_own)
        new = torch.tanh(new_in + torch.sigmoid(reset_in + reset_own) * new_own)
        return (1 - update) * vectors[held] + update * new


def _means(nodes: Tensor, heard: Tensor, held: Tensor, vectors: Tensor) -> Tensor:
    """Sparse [V, I] matrix whose rows average the vectors ``heard`` [E] that each of ``nodes`` [E] hears."""
    share = torch.bincount(nodes, minlength=len(held)).clamp(min=1).to(vectors.dtype).reciprocal()
    return neighbours(nodes, heard, share[nodes], (len(held), len(vectors)))


def _edges(row: Tensor, node: Tensor, n_nodes: int) -> Tensor:
    """Different pairs of neighbours, [2, E]; row [T] and node [T] of each item, history after history."""
    follows = row[1:] == row[:-1]
    pairs = torch.unique(node[:-1][follows] * n_nodes + node[1:][follows])
    return torch.stack([pairs // n_nodes, pairs % n_nodes])
