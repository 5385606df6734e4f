"""A step of any learner: what it reports, what it refuses, and what it asks of the device."""

import pytest
import torch
from torch import nn

from hybrid.config.schema import OptimizerConfig
from hybrid.errors import UserError
from hybrid.training.learner import Learner


class Line(Learner):
    """Fits a weight w, at first 2, by the losses w * x and (w * x)^2."""

    side = "id"

    def __init__(self):
        self.weight = nn.Parameter(torch.tensor(2.0))
        super().__init__([], [self.weight], OptimizerConfig(learning_rate=0.5), total_steps=10)

    def batches_per_epoch(self):
        return 4

    def batches(self, epoch, skip):
        return iter(())

    def losses(self, batch):
        return {"plain": self.weight * batch, "square": (self.weight * batch) ** 2}

    def write_store(self, step):
        """Nothing."""


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
