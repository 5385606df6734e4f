import math

import pytest
import torch
from torch.nn import functional as F

from bridges.distill import MutualDistillation, confidence, kl_divergence
from bridges.errors import BridgeError
from bridges.protocols import ScoredBatch
from bridges.sharing import ExchangeStore

SETTINGS = {"id_weight": 1.0, "llm_weight": 1.0, "temperature": 2.0, "candidates": 100, "weighting": "none"}


def make(store, **changes):
    return MutualDistillation(store, **(SETTINGS | changes))


def batch_of(rows, width=16, n_items=30):
    """A batch of the ID learner (width 16) with its own states."""
    states = torch.randn(len(rows), width, requires_grad=True)
    items = torch.randn(n_items, width, requires_grad=True)
    return ScoredBatch(states, items, torch.randint(1, n_items, (len(rows),)), torch.tensor(rows))


def batch_at(batch, place):
    """The batch's position at ``place`` alone."""
    return ScoredBatch(
        batch.states[place : place + 1],
        batch.item_matrix,
        batch.targets[place : place + 1],
        batch.rows[place : place + 1],
    )


def tiny(put, teacher_logits, student_logits, **changes):
    """Loss of the ID learner where both sides' logits over items 1.. are given; row 0 would win both."""
    n_items = len(teacher_logits) + 1
    store = ExchangeStore(n_items, 1, "map", 0.5)
    put(store, "llm", "item", torch.eye(n_items))
    put(store, "llm", "user", torch.tensor([[50.0, *teacher_logits]]), [0])
    student = torch.tensor([[60.0, *student_logits]], requires_grad=True)
    batch = ScoredBatch(student, torch.eye(n_items), torch.tensor([1]), torch.tensor([0]))
    bridge = make(store, **changes)
    return bridge.loss("id", batch), bridge.metrics()


def test_equal_sides_have_no_loss(put):
    loss, _ = tiny(put, [1.0, -2.0, 0.5], [1.0, -2.0, 0.5])
    assert loss.item() == pytest.approx(0.0, abs=1e-6)


def test_loss_by_hand(put):
    # At T = 2 the teacher has (3/4, 1/4) and the student (1/2, 1/2).
    loss, metrics = tiny(put, [2 * math.log(3.0), 0.0], [7.0, 7.0])
    by_hand = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert metrics["kl_id"] == pytest.approx(by_hand, rel=2e-3)  # the teacher's state is kept in half precision
    assert loss.item() == pytest.approx(4 * by_hand, rel=2e-3)


@pytest.mark.parametrize("learner", ["id", "llm"])
def test_a_side_can_be_its_own_teacher(full_store, learner):
    bridge = make(full_store, teacher="self")
    states, items = full_store.read(learner, "user", torch.tensor([3, 7])), full_store.read(learner, "item")
    same = ScoredBatch(states, items, torch.tensor([1, 2]), torch.tensor([3, 7]))
    assert bridge.loss(learner, same).item() == pytest.approx(0.0, abs=1e-5)
    other = ScoredBatch(states.flip(0), items, torch.tensor([1, 2]), torch.tensor([3, 7]))
    assert bridge.loss(learner, other).item() > 0.01
    way = {"id": "llm2id", "llm": "id2llm"}[learner]
    assert bridge.reads([way]) == {(learner, "user"), (learner, "item")}


def test_confidence_by_hand(put):
    # At T = 1 the teacher has (3/4, 1/4): entropy 0.5623 of at most ln 2.
    expected = 1 - (0.75 * math.log(4 / 3) + 0.25 * math.log(4)) / math.log(2)
    _, metrics = tiny(put, [math.log(3.0), 0.0], [1.0, 2.0], weighting="confidence")
    assert metrics["weight_mean"] == pytest.approx(expected, rel=2e-3)
    uniform, _ = tiny(put, [1.0, 1.0, 1.0], [1.0, 2.0, 3.0], weighting="confidence")
    assert uniform.item() == pytest.approx(0.0, abs=1e-6)
    _, sure = tiny(put, [90.0, 1.0, 1.0], [1.0, 2.0, 3.0], weighting="confidence")
    assert sure["weight_mean"] == pytest.approx(1.0, abs=1e-6)


def test_confidence_counts_different_items_only():
    logits = torch.tensor([[0.0, 0.0, -1e9, -1e9]])
    assert confidence(logits, torch.tensor([2])).item() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(("shift", "expected"), [(0, 1.0), (5, 0.5), (10, 0.0)])
def test_agreement_by_hand(put, shift, expected):
    # 20 items in falling order; the student's order begins `shift` items later: its top 10 share 10 - shift.
    teacher = torch.arange(20.0, 0.0, -1)
    student = teacher.roll(shift)
    plain, _ = tiny(put, teacher.tolist(), student.tolist())
    loss, metrics = tiny(put, teacher.tolist(), student.tolist(), weighting="agreement")
    assert metrics["agreement"] == metrics["weight_mean"] == pytest.approx(expected)
    assert loss.item() == pytest.approx(expected * plain.item())


