"""Where the weights of a core come from."""

import pytest
import torch

from bridges.errors import BridgeError
from bridges.lora.algebra import Identity
from bridges.lora.routers import DenseRouter, Gate, Mixture, group_name
from bridges.lora.settings import RouterSettings


def test_group_names() -> None:
    name = "layers.3.self_attn.q_proj"
    assert group_name(name, "model") == "all"
    assert group_name(name, "layer") == "3"
    assert group_name(name, "module") == "layers-3-self_attn-q_proj"
    assert group_name("lm_head", "layer") == "lm_head"


def mixture(experts: int = 2) -> Mixture:
    router = Mixture(RouterSettings(core="mixture", experts=experts))
    router.add("a")
    router.add("b")
    return router


def test_mixture_begins_equal_and_takes_weights_exactly() -> None:
    router = mixture()
    assert torch.equal(router.weights()["a"], torch.tensor([0.5, 0.5]))
    router.set_weights([1, 0])
    assert all(torch.equal(weights, torch.tensor([1.0, 0.0])) for weights in router.weights().values())
    router.set_weights([0.3, 0.7])
    torch.testing.assert_close(router.weights()["b"], torch.tensor([0.3, 0.7]))


def test_a_weight_of_zero_gets_a_finite_gradient() -> None:
    router = mixture()
    router.set_weights([1, 0])
    router.core("a", None).weights.mul(torch.tensor([1.0, 2.0])).sum().backward()
    assert torch.equal(router.logits["a"].grad, torch.zeros(2))


@pytest.mark.parametrize("weights", [[0.5, 0.6], [1.0], [1.5, -0.5]])
def test_weights_that_are_none_are_refused(weights: list[float]) -> None:
    with pytest.raises(BridgeError, match="2 numbers of at least 0 that sum to 1"):
        mixture().set_weights(weights)


def gate(**settings: object) -> Gate:
    router = Gate(RouterSettings(**{"core": "gate", "experts": 3, "condition_width": 2, "hidden_width": 0, **settings}))
    router.add("a")
    router.nets["a"][0].weight.data = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    router.nets["a"][0].bias.data.zero_()
    return router


def test_gate_is_the_softmax_of_its_scores_over_the_temperature() -> None:
    users = torch.tensor([[2.0, 0.0], [0.0, -4.0]])
    expected = torch.tensor([[1.0, 0.0, 0.0], [0.0, -2.0, 0.0]]).softmax(dim=1)
    torch.testing.assert_close(gate(temperature=2.0).weights("a", users), expected)


def test_gate_keeps_the_largest_and_lets_them_sum_to_one() -> None:
    weights = gate(top=2).weights("a", torch.tensor([[2.0, 1.0]]))
    torch.testing.assert_close(weights, torch.tensor([[0.731059, 0.268941, 0.0]]))


def test_gate_without_a_user_is_even() -> None:
    assert torch.equal(gate().core("a", None).weights, torch.full((3,), 1 / 3))


def test_dense_begins_as_the_identity_and_learns_from_the_user() -> None:
    router = DenseRouter(RouterSettings(core="dense", rank=2, condition_width=3, dropout=0.0))
    router.add("a")
    users = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    matrix = router.core("a", users).matrix
    assert torch.equal(matrix, torch.eye(2).expand(4, 2, 2))
    matrix[:, 0, 1].sum().backward()
    assert router.nets["a"][-1].weight.grad.any()
    assert isinstance(router.core("a", None), Identity)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"core": "gates"}, "core: 'gates' is unknown; did you mean 'gate'?"),
        ({"granularity": "modul"}, "granularity: 'modul' is unknown; did you mean 'module'?"),
        ({"core": "gate"}, "core gate needs the width of the user vectors, got 0"),
        ({"experts": 2}, "core identity has one expert, got 2"),
        ({"rank": 0}, "rank must be at least 1, got 0"),
        ({"core": "gate", "condition_width": 2, "top": 2}, "top must be between 0 and the number of experts 1, got 2"),
        ({"core": "gate", "condition_width": 2, "temperature": 0.0}, "temperature must be above 0"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings, message: str) -> None:
    with pytest.raises(BridgeError) as error:
        RouterSettings(**settings)
    assert message in str(error.value)


def test_user_vectors_of_another_width_are_refused() -> None:
    with pytest.raises(BridgeError, match=r"user vectors must be \[B, 2\], got \[4, 3\]"):
        gate().core("a", torch.zeros(4, 3))
