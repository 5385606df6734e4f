from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
import pytest
import torch

from idmodels import training
from idmodels.batches import IDBatch, IDBatches
from idmodels.contract import IDModel
from idmodels.errors import IDModelError
from idmodels.loss_settings import LossSettings
from idmodels.losses import full_softmax, loss_names
from idmodels.registry import create_id_model, id_model_names
from idmodels.scoring import last_states
from idmodels.settings import IDSettings
from idmodels.training import create_optimizer, fit, sequence_loss, train_epoch

BATCH = IDBatch(
    items=torch.tensor([[1, 2, 3], [4, 5, 0]]),
    targets=torch.tensor([[2, 3, 9], [5, 0, 0]]),
    rows=torch.tensor([[0, 1, 2], [8, 9, -1]]),
)


def _own(name: str, settings: Callable[..., IDSettings]) -> IDModel:
    torch.manual_seed(0)
    return create_id_model(13, settings(name)).eval()


@pytest.fixture(params=id_model_names())
def model(request: pytest.FixtureRequest, small_settings: Callable[..., IDSettings]) -> IDModel:
    """Our own models: RecBole's learn by a loss of their own."""
    return _own(request.param, small_settings)


@pytest.fixture(params=[name for name in id_model_names() if create_id_model(2, IDSettings(name)).causal])
def causal_model(request: pytest.FixtureRequest, small_settings: Callable[..., IDSettings]) -> IDModel:
    return _own(request.param, small_settings)


def test_every_position_with_a_target_is_trained(causal_model: IDModel) -> None:
    encoded = causal_model.encode(BATCH.items)
    scored = causal_model.training_states(BATCH, causal_model.item_table())
    expected = torch.stack([encoded[0, 0], encoded[0, 1], encoded[0, 2], encoded[1, 0]])
    assert torch.equal(scored.states, expected)
    assert scored.targets.tolist() == [2, 3, 9, 5]
    assert scored.rows.tolist() == [0, 1, 2, 8]


def test_sequence_loss_is_the_softmax_of_those_states(model: IDModel) -> None:
    loss, scored = sequence_loss(model, BATCH)
    assert torch.equal(loss, full_softmax(scored.states, model.item_table(), scored.targets))
    assert scored.states.shape == (len(scored.targets), model.width)
    assert scored.rows.shape == scored.targets.shape


def test_a_given_table_is_used_for_input_and_output(model: IDModel) -> None:
    features = torch.randn(model.n_items, model.width)
    torch.manual_seed(1)  # for models that draw what they train on
    loss, scored = sequence_loss(model, BATCH, model.item_table() + features)
    model.attach_item_features(lambda: features)
    torch.manual_seed(1)
    expected, same = sequence_loss(model, BATCH)
    assert torch.allclose(scored.states, same.states, atol=1e-6)
    assert torch.allclose(loss, expected)


def test_a_batch_of_padding_has_the_loss_zero(model: IDModel) -> None:
    empty = torch.zeros(2, 3, dtype=torch.int64)
    loss, scored = sequence_loss(model, IDBatch(empty, empty, empty - 1))
    assert loss.item() == 0.0
    assert scored.states.shape == (0, model.width)
    loss.backward()
    assert all(weight.grad is None or not weight.grad.any() for weight in model.parameters())


def test_epoch_reports_the_mean_over_targets_and_trains(causal_model: IDModel) -> None:
    model = causal_model
    batches = IDBatches(np.arange(1, 13), np.array([0, 4, 7]), np.array([4, 7, 12]), 6, 4, seed=0)
    optimizer = create_optimizer(model, learning_rate=1e-12)
    before = model.eval().state_dict()["item_embedding.weight"].clone()
    losses = [(sequence_loss(model, batch)[0].item(), int((batch.targets > 0).sum())) for batch in batches.epoch(0)]
    expected = sum(loss * count for loss, count in losses) / sum(count for _, count in losses)
    assert len(losses) > 1
    assert train_epoch(model, batches.epoch(0), optimizer) == pytest.approx(expected, abs=1e-5)
    train_epoch(model, batches.epoch(1), create_optimizer(model, learning_rate=0.1))
    assert not torch.equal(model.item_embedding.weight, before)


