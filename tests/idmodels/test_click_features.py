"""Features of a user and an item that something else than the click model knows."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from idmodels.click import ClickBatch, ClickModel
from idmodels.click_registry import click_model_names, create_click_model
from idmodels.click_settings import ClickSettings
from idmodels.errors import IDModelError
from idmodels.settings import IDSettings

MODELS = (*click_model_names(), "gru4rec")
USER_SIGN = torch.tensor([[1.0], [-1.0], [1.0], [-1.0]])
ITEM_SIGN = torch.tensor([[0.0], [1.0], [-1.0], [1.0], [-1.0], [1.0]])


def make(name: str, feature_width: int = 2) -> ClickModel:
    torch.manual_seed(0)
    settings = ClickSettings(model=name, width=8, max_length=4, attention_widths=(8,), hidden_widths=(16,))
    shape = IDSettings(width=8, inner_width=8, max_length=4, layers=1)
    return create_click_model(6, replace(settings, feature_width=feature_width), 4, sequence=shape)


def signs(users: Tensor, items: Tensor) -> Tensor:
    return torch.cat([USER_SIGN[users], ITEM_SIGN[items]], dim=1)


def random_batch(rows: int, seed: int) -> ClickBatch:
    """Histories say nothing; a click is what the user's feature says."""
    generator = torch.Generator().manual_seed(seed)
    users = torch.randint(0, 4, (rows,), generator=generator)
    histories = torch.randint(1, 6, (rows, 4), generator=generator)
    targets = torch.randint(1, 6, (rows,), generator=generator)
    lengths, marks = torch.full((rows,), 4), torch.ones(rows, 4, dtype=torch.long)
    return ClickBatch(users, histories, marks, lengths, targets, (USER_SIGN[users, 0] > 0).long())


@pytest.mark.parametrize("name", MODELS)
def test_attached_features_decide_what_no_history_tells(name: str) -> None:
    model = make(name)
    model.attach_pair_features(signs)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for step in range(60):
        optimizer.zero_grad()
        model.loss(random_batch(128, step)).backward()
        optimizer.step()
    batch = random_batch(400, 99)
    with torch.no_grad():
        logits = model.eval().logits(batch)
    assert logits[batch.labels == 1].min() > logits[batch.labels == 0].max()


@pytest.mark.parametrize("name", MODELS)
def test_without_anything_attached_features_are_zero(name: str) -> None:
    model, batch = make(name).eval(), random_batch(9, 0)
    expected = model.logits(batch)
    model.attach_pair_features(lambda users, items: torch.zeros(len(users), 2))
    assert torch.equal(model.logits(batch), expected)


def test_gradients_reach_what_made_the_features() -> None:
    model, weight = make("din"), torch.ones(2, requires_grad=True)
    model.attach_pair_features(lambda users, items: signs(users, items) * weight)
    model.loss(random_batch(16, 0)).backward()
    assert weight.grad is not None
    assert weight.grad.abs().min() > 0


def test_features_need_a_model_made_for_them() -> None:
    with pytest.raises(IDModelError, match="made without features"):
        make("din", 0).attach_pair_features(signs)
    with pytest.raises(IDModelError, match="recbole:PNN cannot read features"):
        make("recbole:PNN")
