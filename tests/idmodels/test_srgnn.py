"""SR-GNN's session graphs; its scores are compared with RecBole's in tests/parity."""

import pytest
import torch
from torch import Tensor

from idmodels.settings import IDSettings
from idmodels.srgnn import SRGNN, _edges


def _model(layers: int = 1) -> SRGNN:
    torch.manual_seed(0)
    return SRGNN(9, IDSettings("srgnn", 6, 8, layers=layers, heads=1)).double().eval()


def _dense_step(model: SRGNN, hidden: Tensor, adjacency: Tensor) -> Tensor:
    """One gated step of one graph with a dense adjacency [V, V] (from, to)."""
    gnn = model.gnn
    into = adjacency.T / adjacency.sum(0).clamp(min=1).unsqueeze(1)
    out = adjacency / adjacency.sum(1).clamp(min=1).unsqueeze(1)
    received = torch.cat(
        [into @ gnn.linear_edge_in(hidden) + gnn.b_iah, out @ gnn.linear_edge_out(hidden) + gnn.b_ioh], 1
    )
    given, kept = received @ gnn.w_ih.T + gnn.b_ih, hidden @ gnn.w_hh.T + gnn.b_hh
    (r1, z1, n1), (r2, z2, n2) = given.chunk(3, 1), kept.chunk(3, 1)
    update = torch.sigmoid(z1 + z2)
    return (1 - update) * hidden + update * torch.tanh(n1 + torch.sigmoid(r1 + r2) * n2)


@pytest.mark.parametrize("layers", [1, 3])
def test_state_of_a_history_with_repeats_equals_the_dense_graph(layers: int) -> None:
    # 3 -> 5 -> 3 -> 7 -> 7 -> 5 -> 3: nodes 3, 5, 7; the edge 5 -> 3 is there once though it is walked twice.
    model = _model(layers)
    history = torch.tensor([[3, 5, 3, 7, 7, 5, 3]])
    adjacency = torch.tensor([[0, 1, 1], [1, 0, 0], [0, 1, 1]]).double()
    hidden = model.item_embedding.weight[[3, 5, 7]]
    for _ in range(layers):
        hidden = _dense_step(model, hidden, adjacency)
    items = hidden[[0, 1, 0, 2, 2, 1, 0]]
    weights = model.linear_three(torch.sigmoid(model.linear_one(items[-1]) + model.linear_two(items)))
    expected = model.linear_transform(torch.cat([(weights * items).sum(0), items[-1]]))
    assert torch.allclose(model.encode(history)[0, -1], expected, atol=1e-12)


def test_edges_by_hand() -> None:
    # Two histories, nodes 0 1 0 1 and 2 3: the pair 0 1 stands twice, and 1 (end of the first) is not tied to 2.
    edges = _edges(torch.tensor([0, 0, 0, 0, 1, 1]), torch.tensor([0, 1, 0, 1, 2, 3]), 4)
    assert edges.T.tolist() == [[0, 1], [1, 0], [2, 3]]


def test_the_order_of_a_history_counts() -> None:
    model = _model()
    states = model.last_states(torch.tensor([[1, 2, 3], [2, 1, 3]]), torch.tensor([3, 3]))
    assert not torch.allclose(states[0], states[1], atol=1e-6)


def test_last_states_are_those_of_encode_and_zero_without_history() -> None:
    model = _model()
    histories = torch.tensor([[1, 2, 1, 4], [5, 6, 0, 0], [0, 0, 0, 0]])
    encoded = model.encode(histories)
    states = model.last_states(histories, torch.tensor([4, 2, 0]))
    assert torch.allclose(states[0], encoded[0, 3])
    assert torch.allclose(states[1], encoded[1, 1])
    assert torch.equal(states[2], torch.zeros(6).double())
    assert torch.equal(model.last_states(histories[2:], torch.tensor([0])), states[2:])
    assert torch.equal(model.encode(histories[2:]), torch.zeros(1, 4, 6).double())
