"""Losses by name: a function of states [M, D], item table [N, D] and targets [M] to a scalar."""

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial

import torch
from torch import Tensor

from idmodels.errors import IDModelError
from idmodels.loss_settings import LossSettings
from idmodels.losses.negatives import Contrast, Negatives, item_shares
from idmodels.losses.sampled import bpr, gbce, gbce_beta, sampled_softmax
from idmodels.losses.softmax import full_softmax, linear_cross_entropy

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]

_FULL: dict[str, Loss] = {"softmax": full_softmax, "linear_cross_entropy": linear_cross_entropy}
_SAMPLED: dict[str, Callable[[LossSettings, int], Callable[[Contrast], Tensor]]] = {
    "sampled_softmax": lambda settings, n_items: sampled_softmax,
    "gbce": lambda settings, n_items: partial(gbce, beta=gbce_beta(settings.negatives, n_items, settings.gbce_t)),
    "bce": lambda settings, n_items: partial(gbce, beta=1.0),
    "bpr": lambda settings, n_items: bpr,
}


@dataclass(frozen=True)
class SampledLoss:
    """A loss against drawn negatives, computed in float32."""

    negatives: Negatives
    loss: Callable[[Contrast], Tensor]

    def __call__(self, states: Tensor, table: Tensor, targets: Tensor) -> Tensor:
        """states [M, D], table [N, D], targets [M] -> scalar."""
        with torch.autocast(states.device.type, enabled=False):
            return self.loss(self.negatives.contrast(states.float(), table.float(), targets))


def loss_names() -> tuple[str, ...]:
    """Accepted values of ``LossSettings.kind``, sorted."""
    return tuple(sorted((*_FULL, *_SAMPLED)))


def create_loss(settings: LossSettings, counts: Tensor) -> Loss:
    """The loss of the settings; counts [N]: how often each item is in the train part, on the device of the batches.

    Raises IDModelError for an unknown ``settings.kind``, or negatives from a catalogue of one item.
    """
    if settings.kind in _FULL:
        return _FULL[settings.kind]
    if settings.kind not in _SAMPLED:
        raise IDModelError(f"unknown loss {settings.kind!r}{_hint(settings.kind)}")
    if len(counts) < 3:
        raise IDModelError(f"{settings.kind} draws negatives and needs two items or more; softmax does not")
    negatives = Negatives(item_shares(counts, settings.proposal), settings.negatives, settings.shared_negatives)
    return SampledLoss(negatives, _SAMPLED[settings.kind](settings, len(counts)))


def _hint(name: str) -> str:
    close = get_close_matches(name.lower(), loss_names(), n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; accepted: {', '.join(loss_names())}"
