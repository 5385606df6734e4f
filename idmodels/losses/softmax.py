"""Full softmax: every item of the catalogue competes at each of M scored positions.

Letters: M scored positions, N items (row 0 is padding), D id width.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from idmodels.errors import IDModelError

_CHUNK_LOGITS = {
    torch.float32: 1 << 18,
    torch.bfloat16: 1 << 20,
}  # at once; they should stay in the cache
_CHUNK_LOGITS_ELSEWHERE = 1 << 26
_MIN_ROWS = 16


def full_softmax(states: Tensor, table: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of the targets among all N rows of the table, a scalar.

    states [M, D], table [N, D], targets [M]; 0 where M is 0. Row 0 (padding) is among the N, as in RecBole. The
    logits [M, N] are never there at once: chunk by chunk they become the loss and its gradient in one pass, which is
    faster on a CPU than ``torch.nn.functional.linear_cross_entropy`` and needs as little memory. No second derivative.
    Under autocast the products are made in its dtype, and the sums over chunks in float32.
    """
    kind = states.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else torch.float32
    with torch.autocast(kind, enabled=False):
        loss: Tensor = _FullSoftmax.apply(states.to(dtype), table.to(dtype), targets)
    return loss


def linear_cross_entropy(states: Tensor, table: Tensor, targets: Tensor) -> Tensor:
    """`full_softmax` by ``torch.nn.functional.linear_cross_entropy`` in chunks, for torch's kernels of one's device.

    Raises IDModelError where torch has none (it came with 2.13).
    """
    torchs = getattr(torch.nn.functional, "linear_cross_entropy", None)
    if torchs is None:
        raise IDModelError(f"torch {torch.__version__} has no linear_cross_entropy; softmax is the same loss")
    if not len(targets):
        return states.sum() * 0.0
    options = torch.nn.LinearCrossEntropyOptions()
    with torch.autocast(states.device.type, enabled=False):
        loss: Tensor = torchs(states.float(), table.float(), targets, options=options)
    return loss


class _FullSoftmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, table: Tensor, targets: Tensor) -> Tensor:
        if not any(ctx.needs_input_grad):
            return _sum_cross_entropy(states, table, targets) / max(len(targets), 1)
        grad_states = torch.empty_like(states)
        grad_table = torch.zeros_like(table, dtype=torch.float32)
        total = grad_table.new_zeros(())
        for rows in _chunks(states, table):
            chunk = states[rows]
            losses, grad = _losses_and_gradient(chunk @ table.T, targets[rows])
            lost = losses.isinf()  # a probability that is 0 in this format; hardly ever
            if lost.any():
                losses[lost] = _cross_entropy(chunk[lost], table, targets[rows][lost])
            total += losses.sum()
            torch.mm(grad, table, out=grad_states[rows])
            _add_product(grad_table, grad.T, chunk)
        ctx.save_for_backward(grad_states, grad_table)
        return total / max(len(targets), 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        grad_states, grad_table = ctx.saved_tensors
        scale = grad / max(len(grad_states), 1)
        return grad_states * scale, grad_table * scale, None


def _losses_and_gradient(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy of each row, [m] float32, and its gradient softmax - one-hot in the place of the logits [m, N]."""
    picked = (torch.arange(len(targets), device=targets.device), targets)
    if logits.dtype == torch.float32:
        # One exponential per logit: the normaliser is read off the likeliest item, whose probability is at least 1 / N.
        top, wanted = logits.amax(dim=1), logits[picked]
        grad = torch.softmax(logits, dim=1, out=logits)
        losses = top - grad.amax(dim=1).log() - wanted
    else:
        # The loss is read off the probability itself: its rounding is that of the logits, and two passes are saved.
        grad = torch.softmax(logits, dim=1, out=logits)
        losses = -grad[picked].float().log()
    # Not scatter_, which copies the whole of it.
    return losses, grad.index_put_(picked, grad[picked] - 1)


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """``total += left @ right``, where ``total`` is float32."""
    if left.dtype == total.dtype:
        total.addmm_(left, right)
    else:
        total += left @ right


def _sum_cross_entropy(states: Tensor, table: Tensor, targets: Tensor) -> Tensor:
    """Sum over the M positions of the cross-entropy among all N rows, without gradient; memory is bounded."""
    total = torch.zeros((), device=states.device)
    for rows in _chunks(states, table):
        total += _cross_entropy(states[rows], table, targets[rows]).sum()
    return total


def _cross_entropy(states: Tensor, table: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of each of m rows in float32, [m]."""
    return torch.nn.functional.cross_entropy((states @ table.T).float(), targets, reduction="none")


def _chunks(states: Tensor, table: Tensor) -> list[slice]:
    on_cpu = states.device.type == "cpu"
    budget = _CHUNK_LOGITS.get(states.dtype, 1 << 18) if on_cpu else _CHUNK_LOGITS_ELSEWHERE
    # As many rows as the table is wide hold no more than the table does, and each chunk adds to all of its gradient.
    size = max(_MIN_ROWS, table.shape[1], budget // len(table))
    return [slice(first, first + size) for first in range(0, len(states), size)]
