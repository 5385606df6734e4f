import pytest
import torch

from idmodels.losses.negatives import Negatives, item_shares

COUNTS = torch.tensor([99, 0, 3, 1, 2])


def test_uniform_shares_leave_out_padding() -> None:
    assert item_shares(COUNTS, "uniform").tolist() == [0, 0.25, 0.25, 0.25, 0.25]


def test_popularity_shares_follow_the_counts_plus_one() -> None:
    assert item_shares(COUNTS, "popularity").tolist() == pytest.approx([0, 0.1, 0.4, 0.2, 0.3])


@pytest.mark.parametrize("shared", [True, False])
def test_draws_follow_the_shares(shared: bool) -> None:
    torch.manual_seed(0)
    shares = torch.tensor([0.0, 0.5, 0.0, 0.3, 0.2, 0.0], dtype=torch.float64)
    draws = Negatives(shares, 20_000 if shared else 100, shared).draw(200)
    assert draws.shape == ((20_000,) if shared else (200, 100))
    found = torch.bincount(draws.flatten(), minlength=6) / 20_000
    assert found.tolist() == pytest.approx(shares.tolist(), abs=0.015)
    assert found[[0, 2, 5]].tolist() == [0, 0, 0]


def test_the_ends_of_the_unit_interval_draw_real_items(monkeypatch: pytest.MonkeyPatch) -> None:
    shares = torch.tensor([0.0, 0.7, 0.3 - 1e-9, 0.0], dtype=torch.float64)  # sums to a little less than one
    points = torch.tensor([0.0, 0.7, 1 - 2**-53], dtype=torch.float64)
    monkeypatch.setattr(torch, "rand", lambda *shape, **options: points)
    assert Negatives(shares, 3, shared=True).draw(1).tolist() == [1, 2, 2]


@pytest.mark.parametrize("shared", [True, False])
def test_contrast_holds_the_logits_of_target_and_negatives(monkeypatch: pytest.MonkeyPatch, shared: bool) -> None:
    states, table = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.arange(8.0).view(4, 2)
    drawn = torch.tensor([3, 1]) if shared else torch.tensor([[3, 1], [2, 2]])
    negatives = Negatives(item_shares(torch.ones(4), "uniform"), 2, shared)
    monkeypatch.setattr(negatives, "draw", lambda positions: drawn)
    contrast = negatives.contrast(states, table, torch.tensor([1, 2]))
    assert contrast.positive.tolist() == [2.0, 10.0]
    assert contrast.negative.tolist() == [[6.0, 2.0], [14.0, 6.0] if shared else [10.0, 10.0]]
    assert contrast.real.tolist() == [[True, False], [True, True] if shared else [False, False]]
    assert contrast.log_draws.exp().flatten().tolist() == pytest.approx([2 / 3] * drawn.numel())


@pytest.mark.parametrize("shared", [True, False])
def test_nothing_as_large_as_positions_times_items(monkeypatch: pytest.MonkeyPatch, shared: bool) -> None:
    n_items, positions, count, width = 50_000, 40, 8, 4
    negatives = Negatives(item_shares(torch.ones(n_items), "uniform"), count, shared)
    table = torch.randn(n_items, width, requires_grad=True)
    states = torch.randn(positions, width, requires_grad=True)
    saved: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: (saved.append(x.numel()), x)[1], lambda x: x):
        contrast = negatives.contrast(states, table, torch.ones(positions, dtype=torch.int64))
        (contrast.positive.sum() + contrast.negative.sum()).backward()
    assert max(saved) <= positions * count * width < positions * n_items
    assert table.grad.shape == table.shape
