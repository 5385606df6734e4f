import math

import pytest
import torch
from torch.nn import functional as F

from idmodels.errors import IDModelError
from idmodels.loss_settings import LossSettings
from idmodels.losses import create_loss, full_softmax, loss_names
from idmodels.losses.negatives import Contrast, Negatives, item_shares
from idmodels.losses.sampled import bpr, gbce, gbce_beta, sampled_softmax

N_ITEMS = 7
SAMPLED = ["sampled_softmax", "gbce", "bce", "bpr"]


def contrast(positive: list[float], negative: list[list[float]], real: list[list[bool]] | None = None) -> Contrast:
    """Uniform draws that are expected once each."""
    logits = torch.tensor(negative)
    return Contrast(
        torch.tensor(positive),
        logits,
        torch.zeros_like(logits),
        torch.ones_like(logits, dtype=torch.bool) if real is None else torch.tensor(real),
    )


@pytest.fixture
def inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    states = torch.randn(5, 3, dtype=torch.float64, requires_grad=True)
    table = torch.randn(N_ITEMS, 3, dtype=torch.float64, requires_grad=True)
    return states, table, torch.tensor([1, 2, 6, 3, 3])


@pytest.mark.parametrize("shared", [True, False])
def test_with_every_item_drawn_once_sampled_softmax_is_full_softmax(inputs, shared, monkeypatch) -> None:
    states, table, targets = (value.float() if value.is_floating_point() else value for value in inputs)
    negatives = Negatives(item_shares(torch.ones(N_ITEMS), "uniform"), N_ITEMS - 1, shared)
    every = torch.arange(1, N_ITEMS)
    monkeypatch.setattr(negatives, "draw", lambda positions: every if shared else every.expand(positions, -1))
    loss = sampled_softmax(negatives.contrast(states, table, targets))
    assert loss.item() == pytest.approx(full_softmax(states, table[1:], targets - 1).item(), abs=1e-6)


@pytest.mark.parametrize("proposal", ["uniform", "popularity"])
def test_the_correction_makes_the_normaliser_unbiased(proposal) -> None:
    """exp(loss) is the estimated sum of exponentials over that of the target: its mean over draws must be exact."""
    torch.manual_seed(0)
    table = torch.tensor([[9.0], [0.0], [1.0], [-1.0], [2.0]])
    shares = item_shares(torch.tensor([50, 8, 1, 3, 0]), proposal)
    state, target, draws = torch.ones(200_000, 1), 2, 3
    sampled = Negatives(shares, draws, shared=False).contrast(state, table, torch.full((len(state),), target))
    losses = torch.stack([sampled_softmax(part) for part in split(sampled)])
    exact = table[1:].exp().sum() / table[target].exp()
    spread = losses.exp().std() / len(losses) ** 0.5
    assert losses.exp().mean().item() == pytest.approx(exact.item(), abs=4 * spread.item())
    assert spread < 0.02 * exact  # narrow enough for a wrong correction to show


def split(sampled: Contrast) -> list[Contrast]:
    """Some positions at a time, so that the mean inside the loss is over one position."""
    return [
        Contrast(
            sampled.positive[row : row + 1],
            sampled.negative[row : row + 1],
            sampled.log_draws[row : row + 1],
            sampled.real[row : row + 1],
        )
        for row in range(20_000)
    ]


def test_gbce_by_hand() -> None:
    # sigmoid(ln 3) = 3/4, sigmoid(0) = 1/2, sigmoid(-ln 3) = 1/4.
    loss = gbce(contrast([math.log(3)], [[0.0, -math.log(3)]]), beta=0.5)
    assert loss.item() == pytest.approx(-(0.5 * math.log(3 / 4) + math.log(1 / 2) + math.log(3 / 4)) / 3)


def test_bpr_by_hand() -> None:
    loss = bpr(contrast([math.log(3)], [[0.0, math.log(3)]]))
    assert loss.item() == pytest.approx(-(math.log(3 / 4) + math.log(1 / 2)) / 2)


def test_beta_by_hand() -> None:
    # 101 items, 20 negatives: a = 20 / 100.
    assert gbce_beta(20, 102, t=0.0) == pytest.approx(1.0)
    assert gbce_beta(20, 102, t=1.0) == pytest.approx(0.2)
    assert gbce_beta(20, 102, t=0.5) == pytest.approx(0.6)
    assert gbce_beta(500, 102, t=0.5) == pytest.approx(1.0)  # more draws than items


def test_gbce_at_t_zero_is_bce(inputs) -> None:
    losses = []
    for settings in (LossSettings("gbce", 4, gbce_t=0.0), LossSettings("bce", 4)):
        torch.manual_seed(3)
        losses.append(create_loss(settings, torch.ones(N_ITEMS))(*inputs).item())
    assert losses[0] == losses[1] > 0


