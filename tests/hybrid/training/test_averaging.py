"""The running mean of weights, by hand."""

import pytest
import torch
from torch import nn

from hybrid.training.averaging import AveragedWeights


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
