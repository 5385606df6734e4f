"""Hard negatives: the places of the other side's ranking that are asked for, against a brute-force loss."""

import pytest
import torch

from bridges.errors import BridgeError
from bridges.hard_negatives import HardNegatives
from bridges.protocols import ScoredBatch
from bridges.sharing import ExchangeStore

SETTINGS = {"n_items": 30, "id_weight": 0.5, "llm_weight": 0.25, "first": 3, "last": 8, "positions": 0}


def make(store, **changes):
    return HardNegatives(store, **(SETTINGS | changes))


def batch_of(rows, width=16):
    states, items = torch.randn(len(rows), width, requires_grad=True), torch.randn(30, width, requires_grad=True)
    return ScoredBatch(states, items, torch.randint(1, 30, (len(rows),)), torch.tensor(rows))


@pytest.mark.parametrize(("learner", "teacher", "width", "weight"), [("id", "llm", 16, 0.5), ("llm", "id", 12, 0.25)])
def test_loss_equals_brute_force(full_store, learner, teacher, width, weight):
    batch = batch_of([3, -1, 19, 40, 7], width)  # rows -1 and 40 have no state of the other side
    loss = make(full_store).loss(learner, batch)
    states, items = full_store.read(teacher, "user", torch.tensor([3, 19, 7])), full_store.read(teacher, "item")
    terms = []
    for state, position in zip(states, (0, 2, 4), strict=True):
        ranking = [item for item in (items @ state).argsort(descending=True).tolist() if item][2:8]
        target = int(batch.targets[position])
        listed = [target, *(item for item in ranking if item != target)]
        terms.append(-(batch.item_matrix[listed] @ batch.states[position]).log_softmax(0)[0])
    torch.testing.assert_close(loss, weight * torch.stack(terms).mean())


def test_a_target_among_the_negatives_is_none(full_store):
    states, items = full_store.read("llm", "user", torch.tensor([3])), full_store.read("llm", "item")
    fourth = (items[1:] @ states[0]).argsort(descending=True)[3] + 1
    batch = ScoredBatch(torch.randn(1, 16), torch.randn(30, 16), fourth[None], torch.tensor([3]))
    assert make(full_store, first=4, last=4).loss("id", batch).item() == 0
    assert make(full_store, first=3, last=3).loss("id", batch).item() > 0


def test_the_last_place_may_be_beyond_the_catalogue(full_store):
    batch = batch_of([3, 7])
    assert make(full_store, last=29).loss("id", batch) == make(full_store, last=500).loss("id", batch)


def test_following_the_loss_puts_the_target_in_front_of_them(full_store):
    bridge, batch = make(full_store), batch_of(list(range(20)))
    optimizer = torch.optim.Adam([batch.states, batch.item_matrix], lr=0.05)
    bridge.loss("id", batch)
    before = bridge.metrics()["won_id"]
    for _ in range(200):
        optimizer.zero_grad()
        bridge.loss("id", batch).backward()
        optimizer.step()
    bridge.metrics()
    bridge.loss("id", batch)
    assert before < 0.8
    assert bridge.metrics()["won_id"] > 0.99


def test_so_many_positions_learn_and_the_others_do_not(full_store):
    batch = batch_of(list(range(20)))
    make(full_store, positions=5).loss("id", batch).backward()
    assert (batch.states.grad.abs().sum(dim=1) > 0).sum() == 5


def test_no_weight_or_nobody_to_learn_from(full_store):
    assert make(full_store, id_weight=0.0).loss("id", batch_of([1])) is None
    assert make(full_store).loss("id", batch_of([-1, 30])) is None
    assert make(ExchangeStore(30, 50, "item-map", 0.5)).loss("id", batch_of([1])) is None
    assert make(full_store, id_weight=0.0).reads({"id2llm", "llm2id"}) == {("id", "user"), ("id", "item")}


@pytest.mark.parametrize("changes", [{"first": 0}, {"first": 9}, {"first": 30, "last": 40}, {"positions": -1}])
def test_settings_out_of_range_are_refused(store, changes):
    with pytest.raises(BridgeError, match="hard_negatives: first"):
        make(store, **changes)
