"""Full softmax: every item of the catalogue competes at each of M scored positions.

Letters: M scored positions, N items (row 0 is padding), D id width.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

_CHUNK_LOGITS = {"cpu": 1 << 18}  # logits alive at once; on a CPU they should stay in the cache
_CHUNK_LOGITS_ELSEWHERE = 1 << 26
_MIN_ROWS = 16


def full_softmax(states: Tensor, table: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of the targets among all N rows of the table, a scalar.

    states [M, D], table [N, D], targets [M]; 0 where M is 0. Row 0 (padding) is among the N, as in RecBole. The
    logits [M, N] are never there at once: chunk by chunk they become the loss and its gradient in one pass, which is
    faster on a CPU than ``torch.nn.functional.linear_cross_entropy`` and needs as little memory. No second derivative.
    """
    with torch.autocast(states.device.type, enabled=False):
        loss: Tensor = _FullSoftmax.apply(states.float(), table.float(), targets)
    return loss


class _FullSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, table: Tensor, targets: Tensor) -> Tensor:
        if not any(ctx.needs_input_grad):
            return _sum_cross_entropy(states, table, targets) / max(len(targets), 1)
        grad_states, grad_table = torch.empty_like(states), torch.zeros_like(table)
        total = states.new_zeros(())
        for rows in _chunks(states, table):
            chunk, picked = states[rows], targets[rows].unsqueeze(1)
            losses, grad = _losses_and_gradient(chunk @ table.T, picked)
            total += losses.sum()
            torch.mm(grad, table, out=grad_states[rows])
            grad_table.addmm_(grad.T, chunk)
        ctx.save_for_backward(grad_states, grad_table)
        return total / max(len(targets), 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        grad_states, grad_table = ctx.saved_tensors
        scale = grad / max(len(grad_states), 1)
        return grad_states * scale, grad_table * scale, None


def _losses_and_gradient(logits: Tensor, picked: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy of each row, [m], and its gradient softmax - one-hot in the place of the logits [m, N].

    One exponential per logit: its normaliser is read off the most likely item, whose probability is at least 1 / N.
    """
    top, wanted = logits.amax(dim=1), logits.gather(1, picked).squeeze(1)
    grad = torch.softmax(logits, dim=1, out=logits)
    normaliser = top - grad.amax(dim=1).log()
    return normaliser - wanted, grad.scatter_add_(1, picked, grad.new_full(picked.shape, -1.0))


def _sum_cross_entropy(states: Tensor, table: Tensor, targets: Tensor) -> Tensor:
    """Sum over the M positions of the cross-entropy among all N rows, without gradient; memory is bounded."""
    total = states.new_zeros(())
    for rows in _chunks(states, table):
        total += torch.nn.functional.cross_entropy(states[rows] @ table.T, targets[rows], reduction="sum")
    return total


def _chunks(states: Tensor, table: Tensor) -> list[slice]:
    budget = _CHUNK_LOGITS.get(states.device.type, _CHUNK_LOGITS_ELSEWHERE)
    size = max(_MIN_ROWS, budget // len(table))
    return [slice(first, first + size) for first in range(0, len(states), size)]
