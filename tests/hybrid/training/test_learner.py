"""A step of any learner: what it reports, refuses and asks of the device; and the mean that it shows when asleep."""

import pytest
import torch
from torch import nn

from hybrid.config.schema import OptimizerConfig
from hybrid.errors import UserError
from hybrid.training.learner import Learner


class Line(Learner):
    """Fits a weight w, at first 2, by the losses w * x and (w * x)^2."""

    side = "id"

    def __init__(self, start=2.0, learning_rate=0.5, average=0.0):
        self.weight = nn.Parameter(torch.tensor(start))
        config = OptimizerConfig(learning_rate=learning_rate, average=average)
        super().__init__([], [self.weight], config, total_steps=10)

    def batches_per_epoch(self):
        return 4

    def batches(self, epoch, skip):
        return iter(())

    def losses(self, batch):
        return {"plain": self.weight * batch, "square": (self.weight * batch) ** 2}

    def write_store(self, step):
        """Nothing."""


class Slope(Line):
    """A weight that falls by about 0.1 a step from 1, whatever the batch."""

    def __init__(self, average):
        super().__init__(1.0, 0.1, average)

    def losses(self, batch):
        return {"slope": self.weight * batch}


def test_a_step_reports_the_losses_their_sum_the_norm_and_the_rate():
    learner = Line()
    logs = learner.step(torch.tensor(3.0))
    expected = {"plain": 6.0, "square": 36.0, "loss": 42.0, "gradient_norm": 39.0, "learning_rate": 0.5}
    assert logs == pytest.approx(expected)
    assert list(logs) == list(expected)
    assert learner.weight.item() < 2.0


@pytest.mark.parametrize(("batch", "spoilt", "said"), [("nan", 1, "loss is nan"), ("1", "inf", "gradient norm is inf")])
def test_a_step_that_is_not_finite_leaves_the_weights_alone(batch, spoilt, said):
    learner = Line()
    learner.batches_done = 3
    learner.weight.register_hook(lambda gradient: gradient * float(spoilt))
    with pytest.raises(UserError, match=rf"the id side's {said} at its step 0 \(batch 3 of 4 in epoch 1\)"):
        learner.step(torch.tensor(float(batch)))
    assert learner.weight.item() == 2.0
    assert learner.steps == 0


def test_a_step_reads_no_number_alone(single_numbers):
    learner, batch = Line(), torch.tensor(3.0)
    with single_numbers:
        learner.step(batch)
    assert single_numbers.read == 0


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
