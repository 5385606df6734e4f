"""The ID side's learner: its loss, and what it writes to the store."""

import pytest
import torch

from hybrid.data.prepare import prepare
from hybrid.data.split import split_training
from hybrid.errors import UserError
from hybrid.system import build_system
from hybrid.training.id_learner import IDLearner


def make_learner(config):
    data = split_training(prepare(config.data), config.data)
    system = build_system(config, data)
    return IDLearner(config, system.need_id(), system.exchange, data, system.device, phases=1)


@pytest.mark.parametrize("kind", ["softmax", "sampled_softmax", "gbce", "bce", "bpr"])
def test_the_loss_has_its_own_name_and_falls(tiny, kind):
    torch.manual_seed(0)
    learner = make_learner(tiny(f"train.id.loss.kind={kind}", "train.id.loss.negatives=5", "train.id.learning_rate=0.01"))
    learner.wake()
    first = learner.step(next(learner.batches(0, 0)))
    assert first[kind] == first["loss"]
    for epoch in range(1, 30):
        last = [learner.step(batch) for batch in learner.batches(epoch, 0)]
    assert sum(logs[kind] for logs in last) / len(last) < 0.9 * first[kind]


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
