import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from bridges.errors import BridgeError
from bridges.mformer import MFormer
from bridges.mformer_blocks import Attention
from bridges.mformer_router import Router, balance_loss, entropy
from bridges.protocols import PromptContext

SIZES = {"experts": 4, "queries": 3, "width": 32, "blocks": 3, "heads": 4, "gate": True, "balance_weight": 0.01}


def make(**changes) -> MFormer:
    return MFormer(id_width=16, llm_width=48, embedding_norm=3.0, **({"other_widths": ()} | SIZES | changes))


def context_of(states: torch.Tensor) -> PromptContext:
    empty = torch.empty(0, dtype=torch.long)
    return PromptContext(states, torch.ones(states.shape[:2], dtype=torch.bool), empty, empty)


def test_balance_loss_by_hand():
    even = torch.tensor([[0.6, 0.4], [0.4, 0.6]])
    assert balance_loss(even).item() == pytest.approx(1.0)
    collapsed = torch.tensor([[0.9, 0.1], [0.7, 0.3]])  # f = (1, 0), P = (0.8, 0.2): 2 * 0.8
    assert balance_loss(collapsed).item() == pytest.approx(1.6)


def test_entropy_by_hand():
    assert entropy(torch.tensor([[0.25] * 4, [1.0, 0, 0, 0]])).tolist() == pytest.approx([math.log(4), 0.0])


def test_router_averages_the_softmax_of_real_items_and_takes_the_largest():
    router = Router(2, 2)
    router.linear.weight.data = torch.eye(2)
    states = torch.tensor([[[2.0, 0.0], [0.0, 1.0], [0.0, 99.0]]])
    routing = router(states, torch.tensor([[True, True, False]]))
    first = (torch.sigmoid(torch.tensor(2.0)) + torch.sigmoid(torch.tensor(-1.0))) / 2
    torch.testing.assert_close(routing.shares, torch.stack([first, 1 - first]).unsqueeze(0))
    assert routing.expert.tolist() == [0]
    torch.testing.assert_close(routing.share, first.unsqueeze(0))
    # Over the two real items f = (1/2, 1/2), whatever the padded one says.
    assert routing.balance.item() == pytest.approx(1.0)


def test_attention_equals_torchs_own():
    ours = Attention(8, 5, heads=2)
    theirs = nn.MultiheadAttention(8, 2, kdim=5, vdim=5, batch_first=True)
    theirs.q_proj_weight.data, theirs.k_proj_weight.data = ours.query.weight.data, ours.key.weight.data
    theirs.v_proj_weight.data = ours.value.weight.data
    theirs.in_proj_bias.data = torch.cat([ours.query.bias, ours.key.bias, ours.value.bias]).data
    theirs.out_proj.load_state_dict(ours.output.state_dict())
    queries, memory, mask = torch.randn(2, 3, 8), torch.randn(2, 4, 5), torch.arange(4) < torch.tensor([[4], [2]])
    expected, _ = theirs(queries, memory, memory, key_padding_mask=~mask)
    torch.testing.assert_close(ours(queries, memory, mask), expected)


def test_prefix_does_not_depend_on_padding(context):
    bridge = make()
    prefix = bridge.fill_slots(context).tokens["prefix"]
    padded = F.pad(context.id_states, (0, 0, 0, 5), value=torch.nan)
    padded[1, 2:] = torch.nan
    wider = replace(context, id_states=padded, id_mask=F.pad(context.id_mask, (0, 5)))
    torch.testing.assert_close(bridge.fill_slots(wider).tokens["prefix"], prefix)


def test_prefix_of_a_prompt_does_not_depend_on_the_others(context):
    bridge = make()
    together = bridge.fill_slots(context).tokens["prefix"]
    alone = bridge.fill_slots(replace(context, id_states=context.id_states[1:2], id_mask=context.id_mask[1:2]))
    torch.testing.assert_close(alone.tokens["prefix"], together[1:2])


