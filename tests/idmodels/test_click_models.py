"""What every registered click model must do."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from idmodels.click import ClickModel
from idmodels.click_settings import ClickSettings
from idmodels.errors import IDModelError
from idmodels.registry import click_model_names, create_click_model

N_ITEMS, LENGTH, KINDS = 31, 8, 6
CATEGORIES = torch.arange(N_ITEMS) % KINDS
# (model, changes): every registered model and each of its ways.
FORMS = [*[(name, {}) for name in click_model_names()], ("din", {"activation": "prelu"}), ("sim", {"search": "hard"})]


def _make(name: str, **changes: object) -> ClickModel:
    torch.manual_seed(0)
    sizes = {"width": 16, "max_length": LENGTH, "found_items": 4, "recent_items": 2}
    widths = {"attention_widths": (16,), "hidden_widths": (32,)}
    return create_click_model(N_ITEMS, ClickSettings(model=name, **(sizes | widths | changes)), CATEGORIES)


@pytest.fixture(params=FORMS, ids=str)
def make(request: pytest.FixtureRequest) -> Callable[..., ClickModel]:
    name, changes = request.param
    return lambda **more: _make(name, **(changes | more))


def _clicks(rows: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Clicked exactly where the history holds an item of the target's category."""
    lengths = torch.randint(1, LENGTH + 1, (rows,), generator=generator)
    histories = torch.randint(1, N_ITEMS, (rows, LENGTH), generator=generator)
    histories = histories * (torch.arange(LENGTH) < lengths.unsqueeze(1))
    targets = torch.randint(1, N_ITEMS, (rows,), generator=generator)
    known = (CATEGORIES[histories] == CATEGORIES[targets].unsqueeze(1)) & (histories > 0)
    return histories, lengths, targets, known.any(dim=1).long()


def auc(scores: Tensor, labels: Tensor) -> float:
    """Share of pairs of a click and no click that are in the right order."""
    return (scores[labels == 1].unsqueeze(1) > scores[labels == 0]).double().mean().item()


def test_a_planted_rule_is_learnt(make: Callable[..., ClickModel]) -> None:
    model, generator = make(), torch.Generator().manual_seed(1)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        model.loss(*_clicks(256, generator)).backward()
        optimizer.step()
    histories, lengths, targets, labels = _clicks(1000, generator)
    with torch.no_grad():
        assert auc(model.eval().logits(histories, lengths, targets), labels) > 0.99


def _example() -> tuple[Tensor, Tensor, Tensor]:
    return _clicks(20, torch.Generator().manual_seed(4))[:3]


def test_shapes(make: Callable[..., ClickModel]) -> None:
    model = make()
    histories, lengths, targets = _example()
    assert model.logits(histories, lengths, targets).shape == (20,)
    assert model.user_state(histories, lengths, targets).shape == (20, model.state_width)


def test_padding_changes_nothing(make: Callable[..., ClickModel]) -> None:
    # In training too: what is padded must not enter the statistics of Dice. The last column is beyond every history.
    histories, lengths, targets = _example()
    histories, lengths = histories[:, :-1], lengths.clamp(max=LENGTH - 1)
    wide = torch.nn.functional.pad(histories, (0, 1), value=7)
    for mode in (True, False):
        model = make(max_length=LENGTH).train(mode)
        narrow = model.user_state(histories, lengths, targets), model.logits(histories, lengths, targets)
        again = make(max_length=LENGTH).train(mode)
        padded = again.user_state(wide, lengths, targets), again.logits(wide, lengths, targets)
        assert torch.allclose(narrow[0], padded[0], atol=1e-5)
        assert torch.allclose(narrow[1], padded[1], atol=1e-5)


def test_one_row_is_like_the_same_row_of_many(make: Callable[..., ClickModel]) -> None:
    model = make().eval()
    histories, lengths, targets = _example()
    alone = model.logits(histories[3:4], lengths[3:4], targets[3:4])
    assert torch.allclose(alone, model.logits(histories, lengths, targets)[3:4], atol=1e-5)
    assert model.train().logits(histories[3:4], lengths[3:4], targets[3:4]).isfinite().all()