def test_bce_is_torchs(inputs) -> None:
    states, table, targets = inputs
    drawn = Negatives(item_shares(torch.ones(N_ITEMS), "uniform"), 1, False).contrast(states, table, targets)
    keep = drawn.real.flatten()
    logits = torch.stack([drawn.positive, drawn.negative.flatten()], dim=1)[keep]
    reference = F.binary_cross_entropy_with_logits(logits, torch.tensor([1.0, 0.0]).double().expand_as(logits))
    kept = Contrast(drawn.positive[keep], drawn.negative[keep], drawn.log_draws[keep], drawn.real[keep])
    assert gbce(kept, 1.0).item() == pytest.approx(reference.item(), abs=1e-12)


@pytest.mark.parametrize("kind", SAMPLED)
def test_a_negative_that_is_the_target_takes_no_part(kind) -> None:
    parts = {"sampled_softmax": sampled_softmax, "bpr": bpr}
    loss = parts.get(kind, lambda given: gbce(given, 0.7))
    hit = contrast([1.0], [[0.5, 1.0, -2.0]], [[True, False, True]])
    assert loss(hit).item() == pytest.approx(loss(contrast([1.0], [[0.5, -2.0]])).item())


@pytest.mark.parametrize("kind", SAMPLED)
def test_only_hits_cost_what_the_positive_costs(kind) -> None:
    parts = {"sampled_softmax": (sampled_softmax, 0.0), "bpr": (bpr, 0.0)}
    loss, expected = parts.get(kind, (lambda given: gbce(given, 1.0), math.log(1 + math.exp(-1.0))))
    assert loss(contrast([1.0], [[1.0, 1.0]], [[False, False]])).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("kind", SAMPLED)
@pytest.mark.parametrize("proposal", ["uniform", "popularity"])
@pytest.mark.parametrize("shared", [True, False])
def test_gradients_are_those_of_finite_differences(inputs, kind, proposal, shared, monkeypatch) -> None:
    counts = torch.tensor([0, 5, 1, 0, 2, 9, 1])
    loss = create_loss(LossSettings(kind, 3, proposal, shared), counts)
    drawn = loss.negatives.draw(5)
    monkeypatch.setattr(loss.negatives, "draw", lambda positions: drawn)
    # Double precision: the wrapper's float32 would drown the differences.
    part = lambda states, table: loss.loss(loss.negatives.contrast(states, table, inputs[2]))  # noqa: E731
    assert torch.autograd.gradcheck(part, inputs[:2])


@pytest.mark.parametrize("kind", SAMPLED)
def test_no_positions_cost_nothing(kind) -> None:
    states = torch.zeros(0, 3, requires_grad=True)
    loss = create_loss(LossSettings(kind), torch.ones(N_ITEMS))(
        states, torch.randn(N_ITEMS, 3), torch.zeros(0, dtype=torch.int64)
    )
    loss.backward()
    assert loss.item() == 0.0


@pytest.mark.parametrize("kind", SAMPLED)
def test_bfloat16_states_are_scored_in_float32(kind) -> None:
    states, table = torch.randn(4, 3).bfloat16(), torch.randn(N_ITEMS, 3).bfloat16()
    loss = create_loss(LossSettings(kind), torch.ones(N_ITEMS))
    with torch.autocast("cpu", torch.bfloat16):
        assert loss(states, table, torch.tensor([1, 2, 3, 4])).dtype == torch.float32


def test_names() -> None:
    assert loss_names() == ("bce", "bpr", "gbce", "linear_cross_entropy", "sampled_softmax", "softmax")
    assert create_loss(LossSettings(), torch.ones(2)) is full_softmax


@pytest.mark.parametrize(
    ("settings", "items", "message"),
    [
        ({"kind": "sampled_sofmax"}, 9, "unknown loss 'sampled_sofmax'; did you mean 'sampled_softmax'"),
        ({"kind": "hinge"}, 9, "unknown loss 'hinge'; accepted: bce, bpr, "),
        ({"kind": "bpr"}, 2, "bpr draws negatives and needs two items or more"),
    ],
)
def test_losses_that_cannot_be_made(settings, items, message) -> None:
    with pytest.raises(IDModelError, match=message):
        create_loss(LossSettings(**settings), torch.ones(items))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"negatives": 0}, "negatives must be at least 1, got 0"),
        ({"proposal": "zipf"}, "proposal must be one of uniform, popularity, got 'zipf'"),
        ({"gbce_t": 1.5}, r"gbce_t must be in \[0, 1\], got 1.5"),
    ],
)
def test_settings_out_of_range(settings, message) -> None:
    with pytest.raises(ValueError, match=message):
        LossSettings(**settings)
