"""LightGCN against dense matrices, and on data whose right answer is known."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from idmodels.batches import IDBatches
from idmodels.lightgcn import LightGCN
from idmodels.saved import load_id_model, save_id_model
from idmodels.settings import IDSettings
from idmodels.training import fit

N_ITEMS = 8
# User 0 has item 2 twice, user 2 nothing; nobody has items 6 and 7.
ITEMS = np.array([1, 2, 2, 3, 3, 4, 5, 1])
STARTS, ENDS = np.array([0, 4, 7, 7]), np.array([4, 7, 7, 8])


def _model(layers: int = 2, **changes: float) -> LightGCN:
    torch.manual_seed(0)
    settings = IDSettings("lightgcn", 6, 9, layers=layers, heads=1, dropout=0.0)
    return LightGCN(N_ITEMS, IDSettings(**(vars(settings) | changes))).eval()


def _shares() -> Tensor:
    """The dense S = D_user^-1/2 A D_item^-1/2, [U, N]."""
    adjacency = torch.zeros(4, N_ITEMS)
    for user, item in [(0, 1), (0, 2), (0, 3), (1, 3), (1, 4), (1, 5), (3, 1)]:
        adjacency[user, item] = 1
    users, items = adjacency.sum(1).clamp(min=1), adjacency.sum(0).clamp(min=1)
    return adjacency / (users.unsqueeze(1) * items).sqrt()


def _dense_table(base: Tensor, layers: int) -> Tensor:
    shares, layer, total = _shares(), base, base
    for _ in range(layers):
        layer = shares.T @ (shares @ layer)
        total = total + layer
    return total / (layers + 1)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_propagation_equals_dense_matrices(layers: int) -> None:
    model = _model(layers)
    assert torch.equal(model.item_table(), model.item_embedding.weight)  # no graph yet
    model.read_interactions(ITEMS, STARTS, ENDS)
    expected = _dense_table(model.item_embedding.weight, layers)
    assert torch.allclose(model.item_table(), expected, atol=1e-6)
    assert not torch.allclose(expected[1:6], model.item_embedding.weight[1:6], atol=1e-2)
    # An item that nobody has keeps its share of the base only.
    assert torch.allclose(expected[6], model.item_embedding.weight[6] / (layers + 1))


def test_gradient_equals_that_of_dense_matrices() -> None:
    model = _model()
    model.read_interactions(ITEMS, STARTS, ENDS)
    mix = torch.randn(N_ITEMS, 6)
    (model.item_table() * mix).sum().backward()
    base = model.item_embedding.weight.detach().clone().requires_grad_()
    (_dense_table(base, 2) * mix).sum().backward()
    assert torch.allclose(model.item_embedding.weight.grad, base.grad, atol=1e-6)


def test_a_known_users_state_is_what_its_node_receives() -> None:
    # User 0's history read as a history gives the row of S that the graph has for user 0.
    model = _model()
    model.read_interactions(ITEMS, STARTS, ENDS)
    table = model.item_table()
    states = model.encode(torch.tensor([[1, 2, 2, 3]]), table)
    assert torch.allclose(states[0, 3], (_shares() @ table)[0], atol=1e-6)
    # After items 1 and 2: two users have item 1, one has item 2, and there are two items; the second 2 adds nothing.
    expected = (table[1] / 2**0.5 + table[2]) / 2**0.5
    assert torch.allclose(states[0, 1], expected, atol=1e-6)
    assert torch.allclose(states[0, 2], expected, atol=1e-6)


def test_features_are_smoothed_with_the_base() -> None:
    model = _model()
    model.read_interactions(ITEMS, STARTS, ENDS)
    features = torch.randn(N_ITEMS, 6)
    model.attach_item_features(lambda: features)
    assert torch.allclose(model.item_table(), _dense_table(model.item_embedding.weight + features, 2), atol=1e-6)


def test_a_saved_model_needs_no_graph(tmp_path: Path) -> None:
    model = _model()
    model.read_interactions(ITEMS, STARTS, ENDS)
    history = torch.tensor([[1, 3, 5]])
    save_id_model(model, tmp_path / "saved", None)
    loaded, _ = load_id_model(tmp_path / "saved")
    assert torch.equal(loaded.item_table(), model.item_table())
    assert torch.allclose(loaded.encode(history), model.encode(history), atol=1e-6)


def test_the_graph_follows_the_model_and_is_no_weight_of_it() -> None:
    model = _model()
    names = set(model.state_dict())
    model.read_interactions(ITEMS, STARTS, ENDS)
    assert set(model.state_dict()) == names == {"item_embedding.weight", "item_degrees"}
    assert model.double().item_table().dtype == torch.float64


def test_fitting_reads_the_train_part_only() -> None:
    # The batches hold users 0 and 1; user 3's item belongs to another part of the data.
    model = _model()
    fit(model, IDBatches(ITEMS, STARTS[:2], ENDS[:2], 9, 20, seed=0), epochs=1)
    assert model.to_users is not None
    assert model.to_users.to_dense().nonzero().tolist() == [[0, 1], [0, 2], [0, 3], [1, 3], [1, 4], [1, 5]]
    assert model.item_degrees.tolist() == [1, 1, 1, 2, 1, 1, 1, 1]


def test_a_neighbour_of_a_neighbour_is_found() -> None:
    # A chain of users: 1-2, 2-3, 3-4 and, apart from it, 5-6, 6-7. From item 1, item 3 is two steps away, item 6 none.
    items = np.array([1, 2, 2, 3, 3, 4, 5, 6, 6, 7] * 10)
    ends = np.arange(1, 51) * 2
    torch.manual_seed(0)
    model = LightGCN(N_ITEMS, IDSettings("lightgcn", 16, 9, layers=2, heads=1, dropout=0.0))
    losses = fit(model, IDBatches(items, ends - 2, ends, 9, 100, seed=0), epochs=150, learning_rate=2e-2)
    model.eval()
    scores = (model.encode(torch.tensor([[1]]))[0, 0] @ model.item_table().T).tolist()
    assert scores[2] > scores[3] > max(scores[5:])
    assert losses[-1] < losses[0] - 1


def test_without_torch_geometric_the_message_has_the_command() -> None:
    program = """
import sys
sys.modules["torch_geometric"] = None
from idmodels.errors import IDModelError
from idmodels.registry import create_id_model
from idmodels.settings import IDSettings
for name in ("lightgcn", "srgnn"):
    try:
        create_id_model(5, IDSettings(name))
    except IDModelError as error:
        print(error)
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    lines = ran.stdout.splitlines()
    assert lines[0] == "LightGCN needs torch-geometric, which is not installed: pip install torch-geometric"
    assert lines[1].startswith("SR-GNN needs torch-geometric")


def test_importing_the_package_imports_neither_pyg_nor_recbole() -> None:
    program = """
import sys
import idmodels, idmodels.registry
from idmodels.recbole_names import zoo_names
print(len(zoo_names()), *{"torch_geometric", "recbole"} & set(sys.modules))
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["31"]