@pytest.mark.parametrize("weighting", ["none", "confidence", "agreement"])
@pytest.mark.parametrize("count", [4, 100])  # candidate lists; the whole catalogue
def test_loss_equals_brute_force(full_store, weighting, count):
    bridge = make(full_store, weighting=weighting, candidates=count, id_weight=0.3, temperature=1.5)
    batch = batch_of([3, -1, 19, 40, 7])  # rows -1 and 40 have no state of the LLM
    torch.manual_seed(5)
    loss = bridge.loss("id", batch)
    torch.manual_seed(5)
    chance = torch.randint(1, 30, (4,)).tolist()
    states, items = full_store.read("llm", "user", torch.tensor([3, 19, 7])), full_store.read("llm", "item")
    terms = []
    for m, position in enumerate((0, 2, 4)):
        teacher, student = items @ states[m], batch.item_matrix @ batch.states[position]
        top = [i for i in teacher.argsort(descending=True).tolist() if i][:count]
        listed = sorted({int(batch.targets[position]), *top, *chance}) if count == 4 else list(range(1, 30))
        log_p, log_q = (logits[listed].div(1.5).log_softmax(0) for logits in (teacher, student))
        weight = {
            "none": 1.0,
            "confidence": 1 - torch.distributions.Categorical(logits=teacher[listed]).entropy() / math.log(len(listed)),
            "agreement": len(set((teacher[1:].topk(10).indices).tolist()) & set(student[1:].topk(10).indices.tolist()))
            / 10,
        }[weighting]
        terms.append(weight * F.kl_div(log_q, log_p, reduction="sum", log_target=True) * 1.5**2)
    torch.testing.assert_close(loss, 0.3 * torch.stack(terms).mean())


def test_autocast_changes_nothing(full_store):
    bridge, batch = make(full_store, weighting="agreement"), batch_of([3, 19, 7])
    plain = bridge.loss("id", batch)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(bridge.loss("id", batch), plain)


def test_kl_divergence_has_no_gradient_to_the_teacher():
    teacher, student = torch.randn(2, 5, requires_grad=True), torch.randn(2, 5, requires_grad=True)
    kl_divergence(teacher, student, 2.0).sum().backward()
    assert teacher.grad is None
    assert student.grad.abs().sum() > 0


