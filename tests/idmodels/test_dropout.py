import pytest
import torch

from idmodels.dropout import dropout


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.5, 0.9])
def test_share_and_scale(rate: float) -> None:
    torch.manual_seed(0)
    kept = dropout(torch.ones(400, 1001), rate, training=True)  # 400,400 elements: three sigma are below 0.0025
    assert (kept == 0).float().mean().item() == pytest.approx(rate, abs=2.5e-3)
    assert torch.allclose(kept[kept != 0], torch.tensor(1 / (1 - rate)), rtol=1e-3)
    assert kept.mean().item() == pytest.approx(1.0, abs=0.02)


def test_neighbours_are_independent() -> None:
    # Four masks come from one 64-bit draw: no pair of the four may agree more often than chance.
    torch.manual_seed(0)
    kept = dropout(torch.ones(100_000, 4), 0.5, training=True) > 0
    for first in range(4):
        for second in range(first):
            both = (kept[:, first] & kept[:, second]).float().mean().item()
            assert both == pytest.approx(0.25, abs=0.006)


def test_the_seed_decides() -> None:
    masks = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        masks.append(dropout(torch.ones(7, 3), 0.5, training=True))
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])


def test_gradient_is_masked_as_the_value() -> None:
    values = torch.ones(50, requires_grad=True)
    kept = dropout(values, 0.5, training=True)
    kept.sum().backward()
    assert torch.equal(values.grad, kept.detach())


def test_nothing_happens_outside_training_or_without_a_rate() -> None:
    values = torch.randn(9)
    assert dropout(values, 0.5, training=False) is values
    assert dropout(values, 0.0, training=True) is values