def test_a_loss_that_is_not_finite_stops_before_the_weights_follow(model: IDModel) -> None:
    optimizer = create_optimizer(model, learning_rate=0.1)
    poisoned = iter([float("1"), float("nan")])
    before: list[torch.Tensor] = []

    def loss(states: torch.Tensor, table: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        before[:] = [weight.detach().clone() for weight in model.parameters()]
        return full_softmax(states, table, targets) * next(poisoned)

    with pytest.raises(IDModelError, match="the loss of batch 1 is nan; the weights are those before it"):
        train_epoch(model, [BATCH, BATCH], optimizer, loss=loss)
    assert all(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize("kind", loss_names())
@pytest.mark.parametrize("shared", [True, False])
def test_every_loss_teaches_a_cycle(kind: str, shared: bool, small_settings: Callable[..., IDSettings]) -> None:
    torch.manual_seed(0)
    period, users, steps = 7, 10, 20
    items = np.concatenate([(np.arange(steps) + user) % period + 1 for user in range(users)])
    ends = np.arange(1, users + 1) * steps
    batches = IDBatches(items, ends - steps, ends, max_length=6, batch_targets=60, seed=0)
    model = create_id_model(period + 1, small_settings("gru4rec", width=16, inner_width=32))
    losses = fit(model, batches, 25, learning_rate=2e-2, loss=LossSettings(kind, 4, "popularity", shared))
    scores = last_states(model.eval(), torch.tensor([[3, 4, 5]]), torch.tensor([3])) @ model.item_table().T
    assert scores[0, 1:].argmax().item() + 1 == 6
    assert losses[-1] < 0.3 * losses[0]


def test_clipping_bounds_the_step(model: IDModel) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    before = torch.cat([weight.detach().flatten().clone() for weight in model.parameters()])
    train_epoch(model, [BATCH], optimizer, clip_norm=0.01)
    after = torch.cat([weight.detach().flatten() for weight in model.parameters()])
    assert (after - before).norm().item() == pytest.approx(0.01, rel=1e-3)


class _SeenError(Exception):
    """Training got as far as was asked."""


def test_batches_and_counts_go_to_the_models_device(monkeypatch: pytest.MonkeyPatch) -> None:
    devices: list[str] = []

    def loss_of(model: IDModel, batch: IDBatch, loss: object) -> None:
        devices.extend(part.device.type for part in (batch.items, batch.targets, batch.rows))
        raise _SeenError

    monkeypatch.setattr(training, "multiplies_in", lambda *given: nullcontext())  # autocast has no meta device
    monkeypatch.setattr(training, "create_optimizer", lambda model, rate: torch.optim.SGD(model.parameters(), rate))
    monkeypatch.setattr(training, "create_loss", lambda loss, counts: devices.append(counts.device.type))
    monkeypatch.setattr(training, "sequence_loss", loss_of)
    batches = IDBatches(np.array([1, 2, 3]), np.array([0]), np.array([3]), 5, 8, 1)
    with pytest.raises(_SeenError):
        fit(create_id_model(6, IDSettings(max_length=5)).to("meta"), batches, epochs=1)
    assert devices == ["meta"] * 4


def test_a_gradient_that_is_not_finite_stops_before_the_weights_follow() -> None:
    model = create_id_model(13, IDSettings(max_length=5))
    model.item_embedding.weight.register_hook(lambda gradient: gradient / 0)
    before = [weight.detach().clone() for weight in model.parameters()]
    with pytest.raises(IDModelError, match="the gradient of batch 0 is inf; the weights are those before it"):
        train_epoch(model, [BATCH], create_optimizer(model, learning_rate=0.1))
    assert all(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))


def test_a_step_reads_no_number_alone(single_numbers) -> None:
    model = create_id_model(13, IDSettings(max_length=5))
    optimizer = create_optimizer(model, learning_rate=0.1)
    with single_numbers:
        train_epoch(model, [BATCH], optimizer, loss=lambda states, table, targets: (states @ table.T).square().mean())
    assert single_numbers.read == 0


def test_an_unknown_item_is_refused_before_training() -> None:
    batches = IDBatches(np.array([1, 2, 9, 3]), np.array([0]), np.array([4]), 5, 8, 1)
    with pytest.raises(IDModelError, match="item id 9 in a history; this model knows items 1 to 5"):
        fit(create_id_model(6, IDSettings(max_length=5)), batches, epochs=1)