def test_the_state_depends_on_history_and_target(make: Callable[..., ClickModel]) -> None:
    histories = torch.tensor([[1, 2, 3], [1, 2, 3], [4, 2, 3]])
    states = make().eval().user_state(histories, torch.tensor([3, 3, 3]), torch.tensor([8, 9, 8]))
    assert not torch.allclose(states[0], states[1], atol=1e-4)
    # Item 4 in the place of item 1: no hard search for item 8 finds either of them, and the recent two are the same.
    blind = make().settings.search == "hard"
    assert torch.allclose(states[0], states[2], atol=1e-4) == blind


def test_an_empty_history_has_the_state_zero(make: Callable[..., ClickModel]) -> None:
    for mode in (True, False):
        model = make().train(mode)
        histories, lengths, targets = torch.tensor([[0, 0], [3, 4]]), torch.tensor([0, 2]), torch.tensor([5, 5])
        states = model.user_state(histories, lengths, targets)
        assert torch.equal(states[0], torch.zeros(model.state_width))
        assert states[1].abs().sum() > 0
        loss = model.loss(histories, lengths, targets, torch.tensor([1, 0]))
        loss.backward()
        assert all(weight.grad is None or weight.grad.isfinite().all() for weight in model.parameters())
        assert model.logits(histories[:1], lengths[:1], targets[:1]).isfinite().all()


def test_gradient_reaches_every_weight(make: Callable[..., ClickModel]) -> None:
    model = make().train()
    model.loss(*_clicks(200, torch.Generator().manual_seed(2))).backward()
    for weight_name, weight in model.named_parameters():
        if weight_name == "distance_embedding.weight":
            # Histories of 8 reach the first four powers of two.
            assert (weight.grad.abs().sum(dim=1) > 0).tolist() == [True] * 4 + [False] * (len(weight) - 4)
        assert weight.grad is not None, weight_name
        assert weight.grad.abs().sum() > 0, weight_name


def test_item_features_are_read_in_history_and_target(make: Callable[..., ClickModel]) -> None:
    model = make().eval()
    histories, lengths, targets = torch.tensor([[1, 2]]), torch.tensor([2]), torch.tensor([7])
    before = model.logits(histories, lengths, targets)
    features = nn.Parameter(torch.randn(N_ITEMS, 16))
    names = set(model.state_dict())
    model.attach_item_features(lambda: features)
    after = model.logits(histories, lengths, targets)
    assert not torch.allclose(before, after, atol=1e-4)
    after.sum().backward()
    touched = set(features.grad.abs().sum(dim=1).nonzero().flatten().tolist())
    assert {2, 7} <= touched <= {1, 2, 7}
    assert set(model.state_dict()) == names


def test_state_dict_round_trip(make: Callable[..., ClickModel]) -> None:
    model, other = make().eval(), make()
    torch.manual_seed(9)
    for weight in other.parameters():
        nn.init.normal_(weight)
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.eval().logits(*_example()), model.logits(*_example()))


def test_too_long_a_history_is_refused(make: Callable[..., ClickModel]) -> None:
    with pytest.raises(IDModelError, match="histories of 9 items, but this model reads at most 8"):
        make().logits(torch.ones(2, 9, dtype=torch.int64), torch.tensor([9, 9]), torch.tensor([1, 1]))


@pytest.mark.parametrize(
    ("wrong", "hint"), [("dinn", "unknown click model 'dinn'; did you mean 'din'"), ("x", "accepted: din, sim")]
)
def test_unknown_name_offers_the_nearest(wrong: str, hint: str) -> None:
    with pytest.raises(IDModelError, match=hint):
        create_click_model(5, ClickSettings(model=wrong))


def test_a_catalogue_needs_an_item() -> None:
    with pytest.raises(IDModelError, match="n_items >= 2"):
        create_click_model(1, ClickSettings())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 0}, "width must be at least 1"),
        ({"width": 9}, "width 9 must be a multiple of heads 2"),
        ({"hidden_widths": ()}, "hidden_widths must be one or more widths"),
        ({"attention_widths": (0,)}, "attention_widths must be one or more widths"),
        ({"activation": "relu"}, "activation must be one of dice, prelu, got 'relu'"),
        ({"search": "fuzzy"}, "search must be one of soft, hard"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\)"),
        ({"search_weight": -1.0}, "search_weight must not be negative"),
    ],
)
def test_impossible_settings_are_refused(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ClickSettings(**change)
