"""Targets smoothed by sequences: the votes of the nearest states of other users, and the loss that they make."""

import sys

import pytest
import torch
from torch.nn import functional as F

from bridges import sequence_smoothing
from bridges.errors import BridgeError
from bridges.protocols import ScoredBatch
from bridges.sequence_smoothing import SequenceSmoothing
from bridges.sharing import ExchangeStore

N_ITEMS, N_ROWS, PER_USER = 30, 50, 5
NEXT = torch.tensor([4, 9, 2, 7, 0] * 10)
"""Ten users of five items each; after their last nothing follows."""


def make(store, next_items=NEXT, **changes):
    settings = {"weight": 0.3, "neighbours": 4, "temperature": 0.1}
    return SequenceSmoothing(store, lambda: next_items, **(settings | changes))


def batch_of(rows):
    states, table = torch.randn(len(rows), 6, requires_grad=True), torch.randn(N_ITEMS, 6, requires_grad=True)
    return ScoredBatch(states, table, torch.randint(1, N_ITEMS, (len(rows),)), torch.tensor(rows))


def brute_force(store, row, neighbours, temperature, next_items=NEXT):
    """Shares of the items that the nearest states of other users vote for, [N], one state after the other."""
    if not store.written("llm", "user", torch.tensor([row])).item():
        return torch.zeros(N_ITEMS)
    own = F.normalize(store.read("llm", "user", torch.tensor([row])).float(), dim=1)[0]
    voting = []
    for other in range(len(next_items)):
        known = store.written("llm", "user", torch.tensor([other])).item()
        if known and next_items[other] and other // PER_USER != row // PER_USER:
            state = F.normalize(store.read("llm", "user", torch.tensor([other])).float(), dim=1)[0]
            voting.append((float(state @ own), int(next_items[other])))
    best = sorted(voting, reverse=True)[:neighbours]
    shares = torch.tensor([cosine for cosine, _ in best]).div(temperature).softmax(dim=0)
    return torch.zeros(N_ITEMS).index_add_(0, torch.tensor([item for _, item in best]), shares)


def spread(items, shares):
    """Votes [M, K] as a distribution over all items, [M, N]."""
    return torch.zeros(len(items), N_ITEMS).scatter_add_(1, items, shares)


def test_votes_are_those_of_the_nearest_states_of_other_users(full_store):
    next_items = torch.arange(1, N_ROWS + 1).remainder(29) + 1
    next_items[PER_USER - 1 :: PER_USER] = 0
    rows = torch.tensor([0, 7, 19, 20, -1])  # of the last two the LLM knows nothing
    found = spread(*make(full_store, next_items).votes(rows))
    wanted = [brute_force(full_store, int(row), 4, 0.1, next_items) for row in rows[:4]]
    torch.testing.assert_close(found[:4], torch.stack(wanted), atol=1e-5, rtol=1e-4)
    assert found[3:].sum() == 0
    assert found[:3].sum(dim=1).tolist() == pytest.approx([1.0] * 3)


def test_hard_loss_and_bridge_are_the_smoothed_loss(full_store):
    bridge, batch = make(full_store), batch_of([3, 7, -1, 40, 12])
    votes = spread(*bridge.votes(batch.rows))
    share = 0.3 * votes.sum(dim=1, keepdim=True)
    wanted = (1 - share) * F.one_hot(batch.targets, N_ITEMS) + 0.3 * votes
    logits = batch.states @ batch.item_matrix.T
    ours = F.cross_entropy(logits, batch.targets) + bridge.loss("id", batch)
    theirs = F.cross_entropy(logits, wanted)
    assert ours.item() == pytest.approx(theirs.item(), abs=1e-5)
    for a, b in zip(
        torch.autograd.grad(ours, (batch.states, batch.item_matrix), retain_graph=True),
        torch.autograd.grad(theirs, (batch.states, batch.item_matrix)),
        strict=True,
    ):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_how_much_of_the_votes_is_for_the_target(full_store):
    bridge = make(full_store, neighbours=1)
    items, _ = bridge.votes(torch.tensor([3, 7]))
    batch = batch_of([3, 7])
    batch.targets[0], batch.targets[1] = items[0, 0], 29
    bridge.loss("id", batch)
    assert bridge.metrics()["target_share"] == 0.5