def test_different_histories_give_different_prefixes():
    bridge = make(experts=1)  # one expert: the difference comes through cross-attention, not from the routing
    prefix = bridge.fill_slots(context_of(torch.randn(6, 5, 16))).tokens["prefix"]
    distances = torch.cdist(prefix.flatten(1), prefix.flatten(1))
    assert distances[~torch.eye(6, dtype=torch.bool)].min() > 0.5


def test_the_chosen_expert_and_only_it_gets_a_gradient():
    bridge = make(balance_weight=0.0)
    states = torch.randn(1, 5, 16)
    bridge.fill_slots(context_of(states)).tokens["prefix"].square().sum().backward()
    chosen = bridge.router(F.layer_norm(states, (16,)), torch.ones(1, 5, dtype=torch.bool)).expert.item()
    moved = bridge.experts.grad.abs().sum(dim=(1, 2)) > 0
    assert moved.tolist() == [i == chosen for i in range(4)]


def test_every_second_block_reads_the_history():
    assert [block.cross_attention is not None for block in make(blocks=4).blocks] == [True, False, True, False]


def test_an_empty_history_gets_the_learned_prefix(context):
    bridge = make()
    fill = bridge.fill_slots(context)
    assert torch.equal(fill.tokens["prefix"][2], bridge.no_history)
    (fill.tokens["prefix"].sum() + fill.loss).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in bridge.parameters())
    assert bridge.no_history.grad.abs().sum() > 0


@pytest.mark.parametrize("length", [0, 3])
def test_no_prompt_with_a_history(length):
    bridge = make()
    empty = torch.empty(0, dtype=torch.long)
    context = PromptContext(torch.randn(2, length, 16), torch.zeros(2, length, dtype=torch.bool), empty, empty)
    fill = bridge.fill_slots(context)
    assert torch.equal(fill.tokens["prefix"], bridge.no_history.expand(2, -1, -1))
    assert fill.loss is None
    assert bridge.metrics() == {}


@pytest.mark.parametrize("gate", [True, False])
def test_only_a_gated_router_learns_from_the_task(gate):
    bridge = make(gate=gate)
    target = torch.randn(4, 3, 48)
    prefix = bridge.fill_slots(context_of(torch.randn(4, 5, 16))).tokens["prefix"]
    (prefix - target).square().sum().backward()
    gradient = bridge.router.linear.weight.grad
    assert (gradient is not None and gradient.abs().sum() > 0) == gate


def test_the_gate_multiplies_by_the_share():
    bridge, states = make(), torch.randn(2, 5, 16)
    gated = bridge.fill_slots(context_of(states)).tokens["prefix"]
    bridge.gate = False
    plain = bridge.fill_slots(context_of(states)).tokens["prefix"]
    share = bridge.router(F.layer_norm(states, (16,)), torch.ones(2, 5, dtype=torch.bool)).share
    torch.testing.assert_close(gated, plain * share[:, None, None])


def test_no_gradient_reaches_the_id_side():
    states = torch.randn(2, 5, 16, requires_grad=True)
    fill = make().fill_slots(context_of(states))
    (fill.tokens["prefix"].sum() + fill.loss).backward()
    assert states.grad is None


def test_the_balance_weight_scales_the_loss():
    bridge, states = make(balance_weight=0.5), torch.randn(2, 5, 16)
    loss = bridge.fill_slots(context_of(states)).loss
    routing = bridge.router(F.layer_norm(states, (16,)), torch.ones(2, 5, dtype=torch.bool))
    torch.testing.assert_close(loss, 0.5 * routing.balance)
    bridge.balance_weight = 0.0
    assert bridge.fill_slots(context_of(states)).loss is None


def usage_entropy(metrics: dict[str, float]) -> float:
    return sum(-p * math.log(p) for name, p in metrics.items() if name.startswith("expert_") and p)


