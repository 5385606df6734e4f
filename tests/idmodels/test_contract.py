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


def test_a_cycle_is_learnt(ordered_name: str, small_settings: SmallSettings) -> None:
    torch.manual_seed(0)
    period, users, steps = 7, 20, 30
    items = np.concatenate([(np.arange(steps) + user) % period + 1 for user in range(users)])
    ends = np.arange(1, users + 1) * steps
    batches = IDBatches(items, ends - steps, ends, max_length=6, batch_targets=120, seed=0)
    model = create_id_model(period + 1, small_settings(ordered_name, width=16, inner_width=32, mask_ratio=0.4))
    losses = fit(model, batches, epochs=60, learning_rate=1e-2)
    model.eval()
    history = torch.tensor([[3, 4, 5, 6, 7, 1], [6, 7, 1, 2, 3, 4]])
    scores = last_states(model, history, torch.tensor([6, 6])) @ model.item_table().T
    assert scores.argmax(dim=1).tolist() == [2, 5]
    assert losses[-1] < 0.5 < 1.5 < losses[0]


def test_two_communities_are_learnt(name: str, small_settings: SmallSettings) -> None:
    # Users of items 1..6 and users of items 7..12, in an order without meaning: what they miss of theirs comes first.
    random = np.random.default_rng(0)
    items = np.concatenate([random.permutation(6)[:5] + 1 + 6 * (user % 2) for user in range(240)])
    ends = np.arange(1, 241) * 5
    torch.manual_seed(0)
    model = create_id_model(N_ITEMS, small_settings(name, width=16, inner_width=32))
    fit(model, IDBatches(items, ends - 5, ends, max_length=6, batch_targets=240, seed=0), epochs=40, learning_rate=1e-2)
    scores = last_states(model.eval(), torch.tensor([[1, 3, 5, 6], [10, 8, 9, 7]]), torch.tensor([4, 4]))
    scores = scores @ model.item_table().T
    assert scores[0, [2, 4]].min() > scores[0, 7:].max()
    assert scores[1, [11, 12]].min() > scores[1, 1:7].max()


def test_later_items_do_not_change_earlier_states(causal_model: IDModel, histories: Tensor) -> None:
    changed = histories.clone()
    changed[:, 3:] = 11
    before, after = causal_model.encode(histories), causal_model.encode(changed)
    assert torch.allclose(before[:, :3], after[:, :3], atol=1e-6)
    assert not torch.allclose(before[0, 3:], after[0, 3:], atol=1e-3)


def test_later_items_do_not_change_earlier_states_in_training(
    causal_model: IDModel, histories: Tensor, small_settings: SmallSettings
) -> None:
    # With dropout another attention path is taken; the same seed gives the same mask to both passes.
    settings = small_settings(causal_model.settings.model, dropout=0.3, attention_dropout=0.3)
    torch.manual_seed(0)
    model = create_id_model(N_ITEMS, settings).train()
    changed = histories.clone()
    changed[:, 3:] = 11
    states = []
    for items in (histories, changed):
        torch.manual_seed(1)
        states.append(model.encode(items)[:, :3])
    assert torch.allclose(*states, atol=1e-6)


def test_every_item_of_a_history_counts_for_its_last_state(model: IDModel) -> None:
    # BERT4Rec gives the place of the oldest item of all to its question; that one may be forgotten.
    history = torch.tensor([[1, 2, 3, 4, 5]])
    before = last_states(model, history, torch.tensor([5]))
    for position in range(1, 5):
        changed = history.clone()
        changed[0, position] = 11
        assert not torch.allclose(last_states(model, changed, torch.tensor([5])), before, atol=1e-4)


def test_more_padding_changes_nothing(model: IDModel, histories: Tensor) -> None:
    short, long = model.encode(histories[1:2, :3]), model.encode(histories[1:2])
    assert torch.allclose(short, long[:, :3], atol=1e-6)
    length = torch.tensor([3])
    last = last_states(model, histories[1:2, :3], length)
    assert torch.allclose(last, last_states(model, histories[1:2], length), atol=1e-6)


def test_what_stands_after_a_history_is_not_read(model: IDModel, histories: Tensor) -> None:
    lengths = torch.tensor([4, 3, 1])
    cut = histories * (torch.arange(6) < lengths.unsqueeze(1))
    assert torch.allclose(last_states(model, histories, lengths), last_states(model, cut, lengths), atol=1e-6)


