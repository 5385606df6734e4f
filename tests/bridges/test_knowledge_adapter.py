import pytest
import torch
from torch.nn import functional as F

from bridges.errors import BridgeError
from bridges.experts import ExpertAdapter
from bridges.knowledge_adapter import KnowledgeAdapter

SIZES = {"components": 4, "shared_experts": 2, "specific_experts": 3, "hidden": 6, "width": 5}


def make(**changes) -> KnowledgeAdapter:
    torch.manual_seed(0)
    bridge = KnowledgeAdapter(n_users=7, n_items=9, llm_width=8, **(SIZES | changes))
    bridge.set_knowledge(torch.randn(7, 8), torch.randn(9, 8))
    return bridge


def test_features_by_hand():
    adapter = ExpertAdapter(("user", "item"), width=2, shared=1, specific=1, hidden=1, out=1)
    for experts, inner, outer in (
        (adapter.shared, [[1.0], [0.0]], 3.0),
        (adapter.specific["user"], [[0.0], [1.0]], 5.0),
    ):
        experts.inner.data, experts.outer.data = torch.tensor([inner]), torch.tensor([[[outer]]])
    adapter.gates["user"].weight.data = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    adapter.gates["user"].bias.data.zero_()
    # z = (2, 4): shared expert 3 * 2, own expert 5 * 4; gate softmax(2, 0)
    share = torch.sigmoid(torch.tensor(2.0))
    found = adapter("user", torch.tensor([[2.0, 4.0]]))
    torch.testing.assert_close(found, (share * 6 + (1 - share) * 20).reshape(1, 1))
    # A negative coordinate is cut by the ReLU: z = (-1, 4) leaves the own expert alone, gate softmax(-1, 0).
    torch.testing.assert_close(adapter("user", torch.tensor([[-1.0, 4.0]])), torch.sigmoid(torch.tensor([[1.0]])) * 20)


def test_shared_experts_learn_from_both_towers_and_specific_ones_from_their_own():
    bridge = make().train()
    bridge.pair_features(torch.tensor([1, 2]), torch.tensor([3, 4]))[:, :5].sum().backward()  # the user's half
    adapter = bridge.adapter
    assert adapter.shared.inner.grad.abs().sum() > 0
    assert adapter.specific["user"].inner.grad.abs().sum() > 0
    assert adapter.specific["item"].inner.grad is None or not adapter.specific["item"].inner.grad.any()


@pytest.mark.parametrize(("shared", "specific"), [(0, 3), (2, 0)])
def test_shared_or_specific_experts_alone(shared, specific):
    bridge = make(shared_experts=shared, specific_experts=specific)
    assert bridge.pair_features(torch.tensor([0]), torch.tensor([1])).shape == (1, 10)
    with pytest.raises(BridgeError, match="both 0"):
        make(shared_experts=0, specific_experts=0)


def test_serving_is_a_lookup_that_gives_the_same():
    bridge = make()
    users, items = torch.tensor([0, 6, 3]), torch.tensor([1, 8, 5])
    learnt = bridge.train().pair_features(users, items)
    with torch.no_grad():
        served = bridge.eval().pair_features(users, items)
    torch.testing.assert_close(served, learnt.detach())
    tables = bridge.tables()
    assert (tables["user"].shape, tables["item"].shape) == ((7, 5), (9, 5))
    assert torch.equal(served, torch.cat([tables["user"][users], tables["item"][items]], dim=1))


def test_tables_follow_the_weights():
    bridge, pair = make().eval(), (torch.tensor([0]), torch.tensor([1]))
    other = make().eval()
    with torch.no_grad():
        before = bridge.pair_features(*pair)
        bridge.train()
        bridge.adapter.gates["user"].bias.data[0] += 1
        changed = bridge.eval().pair_features(*pair)
        assert not torch.equal(changed, before)
        bridge.load_state_dict(other.state_dict())
        assert torch.equal(bridge.pair_features(*pair), before)


def test_what_the_llm_wrote_reaches_the_features():
    first, second = make(), make()
    second.set_knowledge(torch.randn(7, 8), torch.randn(9, 8))
    pair = torch.tensor([2]), torch.tensor([2])
    assert not torch.allclose(first.pair_features(*pair), second.pair_features(*pair))


def test_nothing_is_added_before_there_is_knowledge():
    bridge = KnowledgeAdapter(n_users=7, n_items=9, llm_width=8, **SIZES)
    assert not bridge.pair_features(torch.tensor([1, 2]), torch.tensor([3, 4])).any()


def test_a_user_without_knowledge_stands_at_the_mean():
    bridge = make()
    users = torch.randn(7, 8)
    users[4] = users[[0, 1, 2, 3, 5, 6]].mean(dim=0)
    bridge.set_knowledge(users, torch.randn(9, 8))
    torch.testing.assert_close(bridge.user_vectors[5], torch.zeros(4), atol=1e-5, rtol=0)


def test_a_planted_taste_is_learnt():
    torch.manual_seed(1)
    users, items = torch.randn(7, 8), torch.randn(9, 8)
    bridge = make(width=4, hidden=16)
    bridge.set_knowledge(users, items)
    head = torch.nn.Bilinear(4, 4, 1)
    pairs = torch.cartesian_prod(torch.arange(7), torch.arange(1, 9))
    wanted = (users[pairs[:, 0], 0] * items[pairs[:, 1], 0] > 0).float()  # both like the same first direction
    optimizer = torch.optim.Adam([*bridge.adapter.parameters(), *head.parameters()], 0.02)
    for _ in range(150):
        optimizer.zero_grad()
        user, item = bridge.pair_features(*pairs.T).split(4, dim=1)
        loss = F.binary_cross_entropy_with_logits(head(user, item).squeeze(1), wanted)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1


def test_knowledge_of_another_number_of_users():
    with pytest.raises(BridgeError, match="6 user vectors, expected 7"):
        make().set_knowledge(torch.randn(6, 8), torch.randn(9, 8))


def test_share_of_the_shared_experts_is_measured_while_it_learns():
    bridge = make(shared_experts=1, specific_experts=1)
    for tower in ("user", "item"):
        bridge.adapter.gates[tower].weight.data.zero_()
        bridge.adapter.gates[tower].bias.data = torch.tensor([0.0, -1.0 if tower == "user" else 1.0])
    bridge.pair_features(torch.tensor([1, 2]), torch.tensor([3, 4]))
    share = torch.sigmoid(torch.tensor(1.0)).item()
    assert bridge.metrics() == pytest.approx({"shared_user": share, "shared_item": 1 - share})
