import pytest
import torch

from bridges import candidates
from bridges.agreement import overlap_shares, top_k_overlap
from bridges.candidates import Candidates, draw_candidates, list_scores, top_items


def test_lists_hold_target_top_and_random_items_without_padding():
    states, items = torch.randn(40, 5), torch.randn(300, 5)
    items[0] = 100 * states[0]  # padding would win
    targets = torch.randint(1, 300, (40,))
    lists = draw_candidates(states, items, targets, 20)
    assert 30 < lists.ids.shape[1] <= 41
    assert torch.equal(lists.ids[:, 0], targets)
    assert lists.ids.min() >= 1
    best = (states @ items[1:].T).argsort(dim=1, descending=True)[:, :20] + 1
    assert torch.equal(lists.ids[:, 1:21].sort(dim=1).values, best.sort(dim=1).values)
    chance = lists.ids[:, 21:]
    assert (chance == chance[0]).all()  # drawn once for all positions


def test_every_item_counts_once_and_the_target_always_counts():
    states, items = torch.randn(50, 5), torch.randn(60, 5)
    targets = torch.randint(1, 60, (50,))  # some are drawn again at random
    targets[:25] = top_items(states, items, 1)[:25, 0]  # these stand in the top list as well
    lists = draw_candidates(states, items, targets, 20)
    assert not lists.repeated[:, 0].any()
    for ids, repeated in zip(lists.ids.tolist(), lists.repeated.tolist(), strict=True):
        kept = [i for i, again in zip(ids, repeated, strict=True) if not again]
        assert len(kept) == len(set(kept))
        assert set(kept) == set(ids)
    assert lists.sizes().tolist() == [len(set(ids)) for ids in lists.ids.tolist()]
    assert lists.repeated.any(dim=1).all()


def test_a_small_catalogue_is_taken_whole():
    lists = draw_candidates(torch.randn(2, 3), torch.randn(42, 3), torch.tensor([4, 7]), 20)
    assert lists.ids.tolist() == [list(range(1, 42))] * 2
    assert not lists.repeated.any()
    assert draw_candidates(torch.randn(2, 3), torch.randn(43, 3), torch.tensor([4, 7]), 20).repeated.any()


def test_random_items_follow_torchs_seed():
    states, items, targets = torch.randn(4, 3), torch.randn(500, 3), torch.tensor([1, 2, 3, 4])
    draws = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        draws.append(draw_candidates(states, items, targets, 5).ids)
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


@pytest.mark.parametrize("rows", [50, 5000])  # by the whole matrix; gathered
def test_list_scores_are_inner_products_with_gradient(rows, monkeypatch):
    monkeypatch.setattr(candidates, "MAX_ELEMENTS", 100)
    states, items = torch.randn(7, 6, requires_grad=True), torch.randn(rows, 6, requires_grad=True)
    ids = torch.randint(0, rows, (7, 9))
    scores = list_scores(states, items, ids)
    expected = (items[ids] * states.unsqueeze(1)).sum(dim=2)
    torch.testing.assert_close(scores, expected)
    weight = torch.randn(7, 9)
    got = torch.autograd.grad((scores * weight).sum(), (states, items))
    wanted = torch.autograd.grad((expected * weight).sum(), (states, items))
    torch.testing.assert_close(got, wanted)


def test_chunks_change_nothing(monkeypatch):
    states, items, targets = torch.randn(23, 6), torch.randn(80, 6), torch.randint(1, 80, (23,))
    whole = []
    for limit in (candidates.MAX_ELEMENTS, 3 * 80):
        monkeypatch.setattr(candidates, "MAX_ELEMENTS", limit)
        torch.manual_seed(1)
        whole.append(draw_candidates(states, items, targets, 20))
    assert torch.equal(whole[0].ids, whole[1].ids)
    assert torch.equal(whole[0].repeated, whole[1].repeated)


def test_repeated_entries_get_no_probability():
    ids = torch.tensor([[2, 1, 2]])
    lists = Candidates(ids, torch.tensor([[False, False, True]]))
    probabilities = lists.logits(torch.ones(1, 1), torch.zeros(3, 1)).softmax(dim=1)
    assert probabilities.tolist() == [[0.5, 0.5, 0.0]]


def test_overlap_by_hand():
    # One axis per item; side a ranks items 1, 2, 3 first, side b items 3, 4, 1; padding has the top score of both.
    items = torch.eye(6)
    a = torch.tensor([[9.0, 5, 4, 3, 2, 1]])
    b = torch.tensor([[9.0, 3, 1, 5, 4, 2]])
    assert overlap_shares(a, items, b, items, 3).tolist() == pytest.approx([2 / 3])
    assert top_k_overlap(a, items, a, items, 3) == 1.0
    assert top_k_overlap(a, items, -a, items, 2) == 0.0
    assert top_k_overlap(a, items, -a, items, 50) == 1.0  # lists of the whole catalogue


def test_overlap_is_a_mean_over_positions():
    items = torch.eye(5)
    a = torch.tensor([[0.0, 4, 3, 2, 1], [0.0, 4, 3, 2, 1]])
    b = torch.tensor([[0.0, 4, 3, 2, 1], [0.0, 1, 2, 3, 4]])
    assert top_k_overlap(a, items, b, items, 2) == 0.5
