"""What the wrappers of RecBole's models have in common."""

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn

_EDGE = 1e-6  # of float32: no number of bfloat16 is that near to one


class RecBoleHolder(nn.Module):
    """A module with RecBole's models inside.

    They note the device they were made for and keep tensors there that are neither weights nor buffers: both go with
    the weights.
    """

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)
        device = next(self.parameters()).device
        for module in self.modules():
            _follow(module, device)
        return self


def _follow(module: nn.Module, device: torch.device) -> None:
    from recbole.data.interaction import Interaction

    noted = vars(module)
    for name, value in list(noted.items()):
        if name == "device":
            noted[name] = device
        elif isinstance(value, Tensor):
            noted[name] = value.detach().to(device)
        elif isinstance(value, Interaction):
            noted[name] = value.to(device)


def undo_sigmoid(probability: Tensor) -> Tensor:
    """The logits of probabilities of any shape, in float32, finite (14 at most) for 0 and 1 too."""
    return torch.logit(probability.float(), _EDGE)
