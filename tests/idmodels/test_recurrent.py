"""Our GRU equals torch's: states and all gradients."""

import pytest
import torch
from torch import Tensor, nn

from idmodels.gru4rec import GRU4Rec
from idmodels.recurrent import gru
from idmodels.settings import IDSettings


def _results(layers: nn.GRU, inputs: Tensor, ours: bool) -> list[Tensor]:
    inputs = inputs.clone().requires_grad_()
    layers.zero_grad()
    states = gru(layers, inputs) if ours else layers(inputs)[0]
    weights = torch.randn(states.shape, dtype=states.dtype, generator=torch.Generator().manual_seed(3))
    (states * weights).sum().backward()
    assert inputs.grad is not None
    return [states.detach(), inputs.grad, *(weight.grad.clone() for weight in layers.parameters())]  # type: ignore[union-attr]


@pytest.mark.parametrize(("depth", "size", "length"), [(1, 3, 7), (2, 4, 5), (1, 1, 1)])
def test_states_and_gradients_are_torchs(depth: int, size: int, length: int) -> None:
    torch.manual_seed(0)
    layers = nn.GRU(6, 5, depth, bias=False, batch_first=True).double()
    inputs = torch.randn(size, length, 6, dtype=torch.float64)
    for ours, theirs in zip(_results(layers, inputs, True), _results(layers, inputs, False), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_autocast_stays_near_the_float32_result() -> None:
    torch.manual_seed(0)
    layers, inputs = nn.GRU(16, 32, 1, bias=False, batch_first=True), torch.randn(8, 20, 16)
    exact = _results(layers, inputs, True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = _results(layers, inputs, True)
    assert rounded[0].dtype == torch.bfloat16
    for near, value in zip(rounded, exact, strict=True):
        assert (near.float() - value).norm() < 0.02 * value.norm()


class _OnCuda(Tensor):
    """Computed on the CPU; says that it is on a GPU."""

    device = torch.device("cuda")


def test_on_a_gpu_autocast_does_not_reach_the_recurrence(monkeypatch: pytest.MonkeyPatch) -> None:
    model = GRU4Rec(9, IDSettings("gru4rec", width=8, max_length=5, inner_width=6))
    seen: list[tuple[bool, torch.dtype]] = []

    def read(embedded: Tensor) -> tuple[Tensor]:
        seen.append((torch.is_autocast_enabled("cuda"), embedded.dtype))
        return (embedded[:, :, :6],)

    monkeypatch.setattr(model.gru_layers, "forward", read)
    torch.set_autocast_enabled("cuda", True)
    try:
        model.encode(torch.tensor([[1, 2, 3]]).as_subclass(_OnCuda), model.item_table().to(torch.bfloat16))
        assert torch.is_autocast_enabled("cuda")
    finally:
        torch.set_autocast_enabled("cuda", False)
    assert seen == [(False, torch.float32)]
