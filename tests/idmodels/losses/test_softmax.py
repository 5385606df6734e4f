import math

import pytest
import torch
from torch.nn import functional as F

from idmodels.errors import IDModelError
from idmodels.losses import full_softmax, softmax
from idmodels.losses.softmax import linear_cross_entropy


def _random(rows: int, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    states = torch.randn(rows, 5, dtype=dtype, requires_grad=True)
    table = torch.randn(11, 5, dtype=dtype, requires_grad=True)
    return states, table, torch.randint(0, 11, (rows,))


def test_by_hand() -> None:
    # Logits (0, ln 3) of two rows: probabilities 1/4 and 3/4; the padding row is a candidate too.
    table = torch.tensor([[0.0], [math.log(3.0)]])
    loss = full_softmax(torch.ones(2, 1), table, torch.tensor([1, 0]))
    assert loss.item() == pytest.approx((math.log(4 / 3) + math.log(4)) / 2, abs=1e-6)


def test_equal_logits_cost_the_log_of_the_catalogue() -> None:
    assert full_softmax(torch.zeros(4, 3), torch.randn(50, 3), torch.arange(4)).item() == pytest.approx(math.log(50))


@pytest.mark.parametrize("rows", [1, 16, 40])
def test_value_and_gradients_equal_torch_over_several_chunks(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr(softmax, "_CHUNK_LOGITS", {torch.float32: 1})  # the smallest chunk: 16 rows
    states, table, targets = _random(rows)
    ours = torch.autograd.grad(3.0 * full_softmax(states, table, targets), (states, table))
    theirs = torch.autograd.grad(3.0 * F.cross_entropy(states @ table.T, targets), (states, table))
    assert full_softmax(states, table, targets).item() == pytest.approx(
        F.cross_entropy(states @ table.T, targets).item(), abs=1e-6
    )
    for mine, reference in zip(ours, theirs, strict=True):
        assert torch.allclose(mine, reference, atol=1e-6)


def test_extreme_logits_stay_exact() -> None:
    states = torch.tensor([[300.0], [-300.0]], requires_grad=True)
    loss = full_softmax(states, torch.tensor([[0.0], [1.0], [-1.0]]), torch.tensor([2, 2]))
    assert loss.item() == pytest.approx(300.0)  # 600 for the hopeless target, 0 for the certain one
    loss.backward()
    assert states.grad.flatten().tolist() == pytest.approx([1.0, 0.0])


def test_value_without_gradient_is_the_same() -> None:
    states, table, targets = _random(40)
    with torch.no_grad():
        assert full_softmax(states, table, targets).item() == pytest.approx(
            F.cross_entropy(states @ table.T, targets).item(), abs=1e-6
        )


def test_a_constant_table_gets_no_gradient() -> None:
    states, table, targets = _random(8)
    full_softmax(states, table.detach(), targets).backward()
    assert states.grad is not None
    assert table.grad is None


def test_logits_never_stand_there_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(softmax, "_CHUNK_LOGITS", {torch.float32: 1 << 14})
    seen = []
    real = torch.softmax
    monkeypatch.setattr(torch, "softmax", lambda x, **rest: (seen.append(x.numel()), real(x, **rest))[1])
    table = torch.randn(512, 4, requires_grad=True)
    full_softmax(torch.randn(1000, 4), table, torch.randint(0, 512, (1000,))).backward()
    assert sum(seen) == 1000 * 512
    assert max(seen) <= 1 << 14


def test_bfloat16_states_alone_are_scored_in_float32() -> None:
    states, table, targets = _random(8, torch.bfloat16)
    expected = F.cross_entropy(states.float() @ table.float().T, targets)
    assert full_softmax(states, table, targets).item() == pytest.approx(expected.item(), abs=1e-6)


def test_autocast_multiplies_in_bfloat16_and_stays_near() -> None:
    states, table, targets = _random(300)
    exact = full_softmax(states, table, targets)
    wanted = torch.autograd.grad(exact, (states, table))
    with torch.autocast("cpu", torch.bfloat16):
        loss = full_softmax(states, table, targets)
    found = torch.autograd.grad(loss, (states, table))
    assert loss.dtype == torch.float32
    assert loss.item() != exact.item()
    assert loss.item() == pytest.approx(exact.item(), rel=2e-3)
    for near, value in zip(found, wanted, strict=True):
        assert near.dtype == torch.float32
        assert (near - value).norm() < 0.02 * value.norm()


def test_an_impossible_target_has_its_loss_in_bfloat16_too() -> None:
    table = torch.tensor([[0.0], [200.0], [-200.0]], requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        loss = full_softmax(torch.ones(1, 1), table, torch.tensor([2]))
    loss.backward()
    assert loss.item() == pytest.approx(400.0)
    assert table.grad is not None
    assert table.grad.flatten().tolist() == [0.0, 1.0, -1.0]


def test_no_positions_cost_nothing() -> None:
    states = torch.zeros(0, 5, requires_grad=True)
    loss = full_softmax(states, torch.randn(11, 5), torch.zeros(0, dtype=torch.int64))
    loss.backward()
    assert loss.item() == 0.0


def test_torchs_own_form_is_the_same_loss() -> None:
    states, table, targets = _random(200)
    ours, torchs = full_softmax(states, table, targets), linear_cross_entropy(states, table, targets)
    assert torchs.item() == pytest.approx(ours.item(), abs=1e-5)
    for a, b in zip(
        torch.autograd.grad(ours, (states, table)), torch.autograd.grad(torchs, (states, table)), strict=True
    ):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)


def test_a_torch_without_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(F, "linear_cross_entropy")
    with pytest.raises(IDModelError, match="has no linear_cross_entropy; softmax is the same loss"):
        linear_cross_entropy(*_random(3))
