"""The running mean of a learner's weights, which is what everybody but its own training sees.

Weights that a constant learning rate keeps in motion scatter around what they have learned; their mean does not
(Polyak and Juditsky, 1992). After step t ``m <- d m + (1 - d) w`` with ``d = min(decay, (1 + t) / (10 + t))``, so that
the first steps, which are far from everything, are soon forgotten.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class AveragedWeights:
    """The mean of ``parameters`` beside them; `swap` lets the two change places.

    While the learner learns, the parameters are the weights and `others` is the mean, else it is the other way round.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], decay: float) -> None:
        self._parameters = list(parameters)
        self._decay = decay
        self.others: list[Tensor] = []
        self.restart()

    def restart(self) -> None:
        """The mean and the weights are both what the parameters are now."""
        self.others = [parameter.detach().clone() for parameter in self._parameters]

    @torch.no_grad()
    def step(self, steps: int) -> None:
        """Take up the weights after the learner's step number ``steps``, counted from 1."""
        mix = get_ema_multi_avg_fn(min(self._decay, (1 + steps) / (10 + steps)))
        mix(self.others, [parameter.detach() for parameter in self._parameters], None)

    @torch.no_grad()
    def swap(self) -> None:
        """Weights and mean change places."""
        shown = [parameter.detach().clone() for parameter in self._parameters]
        for parameter, other in zip(self._parameters, self.others, strict=True):
            parameter.copy_(other)
        self.others = shown