def trained_metrics(balance_weight: float) -> tuple[dict[str, float], dict[str, float]]:
    """Metrics before and after training a router that starts with every history at expert 0."""
    bridge = make(balance_weight=balance_weight, gate=False)
    common = torch.randn(16)
    histories = context_of(common + torch.randn(32, 1, 16) + 0.1 * torch.randn(32, 5, 16))
    bridge.router.linear.weight.data[0] += 0.5 * (common - common.mean())
    bridge.fill_slots(histories)
    before = bridge.metrics()
    optimizer = torch.optim.SGD(bridge.parameters(), lr=0.1)
    for _ in range(100):
        fill = bridge.fill_slots(histories)
        task = (fill.tokens["prefix"] - 1).square().mean()
        (task if fill.loss is None else task + fill.loss).backward()
        optimizer.step()
        optimizer.zero_grad()
    bridge.metrics()
    bridge.fill_slots(histories)
    return before, bridge.metrics()


def test_the_balance_loss_opens_a_collapsed_router():
    before, after = trained_metrics(balance_weight=1.0)
    assert before["expert_0"] == 1.0
    assert usage_entropy(after) > 1.0  # of ln 4 = 1.386
    assert after["router_entropy"] > before["router_entropy"] + 0.5


def test_without_the_balance_loss_the_router_stays_collapsed():
    before, after = trained_metrics(balance_weight=0.0)
    assert before == after
    assert after["expert_0"] == 1.0


def test_metrics_are_means_of_training_since_the_last_call():
    bridge = make()
    bridge.fill_slots(context_of(torch.randn(8, 5, 16)))
    metrics = bridge.metrics()
    assert sum(metrics[f"expert_{i}"] for i in range(4)) == pytest.approx(1.0)
    assert 0 < metrics["router_entropy"] <= math.log(4)
    bridge.eval()
    bridge.fill_slots(context_of(torch.randn(8, 5, 16)))
    assert bridge.metrics() == {}


def test_metrics_survive_a_checkpoint():
    bridge, again = make(), make()
    bridge.fill_slots(context_of(torch.randn(8, 5, 16)))
    again.load_state_dict(bridge.state_dict())
    assert again.metrics() == bridge.metrics()


def test_impossible_sizes_are_refused():
    with pytest.raises(BridgeError, match="width 30 must be a multiple of heads 4"):
        make(width=30)
    with pytest.raises(BridgeError, match="queries must be at least 1, got 0"):
        make(queries=0)


def test_several_id_models_are_read_as_one_history():
    bridge = make(other_widths=(8,))
    own, other = torch.randn(4, 5, 16), torch.randn(4, 5, 8)
    fill = bridge.fill_slots(replace(context_of(own), other_states=(other,)))
    prefix = fill.tokens["prefix"]
    for changed in ((torch.randn(4, 5, 16), other), (own, torch.randn(4, 5, 8))):
        moved = bridge.fill_slots(replace(context_of(changed[0]), other_states=(changed[1],))).tokens["prefix"]
        assert (moved - prefix).abs().flatten(1).amax(dim=1).min() > 1e-3
    (prefix.sum() + fill.loss).backward()
    assert all(source.weight.grad.abs().sum() > 0 for source in bridge.inputs)


def test_padding_of_a_further_id_model_is_not_read():
    bridge = make(other_widths=(8,))
    mask = torch.arange(5) < torch.tensor([[5], [2]])
    own, other = torch.randn(2, 5, 16), torch.randn(2, 5, 8)
    full = replace(context_of(own), id_mask=mask, other_states=(other,))
    prefix = bridge.fill_slots(full).tokens["prefix"]
    spoilt = other.masked_fill(~mask.unsqueeze(-1), torch.nan)
    torch.testing.assert_close(bridge.fill_slots(replace(full, other_states=(spoilt,))).tokens["prefix"], prefix)


def test_choices_are_the_experts_that_write_the_prefix(context):
    bridge = make(gate=False)
    chosen = bridge.choices(context)
    assert chosen[2] == -1  # no history
    before = bridge.fill_slots(context).tokens["prefix"]
    for prompt in (0, 1):
        with torch.no_grad():
            bridge.experts[chosen[prompt]] += 1
        moved = bridge.fill_slots(context).tokens["prefix"]
        assert not torch.equal(moved[prompt], before[prompt])
        before = moved