def test_gradient_reaches_known_positions_and_items_of_the_student_only(full_store):
    before = full_store.state_dict()["tensors"]
    before = {name: tensor.clone() for name, tensor in before.items()}
    batch = batch_of([3, -1, 49])
    make(full_store).loss("id", batch).backward()
    assert (batch.states.grad.abs().sum(dim=1) > 0).tolist() == [True, False, False]
    assert batch.item_matrix.grad[1:].abs().sum() > 0
    assert batch.item_matrix.grad[0].abs().sum() == 0  # padding is no candidate
    after = full_store.state_dict()["tensors"]
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_following_the_loss_brings_the_student_to_the_teacher(full_store):
    bridge, batch = make(full_store), batch_of(list(range(20)))
    optimizer = torch.optim.Adam([batch.states, batch.item_matrix], lr=0.05)
    for _ in range(300):
        loss = bridge.loss("id", batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    bridge.metrics()
    bridge.loss("id", batch)
    metrics = bridge.metrics()
    assert metrics["kl_id"] < 0.02
    assert metrics["agreement"] > 0.8


def test_each_learner_is_taught_by_the_other(full_store):
    bridge = make(full_store, llm_weight=0.5)
    states = full_store.read("llm", "user", torch.arange(4))
    copy = ScoredBatch(states, full_store.read("llm", "item"), torch.ones(4, dtype=torch.long), torch.arange(4))
    assert bridge.loss("id", copy).item() == pytest.approx(0.0, abs=1e-5)  # the ID learner equals its teacher
    assert bridge.loss("llm", copy).item() > 0.1  # the LLM learner is compared with the ID side
    assert {"kl_id", "kl_llm"} <= bridge.metrics().keys()


def test_the_llm_is_taught_from_its_round_on_and_the_id_side_always(full_store):
    bridge, batch = make(full_store, llm_from_round=2), batch_of([1, 2], width=12)
    assert bridge.loss("llm", batch) is None
    assert bridge.loss("id", batch_of([1, 2])) is not None
    bridge.begin_round(2)
    assert bridge.loss("llm", batch) == make(full_store).loss("llm", batch)


@pytest.mark.parametrize(
    ("id_share", "of_id", "of_llm"), [(0.0, 1, 0), (0.2, 1, 0.4), (0.5, 1, 1), (0.7, 0.6, 1), (1.0, 0, 1)]
)
def test_who_adds_little_to_the_best_blend_teaches_little(full_store, id_share, of_id, of_llm):
    bridge = make(full_store, weight_by="blend")
    batches = {"id": batch_of([3, 7]), "llm": batch_of([3, 7], width=12)}
    full = {side: bridge.loss(side, batch).item() for side, batch in batches.items()}
    bridge.weigh(id_share)
    for side, share in (("id", of_id), ("llm", of_llm)):
        loss = bridge.loss(side, batches[side])
        assert (loss.item() if share else loss) == (pytest.approx(share * full[side]) if share else None)
    metrics = bridge.metrics()
    assert (metrics["share_id"], metrics["share_llm"]) == pytest.approx(((1 + of_id) / 2, (1 + of_llm) / 2))  # means
    again = make(full_store, weight_by="blend")
    again.load_state_dict(bridge.state_dict())
    assert torch.equal(again.shares, bridge.shares)


@pytest.mark.parametrize("settings", [{}, {"weight_by": "blend", "teacher": "self"}])
def test_nothing_is_weighed_unless_asked_for_and_taught_by_the_other_side(full_store, settings):
    bridge = make(full_store, **settings)
    assert not bridge.weighed
    assert "shares" not in bridge.state_dict()


def test_nothing_to_learn_from(store, full_store, put):
    empty = ExchangeStore(30, 50, "item-map", 0.5)
    assert make(empty).loss("id", batch_of([1])) is None
    put(empty, "llm", "item", torch.randn(30, 12))
    assert make(empty).loss("id", batch_of([1])) is None  # no user states yet
    assert make(full_store).loss("id", batch_of([-1, 30])) is None
    assert make(full_store, id_weight=0.0).loss("id", batch_of([1])) is None


def test_only_the_teachers_of_open_directions_need_write(store):
    llm, id_ = {("llm", "user"), ("llm", "item")}, {("id", "user"), ("id", "item")}
    assert make(store).reads({"llm2id"}) == llm
    assert make(store).reads({"id2llm"}) == id_
    assert make(store, id_weight=0.0).reads({"id2llm", "llm2id"}) == id_


def test_item_matrix_is_read_again_at_refresh(full_store, put):
    bridge, batch = make(full_store), batch_of([1, 2])
    first = bridge.loss("id", batch).item()
    full_store.load_state_dict(full_store.state_dict())
    put(full_store, "llm", "item", 10 * torch.randn(30, 12), step=2)
    assert bridge.loss("id", batch).item() == first
    bridge.refresh()
    assert bridge.loss("id", batch).item() != first


def test_metrics_are_means_since_the_last_call(put):
    _, metrics = tiny(put, [1.0, 2.0], [2.0, 1.0])
    assert set(metrics) == {"kl_id", "weight_mean", "agreement"}
    assert metrics["weight_mean"] == 1.0


def test_a_drawn_position_learns_as_it_does_by_itself(full_store):
    bridge = make(full_store, positions=1)
    batch = batch_of([3, -1, 7])  # row -1 has no state of the LLM
    alone = {place: make(full_store).loss("id", batch_at(batch, place)).item() for place in (0, 2)}
    drawn = [bridge.loss("id", batch).item() for _ in range(400)]
    shares = {place: sum(loss == pytest.approx(alone[place]) for loss in drawn) / 400 for place in alone}
    assert sum(shares.values()) == 1
    assert shares[0] == pytest.approx(0.5, abs=0.15)  # six standard errors


@pytest.mark.parametrize("positions", [0, 2, 3])
def test_fewer_positions_than_may_be_drawn_all_learn(full_store, positions):
    batch = batch_of([3, -1, 7])
    assert make(full_store, positions=positions).loss("id", batch) == make(full_store).loss("id", batch)


def test_metrics_average_over_positions_and_are_reset(full_store):
    bridge = make(full_store)
    one, two = batch_of([1]), batch_of([2, 3])
    losses = [bridge.loss("id", batch).item() for batch in (one, two)]
    assert bridge.metrics()["kl_id"] == pytest.approx((losses[0] + 2 * losses[1]) / 3 / 4, rel=1e-5)
    assert bridge.metrics() == {}


def test_wrong_input_is_refused(full_store):
    with pytest.raises(BridgeError, match="did you mean 'confidence'"):
        make(full_store, weighting="confident")
    with pytest.raises(BridgeError, match="must be positive"):
        make(full_store, temperature=0.0)
    with pytest.raises(BridgeError, match="positions -1"):
        make(full_store, positions=-1)
    with pytest.raises(BridgeError, match="llm/item has 30 rows, the learner 31"):
        make(full_store).loss("id", batch_of([1], n_items=31))
