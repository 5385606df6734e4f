"""The loss of one batch, and a plain training loop for an ID model alone.

Letters: B batch, L history length, M scored positions, N items (row 0 is padding), D id width.
"""

import math
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from idmodels.batches import IDBatch, IDBatches
from idmodels.contract import IDModel, Scored
from idmodels.errors import IDModelError
from idmodels.loss_settings import LossSettings
from idmodels.losses import Loss, create_loss, full_softmax
from idmodels.precision import multiplies_in


def sequence_loss(
    model: IDModel, batch: IDBatch, table: Tensor | None = None, loss: Loss = full_softmax
) -> tuple[Tensor, Scored | None]:
    """Loss of a batch: (scalar mean, the states it was computed from; None where the model has no states).

    ``table`` [N, D] is ``model.item_table()`` where the caller has it already; histories are read and targets are
    scored with it.
    """
    table = model.item_table() if table is None else table
    return model.training_loss(batch, table, loss)


def create_optimizer(model: IDModel, learning_rate: float, weight_decay: float = 0.0) -> torch.optim.Optimizer:
    """AdamW in its fused form, which updates all parameters in one call; with no decay it is RecBole's Adam."""
    return torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=weight_decay, fused=True)


def train_epoch(
    model: IDModel,
    batches: Iterable[IDBatch],
    optimizer: torch.optim.Optimizer,
    clip_norm: float = 0.0,
    loss: Loss = full_softmax,
    dtype: torch.dtype = torch.float32,
) -> float:
    """One step per batch, on the model's device; mean loss over the targets.

    ``clip_norm`` bounds the gradient's norm, 0: unbounded. Products are made in ``dtype``, float32 or bfloat16
    (`idmodels.precision`).
    Raises IDModelError for a batch whose loss or gradient is not finite, before the weights follow it.
    """
    model.train()
    device, total, targets = model.item_embedding.weight.device, 0.0, 0
    for number, batch in enumerate(batches):
        optimizer.zero_grad(set_to_none=True)
        with multiplies_in(dtype, device):
            value, scored = sequence_loss(model, batch.to(device), loss=loss)
        value.backward()
        norm = clip_grad_norm_(model.parameters(), clip_norm or math.inf)
        mean = _checked(value, norm, number)
        optimizer.step()
        count = len(scored.targets) if scored is not None else int((batch.targets != 0).sum())
        total += mean * count
        targets += count
    return total / max(targets, 1)


def _checked(loss: Tensor, norm: Tensor, number: int) -> float:
    """The loss as a number; both are read at once, since a GPU waits each time it is asked."""
    values = torch.stack([loss.detach(), norm]).tolist()
    for what, value in zip(("loss", "gradient"), values, strict=True):
        if not math.isfinite(value):
            raise IDModelError(f"the {what} of batch {number} is {value}; the weights are those before it")
    return float(values[0])


def fit(
    model: IDModel,
    batches: IDBatches,
    epochs: int,
    learning_rate: float = 1e-3,
    loss: LossSettings = LossSettings(),  # noqa: B008 (frozen)
) -> list[float]:
    """Train for so many epochs with a fresh optimiser, on the model's device; mean loss of each.

    Raises IDModelError for an item id that the model does not know, and as `train_epoch` does.
    """
    model.check_items(torch.from_numpy(batches.items))
    model.read_interactions(batches.items, batches.starts, batches.ends)
    counts = torch.from_numpy(np.bincount(batches.items, minlength=model.n_items))
    chosen = create_loss(loss, counts.to(model.item_embedding.weight.device))
    optimizer = create_optimizer(model, learning_rate)
    return [train_epoch(model, batches.epoch(epoch), optimizer, loss=chosen) for epoch in range(epochs)]
