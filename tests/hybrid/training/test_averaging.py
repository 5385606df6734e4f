"""The mean of the weights by hand, and a learner that shows it to everybody but its own training."""

import pytest
import torch
from torch import nn

from hybrid.config.schema import OptimizerConfig
from hybrid.training.averaging import AveragedWeights
from hybrid.training.learner import Learner


class Slope(Learner):
    """A weight that falls by about 0.1 a step from 1, whatever the batch."""

    side = "id"

    def __init__(self, average):
        self.weight = nn.Parameter(torch.tensor([1.0]))
        super().__init__([], [self.weight], OptimizerConfig(learning_rate=0.1, average=average), total_steps=10)

    def batches_per_epoch(self):
        return 4

    def batches(self, epoch, skip):
        return iter(())

    def losses(self, batch):
        return {"slope": self.weight.sum() * batch}

    def write_store(self, step):
        """Nothing."""


def test_the_mean_by_hand():
    weight = nn.Parameter(torch.tensor([0.0]))
    average = AveragedWeights([weight], decay=0.25)
    values = []
    for step, value in enumerate([1.0, 2.0, 4.0], start=1):
        weight.data.fill_(value)
        average.step(step)
        values.append(average.others[0].item())
    first = 0.0 * 2 / 11 + 1.0 * 9 / 11
    second = first * 0.25 + 2.0 * 0.75  # (1 + 2) / (10 + 2) is the decay itself
    assert values == pytest.approx([first, second, second * 0.25 + 4.0 * 0.75])


def test_asleep_a_learner_is_its_mean_and_awake_its_weights():
    plain, averaged = Slope(0.0), Slope(0.9)
    for learner in (plain, averaged):
        learner.wake()
        for _ in range(3):
            learner.step(torch.tensor(1.0))
    assert averaged.weight.item() == plain.weight.item() == pytest.approx(0.7, abs=1e-3)
    plain.sleep()
    averaged.sleep()
    assert plain.weight.item() == pytest.approx(0.7, abs=1e-3)
    mean = 1.0
    for step, value in ((1, 0.9), (2, 0.8), (3, 0.7)):
        decay = (1 + step) / (10 + step)
        mean = decay * mean + (1 - decay) * value
    assert averaged.weight.item() == pytest.approx(mean, abs=1e-3)
    averaged.sleep()  # a second time changes nothing
    assert averaged.weight.item() == pytest.approx(mean, abs=1e-3)
    averaged.wake()
    assert averaged.weight.item() == plain.weight.item()


def test_other_weights_are_both_mean_and_weights():
    learner = Slope(0.9)
    learner.wake()
    learner.step(torch.tensor(1.0))
    learner.sleep()
    learner.weight.data.fill_(5.0)
    learner.start_anew()
    learner.wake()
    assert learner.weight.item() == 5.0


def test_what_was_set_before_the_first_step_is_not_taken_back():
    learner = Slope(0.9)
    learner.weight.data.fill_(3.0)
    learner.wake()
    assert learner.weight.item() == 3.0
    learner.sleep()
    assert learner.weight.item() == 3.0
