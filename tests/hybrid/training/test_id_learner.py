"""The ID side's learner: its loss, and what it writes to the store."""

import numpy as np
import pytest
import torch

from hybrid.data.prepare import prepare
from hybrid.data.split import split_training
from hybrid.errors import UserError
from hybrid.runs import train_run
from hybrid.system import build_system
from hybrid.training.id_learner import IDLearner


def make_learner(config):
    data = split_training(prepare(config.data), config.data)
    system = build_system(config, data)
    return IDLearner(config, system.need_id(), system.exchange, data, system.device, phases=1)


@pytest.mark.parametrize("kind", ["softmax", "linear_cross_entropy", "sampled_softmax", "gbce", "bce", "bpr"])
def test_the_loss_has_its_own_name_and_falls(tiny, kind):
    torch.manual_seed(0)
    config = tiny(f"train.id.loss.kind={kind}", "train.id.loss.negatives=5", "train.id.learning_rate=0.01")
    learner = make_learner(config)
    learner.wake()
    first = learner.step(next(learner.batches(0, 0)))
    assert first[kind] == first["loss"]
    for epoch in range(1, 30):
        last = [learner.step(batch) for batch in learner.batches(epoch, 0)]
    assert sum(logs[kind] for logs in last) / len(last) < 0.9 * first[kind]


def test_a_causal_model_writes_a_state_for_every_interaction(tiny):
    learner = make_learner(tiny())
    learner.write_store(step=0)
    rows = torch.arange(len(learner.data.items))
    assert learner.exchange.store.written("id", "user", rows).all()


def test_a_model_that_is_not_causal_writes_each_users_last_state(tiny):
    learner = make_learner(tiny("id.model=bert4rec"))
    learner.write_store(step=0)
    store, rows = learner.exchange.store, torch.arange(len(learner.data.items))
    last = torch.from_numpy(learner.data.ends - 1)
    assert np.array_equal(store.written("id", "user", rows).nonzero().flatten(), last)
    user = int(np.argmax(learner.data.ends - learner.data.starts))
    history = learner.data.items[learner.data.starts[user] : learner.data.ends[user]][-6:]
    expected = learner.model.eval().last_states(
        torch.tensor(history[None], dtype=torch.int64), torch.tensor([len(history)])
    )
    assert torch.allclose(store.read("id", "user", last[[user]]), expected, atol=2e-3)  # the store keeps half precision


@pytest.mark.parametrize("scorer", ["suffix_cosine", "id_head"])
def test_both_sides_train_with_a_model_that_is_not_causal(tiny, scorer):
    run = train_run(tiny("id.model=bert4rec", f"llm.scorer.kind={scorer}", "id.temperature=0.5"))
    assert run.best_id.is_dir()
    assert run.best_llm.is_dir()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.id.loss.kind=hinge", "train.id.loss.kind: input should be 'softmax'"),
        ("train.id.loss.negatives=0", "train.id.loss: negatives must be at least 1, got 0"),
        ("train.id.loss.gbce=1", "unknown key 'train.id.loss.gbce'; did you mean 'train.id.loss.gbce_t'"),
    ],
)
def test_settings_of_the_loss_are_checked_when_the_config_is_read(tiny, override, message):
    with pytest.raises(UserError, match=message):
        tiny(override)
