"""What every registered ID model must do."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from idmodels.batches import IDBatch, IDBatches
from idmodels.contract import IDModel
from idmodels.errors import IDModelError
from idmodels.registry import create_id_model
from idmodels.saved import load_id_model, save_id_model
from idmodels.scoring import last_states
from idmodels.settings import IDSettings
from idmodels.training import fit, sequence_loss

N_ITEMS = 13
SmallSettings = Callable[..., IDSettings]


def test_a_cycle_is_learnt(name: str, small_settings: SmallSettings) -> None:
    torch.manual_seed(0)
    period, users, steps = 7, 20, 30
    items = np.concatenate([(np.arange(steps) + user) % period + 1 for user in range(users)])
    ends = np.arange(1, users + 1) * steps
    batches = IDBatches(items, ends - steps, ends, max_length=6, batch_targets=120, seed=0)
    model = create_id_model(period + 1, small_settings(name, width=16, inner_width=32))
    losses = fit(model, batches, epochs=40, learning_rate=1e-2)
    model.eval()
    history = torch.tensor([[3, 4, 5], [6, 7, 1]])
    scores = last_states(model, history, torch.tensor([3, 3])) @ model.item_table().T
    assert scores.argmax(dim=1).tolist() == [6, 2]
    assert losses[-1] < 0.1 < 1.5 < losses[0]


def test_later_items_do_not_change_earlier_states(model: IDModel, histories: Tensor) -> None:
    changed = histories.clone()
    changed[:, 3:] = 11
    before, after = model.encode(histories), model.encode(changed)
    assert torch.allclose(before[:, :3], after[:, :3], atol=1e-6)
    assert not torch.allclose(before[0, 3:], after[0, 3:], atol=1e-3)


def test_later_items_do_not_change_earlier_states_in_training(
    name: str, histories: Tensor, small_settings: SmallSettings
) -> None:
    # With dropout another attention path is taken; the same seed gives the same mask to both passes.
    torch.manual_seed(0)
    model = create_id_model(N_ITEMS, small_settings(name, dropout=0.3, attention_dropout=0.3)).train()
    changed = histories.clone()
    changed[:, 3:] = 11
    states = []
    for items in (histories, changed):
        torch.manual_seed(1)
        states.append(model.encode(items)[:, :3])
    assert torch.allclose(*states, atol=1e-6)


def test_more_padding_changes_nothing(model: IDModel, histories: Tensor) -> None:
    short, long = model.encode(histories[1:2, :3]), model.encode(histories[1:2])
    assert torch.allclose(short, long[:, :3], atol=1e-6)


def test_a_batch_of_one_is_like_the_same_row_of_many(model: IDModel, histories: Tensor) -> None:
    assert torch.allclose(model.encode(histories[:1]), model.encode(histories)[:1], atol=1e-6)


def test_too_long_a_history_is_refused(model: IDModel) -> None:
    with pytest.raises(IDModelError, match="histories of 7 items, but this model reads at most 6"):
        model.encode(torch.ones(2, 7, dtype=torch.int64))


def test_state_dict_round_trip(model: IDModel, name: str, histories: Tensor, small_settings: SmallSettings) -> None:
    other = create_id_model(N_ITEMS, small_settings(name)).eval()
    assert not torch.equal(other.encode(histories), model.encode(histories))
    other.load_state_dict(model.state_dict())
    assert torch.equal(other.encode(histories), model.encode(histories))


def test_save_and_load_round_trip(model: IDModel, histories: Tensor, tmp_path: Path) -> None:
    ids = ["[PAD]", *(f"item {row}" for row in range(1, N_ITEMS))]
    save_id_model(model, tmp_path / "saved", ids)
    loaded, loaded_ids = load_id_model(tmp_path / "saved")
    assert loaded_ids == ids
    assert loaded.settings == model.settings
    assert torch.equal(loaded.encode(histories), model.encode(histories))
    assert torch.equal(loaded.item_table(), model.item_table())


def _batch(histories: Tensor) -> IDBatch:
    targets = torch.zeros_like(histories)
    targets[:, :-1] = histories[:, 1:]
    return IDBatch(histories, targets, histories - 1)


def test_gradient_reaches_every_weight(model: IDModel, histories: Tensor) -> None:
    loss, _ = sequence_loss(model.train(), _batch(histories))
    loss.backward()
    for weight_name, weight in model.named_parameters():
        assert weight.grad is not None, weight_name
        assert weight.grad.abs().sum() > 0, weight_name
    # Row 12 is an input, target of nobody; row 10 is neither, but among the softmax's candidates.
    assert (model.item_embedding.weight.grad.abs().sum(dim=1) > 0).all()


def test_item_features_enter_input_and_output(model: IDModel, histories: Tensor) -> None:
    features = nn.Parameter(torch.randn(N_ITEMS, model.width))
    plain_table, plain_states = model.item_table(), model.encode(histories)
    model.attach_item_features(lambda: features)
    assert torch.equal(model.item_table(), plain_table + features)
    assert not torch.allclose(model.encode(histories), plain_states, atol=1e-3)
    model.encode(histories)[0].sum().backward()
    assert set(features.grad.abs().sum(dim=1).nonzero().flatten().tolist()) == {1, 2, 3, 4, 5, 6}


def test_features_are_no_weights_of_the_model_and_are_folded_when_saved(
    model: IDModel, histories: Tensor, tmp_path: Path
) -> None:
    names = set(model.state_dict())
    model.attach_item_features(nn.Linear(model.width, N_ITEMS).weight.detach)
    assert set(model.state_dict()) == names
    save_id_model(model, tmp_path / "saved", None)
    loaded, ids = load_id_model(tmp_path / "saved")
    assert torch.equal(loaded.item_embedding.weight, model.item_table())
    assert torch.equal(loaded.encode(histories), model.encode(histories))
    assert ids == ["[PAD]", *map(str, range(1, N_ITEMS))]