def test_states_are_searched_again_only_where_the_llm_has_written(full_store, put, monkeypatch):
    searched = []
    bridge = make(full_store)
    search = bridge._search
    monkeypatch.setattr(bridge, "_search", lambda: searched.append(1) or search())
    first = spread(*bridge.votes(torch.arange(20)))
    bridge.refresh()
    bridge.votes(torch.arange(20))
    assert len(searched) == 1
    put(full_store, "llm", "user", torch.randn(20, 12), list(range(20)))
    assert not torch.equal(spread(*bridge.votes(torch.arange(20))), first)
    assert len(searched) == 2


def test_many_states_are_searched_by_clusters(put, monkeypatch):
    """Two users a cluster, far from all others: the nearest states are in a user's own cluster."""
    users, width = 200, 16
    next_items = torch.arange(users * 2) // 4 % 29 + 1
    next_items[1::2] = 0
    centres = torch.randn(users // 2, width) * 10
    states = centres.repeat_interleave(4, dim=0) + torch.randn(users * 2, width) * 0.01
    store = ExchangeStore(N_ITEMS, users * 2, "map", momentum=0.0)
    put(store, "llm", "user", states, list(range(users * 2)))
    rows = torch.arange(0, users * 2, 2)
    exact = spread(*make(store, next_items, neighbours=1).votes(rows))
    assert sequence_smoothing._index(states.numpy()).__class__.__name__ == "IndexFlatIP"
    monkeypatch.setattr(sequence_smoothing, "EXACT_ROWS", 100)
    assert sequence_smoothing._index(states.numpy()).__class__.__name__ == "IndexIVFFlat"
    assert torch.equal(spread(*make(store, next_items, neighbours=1).votes(rows)), exact)
    assert torch.equal(exact.argmax(dim=1), next_items[rows])  # the neighbour's user has the same next item


@pytest.mark.parametrize("chunk", [1, 1 << 22])
def test_a_users_own_states_leave_room_for_those_of_others_however_many_they_are(put, monkeypatch, chunk):
    monkeypatch.setattr(sequence_smoothing, "CHUNK_ELEMENTS", chunk)
    users, each, width = 4, 100, 8
    next_items = torch.arange(users * each) % 29 + 1
    next_items[each - 1 :: each] = 0
    states = torch.eye(users, width).repeat_interleave(each, dim=0) + torch.rand(users * each, width) * 0.1
    store = ExchangeStore(N_ITEMS, users * each, "map", momentum=0.0)
    put(store, "llm", "user", states, list(range(users * each)))
    monkeypatch.setattr(sys.modules[__name__], "PER_USER", each)
    rows = torch.tensor([0, 150, 399])
    found = spread(*make(store, next_items).votes(rows))
    wanted = [brute_force(store, int(row), 4, 0.1, next_items) for row in rows]
    torch.testing.assert_close(found, torch.stack(wanted), atol=1e-4, rtol=1e-3)


def test_nothing_to_learn(full_store, put):
    batch, fresh = batch_of([3, 7]), ExchangeStore(N_ITEMS, N_ROWS, "map", momentum=0.0)
    assert make(fresh).loss("id", batch) is None
    assert make(full_store).loss("llm", batch) is None
    assert make(full_store, weight=0.0).loss("id", batch) is None
    assert make(full_store, weight=0.0).reads({"llm2id"}) == set()
    assert make(full_store).reads({"llm2id"}) == {("llm", "user")}
    assert make(full_store).reads({"id2llm"}) == set()
    put(fresh, "llm", "user", torch.randn(2, 12), [0, 1])  # one user alone: nobody to vote
    assert make(fresh).loss("id", batch_of([0, 1])).item() == 0
    assert make(full_store, torch.zeros(N_ROWS, dtype=torch.long)).loss("id", batch).item() == 0


@pytest.mark.parametrize("wrong", [{"weight": 1.5}, {"neighbours": 0}, {"temperature": 0.0}])
def test_settings_out_of_range_are_refused(store, wrong):
    with pytest.raises(BridgeError, match=r"sequence_smoothing: weight .* neighbours"):
        make(store, **wrong)
