"""Read-back by hand: distances, the momentum write, and what it adds to the ID item table."""

import pytest
import torch

from bridges.errors import BridgeError
from bridges.protocols import ScoredBatch, TopFeatures
from bridges.readback import ReadBack

NOTHING = torch.empty(0, 2), torch.empty(0, dtype=torch.long)


def make(store, momentum=0.75, align_weight=0.5, pull_weight=0.0) -> ReadBack:
    """Heads that hand on the LLM's two-wide states as they are."""
    bridge = ReadBack(store, 30, 2, 2, momentum, align_weight, pull_weight)
    for head in (bridge.user_head, bridge.item_head):
        head.weight.data, head.bias.data = torch.eye(2), torch.zeros(2)
    return bridge


@pytest.fixture
def shared(store, put):
    """E_U of rows 0 and 1, E_I of all items: item i is (i, 0)."""
    put(store, "id", "user", torch.tensor([[2.0, 0.0], [0.0, 2.0]]), [0, 1])
    put(store, "id", "item", torch.stack([torch.arange(30.0), torch.zeros(30)], dim=1))
    return store


def items_read(*pairs):
    ids, vectors = zip(*pairs, strict=True)
    return TopFeatures(*NOTHING, torch.tensor(vectors), torch.tensor(ids))


def test_the_llms_loss_is_the_relative_distance_from_the_tables(shared):
    bridge = make(shared)
    user = torch.tensor([[2.0, 1.0], [9.0, 9.0], [0.0, 0.0]], requires_grad=True)
    features = TopFeatures(user, torch.tensor([0, -1, 1]), torch.tensor([[3.0, 4.0]]), torch.tensor([3]))
    loss = bridge.features_loss(features)
    # users: (1 + 4) / (4 + 4); the item: 16 / 9
    assert loss.item() == pytest.approx(0.5 * (5 / 8 + 16 / 9))
    loss.backward()
    assert user.grad[1].abs().sum() == 0
    assert user.grad[[0, 2]].abs().sum(dim=1).min() > 0
    assert bridge.user_head.weight.grad is not None
    assert bridge.metrics() == pytest.approx({"user_distance": 5 / 8, "item_distance": 16 / 9})


def test_nothing_is_read_back_from_rows_the_id_side_never_wrote(store, shared):
    bridge = make(shared)
    features = TopFeatures(torch.ones(2, 2), torch.tensor([-1, 7]), *NOTHING)
    assert bridge.features_loss(features) is None
    bridge.write_users(features, step=3)
    assert not shared.written("id", "user", torch.tensor([7])).any()


def test_users_are_mixed_into_the_table_with_the_momentum(shared):
    make(shared).write_users(TopFeatures(torch.tensor([[6.0, 4.0]]), torch.tensor([0]), *NOTHING), step=3)
    rows = shared.read("id", "user", torch.tensor([0, 1]))
    assert rows.tolist() == [[0.75 * 2 + 0.25 * 6, 0.25 * 4], [0.0, 2.0]]


def test_the_next_states_of_the_id_side_are_written_with_what_the_llm_changed(shared):
    bridge = make(shared)
    bridge.write_users(TopFeatures(torch.tensor([[6.0, 4.0]]), torch.tensor([0]), *NOTHING), step=3)
    states = bridge.shared_states(torch.tensor([[7.0, 7.0], [8.0, 8.0]]), torch.tensor([0, 1]))
    assert states.tolist() == [[7.0 + 3.0 - 2.0, 7.0 + 1.0], [8.0, 8.0]]


def test_items_are_mixed_in_and_the_change_goes_to_the_id_item_table(shared):
    bridge = make(shared)
    bridge.write_items(items_read((2, [6.0, 4.0]), (0, [9.0, 9.0])), step=3)
    assert shared.read("id", "item", torch.tensor([0, 2, 3])).tolist() == [[0, 0], [3.0, 1.0], [3.0, 0.0]]
    assert bridge.item_features()[2].tolist() == [1.0, 1.0]
    assert not bridge.item_features()[[0, 1, *range(3, 30)]].any()
    bridge.write_items(items_read((2, [3.0, 5.0])), step=4)  # (3, 1) -> (3, 2)
    assert bridge.item_features()[2].tolist() == [1.0, 2.0]
    assert shared.read("id", "item", torch.tensor([2])).tolist() == [[3.0, 2.0]]


def test_the_pull_reaches_the_id_model_and_only_where_it_has_a_weight(shared):
    states = torch.tensor([[2.0, 1.0], [5.0, 5.0]], requires_grad=True)
    matrix = torch.zeros(30, 2, requires_grad=True)
    batch = ScoredBatch(states, matrix, torch.tensor([3, 4]), torch.tensor([0, -1]))
    loss = make(shared, pull_weight=2.0).loss("id", batch)
    assert loss.item() == pytest.approx(2 * (1 / 4 + 1))  # a zero vector is as far away as its target is long
    loss.backward()
    assert states.grad[1].abs().sum() == 0
    assert (matrix.grad.abs().sum(dim=1) > 0).nonzero().flatten().tolist() == [3, 4]
    assert make(shared, pull_weight=2.0).loss("llm", batch) is None
    assert make(shared).loss("id", batch) is None


def test_the_heads_are_trained_by_the_llm_side(shared):
    bridge = make(shared)
    assert (bridge.direction, bridge.trained_by) == ("llm2id", "llm")


def test_a_momentum_of_one_is_refused(store):
    with pytest.raises(BridgeError, match=r"readback: momentum must be in \[0, 1\), got 1"):
        make(store, momentum=1.0)
