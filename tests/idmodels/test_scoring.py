import pytest
import torch

from idmodels.contract import IDModel
from idmodels.errors import IDModelError
from idmodels.scoring import last_states


def test_state_after_the_last_item(causal_model: IDModel, histories: torch.Tensor) -> None:
    states = last_states(causal_model, histories, torch.tensor([6, 3, 1]))
    encoded = causal_model.encode(histories)
    assert torch.allclose(states, torch.stack([encoded[0, 5], encoded[1, 2], encoded[2, 0]]), atol=1e-6)


def test_an_empty_history_scores_every_item_alike(model: IDModel) -> None:
    states = last_states(model, torch.tensor([[1, 2], [0, 0]]), torch.tensor([2, 0]))
    assert states[0].abs().sum() > 0
    assert torch.equal(states[1], torch.zeros(model.width))


@pytest.mark.parametrize("wrong", [-1, 13, 99])
def test_an_unknown_item_is_named(model: IDModel, wrong: int) -> None:
    with pytest.raises(IDModelError, match=f"item id {wrong} in a history; this model knows items 1 to 12"):
        last_states(model, torch.tensor([[1, wrong, 0]]), torch.tensor([2]))
