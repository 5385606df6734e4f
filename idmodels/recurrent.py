"""A GRU for training on a CPU: what needs no order is computed for all times at once, and a step in time does the rest.

With torch's own GRU each step in time is a dozen nodes of the autograd graph, and each has its part of the weights'
gradients. Here a step is one product and five elementwise operations, forwards as backwards, and each weight gets its
gradient from one product over all times.

Letters: B batch, L history length, D input width, H width of the recurrent state. Time comes first inside.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


def gru(layers: nn.GRU, inputs: Tensor) -> Tensor:
    """What ``layers(inputs)[0]`` is, [B, L, D] -> [B, L, H]: several layers, no bias, ``batch_first``, from state 0.

    Under autocast it computes in its dtype. No second derivative.
    """
    kind = inputs.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else inputs.dtype
    states = inputs.transpose(0, 1).to(dtype)  # [L, B, D]
    for layer in range(layers.num_layers):
        weights = (layers.get_parameter(f"weight_{name}_l{layer}").to(dtype) for name in ("ih", "hh"))
        with torch.autocast(kind, enabled=False):
            states = _GRULayer.apply(states, *weights)
    return states.transpose(0, 1)


class _GRULayer(torch.autograd.Function):
    """inputs [L, B, D], w_ih [3 H, D], w_hh [3 H, H] (reset, update, new) -> states [L, B, H]."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, w_ih: Tensor, w_hh: Tensor) -> Tensor:
        (length, size), width = inputs.shape[:2], w_hh.shape[1]
        gates = inputs.flatten(0, 1).mm(w_ih.T).view(length, size, 3 * width)
        states = inputs.new_zeros(length + 1, size, width)  # the first is the state before anything was read
        news = inputs.new_empty(length, size, width)  # what the state adds to "new", before the reset gate
        step, across = inputs.new_empty(size, 3 * width), w_hh.T
        for time in range(length):
            torch.mm(states[time], across, out=step)
            both, new = gates[time, :, : 2 * width], gates[time, :, 2 * width :]
            both.add_(step[:, : 2 * width]).sigmoid_()
            news[time] = step[:, 2 * width :]
            new.addcmul_(both[:, :width], news[time]).tanh_()
            torch.lerp(new, states[time], both[:, width:], out=states[time + 1])
        ctx.save_for_backward(inputs, w_ih, w_hh, gates, states, news)
        return states[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        inputs, w_ih, w_hh, gates, states, news = ctx.saved_tensors
        reset, update, new = gates.chunk(3, dim=2)  # each [L, B, H], after its nonlinearity
        before = states[:-1]
        # Derivatives that do not depend on what comes later, for all times at once.
        to_new = (1 - update) * (1 - new * new)
        to_update = (before - new) * update * (1 - update)
        to_reset = news * reset * (1 - reset)
        inner = torch.empty_like(gates)  # of what w_hh makes
        outer = torch.empty_like(new)  # of what w_ih makes for "new"; the rest of it is as in `inner`
        width, state = new.shape[2], torch.zeros_like(grad[0])
        for time in range(len(grad) - 1, -1, -1):
            state.add_(grad[time])
            torch.mul(state, to_new[time], out=outer[time])
            torch.mul(outer[time], to_reset[time], out=inner[time, :, :width])
            torch.mul(state, to_update[time], out=inner[time, :, width : 2 * width])
            torch.mul(outer[time], reset[time], out=inner[time, :, 2 * width :])
            state.mul_(update[time]).addmm_(inner[time], w_hh)
        grad_hh = inner.flatten(0, 1).T.mm(before.flatten(0, 1))
        inner[:, :, 2 * width :] = outer
        flat = inner.flatten(0, 1)
        return flat.mm(w_ih).view_as(inputs), flat.T.mm(inputs.flatten(0, 1)), grad_hh