def test_a_batch_of_one_is_like_the_same_row_of_many(model: IDModel, histories: Tensor) -> None:
    assert torch.allclose(model.encode(histories[:1]), model.encode(histories)[:1], atol=1e-6)
    lengths = torch.tensor([6, 3, 1])
    alone = last_states(model, histories[1:2, :3], lengths[1:2])
    assert torch.allclose(alone, last_states(model, histories, lengths)[1:2], atol=1e-6)


def test_too_long_a_history_is_refused(model: IDModel) -> None:
    with pytest.raises(IDModelError, match="histories of 7 items, but this model reads at most 6"):
        model.encode(torch.ones(2, 7, dtype=torch.int64))
    with pytest.raises(IDModelError, match="histories of 7 items"):
        last_states(model, torch.ones(2, 7, dtype=torch.int64), torch.tensor([7, 7]))


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
    (model.encode(histories)[0] * torch.randn(model.width)).sum().backward()  # a plain sum is constant after LayerNorm
    assert set(features.grad.abs().sum(dim=1).nonzero().flatten().tolist()) == {1, 2, 3, 4, 5, 6}


def test_features_are_no_weights_of_the_model_and_are_folded_when_saved(
    model: IDModel, histories: Tensor, tmp_path: Path
) -> None:
    names = set(model.state_dict())
    model.attach_item_features(nn.Linear(model.width, N_ITEMS).weight.detach)
    # In RecBole's classes torch keeps the vectors under another name from then on.
    assert {key.replace("parametrizations.weight.original", "weight") for key in model.state_dict()} == names
    save_id_model(model, tmp_path / "saved", None)
    loaded, ids = load_id_model(tmp_path / "saved")
    assert torch.equal(loaded.item_table(), model.item_table())
    assert torch.equal(loaded.encode(histories), model.encode(histories))
    assert ids == ["[PAD]", *map(str, range(1, N_ITEMS))]


def test_scores_are_inner_products_and_an_empty_history_scores_zero(model: IDModel, histories: Tensor) -> None:
    lengths = torch.tensor([6, 3, 0])
    scores = model.scores(histories, lengths)
    assert torch.allclose(scores, last_states(model, histories, lengths) @ model.item_table().T, atol=1e-5)
    assert scores[:2].std() > 1e-4
    assert torch.equal(scores[2], torch.zeros(N_ITEMS))


def test_a_batch_of_padding_only_is_finite(model: IDModel) -> None:
    padding = torch.zeros(2, 4, dtype=torch.int64)
    assert torch.equal(last_states(model, padding, torch.zeros(2, dtype=torch.int64)), torch.zeros(2, model.width))
    assert model.encode(padding).isfinite().all()


def test_a_catalogue_of_one_item_trains_and_ranks_it(name: str, small_settings: SmallSettings) -> None:
    torch.manual_seed(0)
    model = create_id_model(2, small_settings(name))
    items = np.ones(12, dtype=np.int64)
    losses = fit(model, IDBatches(items, np.array([0, 6]), np.array([6, 12]), 6, 10, seed=0), epochs=20)
    assert losses[-1] < losses[0]
    assert model.eval().scores(torch.tensor([[1, 1]]), torch.tensor([2])).isfinite().all()


def test_with_a_temperature_scores_are_cosines(name: str, histories: Tensor, small_settings: SmallSettings) -> None:
    if name.startswith("recbole:"):
        with pytest.raises(IDModelError, match="leave temperature at 0"):
            create_id_model(N_ITEMS, small_settings(name, temperature=0.5))
        return
    torch.manual_seed(0)
    model = create_id_model(N_ITEMS, small_settings(name, temperature=0.5)).eval()
    model.attach_item_features(nn.Parameter(torch.randn(N_ITEMS, model.width)).detach)
    table, lengths = model.item_table(), torch.tensor([6, 3, 1])
    assert torch.allclose(table[1:].norm(dim=1), torch.ones(N_ITEMS - 1))
    scored = model.training_states(_batch(histories), table).states
    for states in (scored, last_states(model, histories, lengths)):
        assert torch.allclose(states.norm(dim=1), torch.full((len(states),), 2.0))
