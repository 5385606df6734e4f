"""The adapter as a PEFT method: parity with PEFT's LoRA, saved forms, and user vectors that last one pass."""

import pytest
import torch
from peft import PeftModel, get_peft_model
from torch import nn

from bridges.errors import BridgeError
from bridges.lora.routers import Mixture
from bridges.lora.tuner import CoreLoraConfig

CORES = [
    {"core": "mixture", "experts": 3, "granularity": "model"},
    {"core": "mixture", "experts": 3, "granularity": "module", "combine": "product_of_sums"},
    {"core": "gate", "experts": 3, "condition_width": 4, "granularity": "layer"},
    {"core": "gate", "experts": 3, "condition_width": 4, "combine": "product_of_sums", "hidden_width": 0},
    {"core": "dense", "condition_width": 4, "granularity": "model"},
]


@pytest.fixture
def users() -> torch.Tensor:
    return torch.randn(3, 4, generator=torch.Generator().manual_seed(9))


def shake(model: PeftModel) -> PeftModel:
    """Routers away from their start, dropout off."""
    generator = torch.Generator().manual_seed(3)
    for weight in model.base_model.router().parameters():
        weight.data += 0.5 * torch.randn(weight.shape, generator=generator)
    return model.eval()


def lora_gradients(model: PeftModel, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    x = x.clone().requires_grad_()
    output = model(x)
    output.square().sum().backward()
    weights = [weight for name, weight in model.named_parameters() if "lora_A" in name or "lora_B" in name]
    return output.detach(), [x.grad, *(weight.grad for weight in weights)]


def test_identity_is_pefts_lora_forward_and_backward(core_lora, plain_lora, inputs) -> None:
    ours, ours_gradients = lora_gradients(core_lora(), inputs)
    theirs, their_gradients = lora_gradients(plain_lora(), inputs)
    assert (ours - theirs).abs().max() <= 1e-6
    assert len(ours_gradients) == len(their_gradients) == 9
    for mine, theirs in zip(ours_gradients, their_gradients, strict=True):
        assert mine.any()
        assert (mine - theirs).abs().max() <= 1e-6 * theirs.abs().max()


def test_a_new_adapter_changes_nothing(stack, inputs) -> None:
    model = get_peft_model(stack(), CoreLoraConfig(r=2, target_modules=["q_proj"], core="mixture", experts=2))
    assert torch.equal(model(inputs), stack()(inputs))


@pytest.mark.parametrize("settings", CORES)
def test_a_saved_adapter_loads_as_it_was(core_lora, stack, inputs, users, tmp_path, settings) -> None:
    model = shake(core_lora(**settings))
    with model.base_model.given(users):
        expected = model(inputs)
    model.save_pretrained(str(tmp_path), save_embedding_layers=False)
    loaded = PeftModel.from_pretrained(stack(), str(tmp_path)).eval()
    with loaded.base_model.given(users):
        assert torch.equal(loaded(inputs), expected)
    assert not torch.equal(expected, stack()(inputs))


@pytest.mark.parametrize("settings", CORES)
def test_only_adapter_and_router_learn(core_lora, inputs, users, settings) -> None:
    model = shake(core_lora(**settings))
    with model.base_model.given(users):
        model(inputs).square().sum().backward()
    for name, weight in model.named_parameters():
        assert weight.requires_grad == ("core_lora_" in name), name
        assert (weight.grad is not None and bool(weight.grad.any())) == ("core_lora_" in name), name


def test_a_gates_gradient_is_that_of_central_differences(core_lora, inputs, users) -> None:
    model = shake(core_lora(core="gate", experts=3, condition_width=4, granularity="model", hidden_width=0)).double()
    bias = model.base_model.router().nets["all"][-1].bias

    def value() -> torch.Tensor:
        with model.base_model.given(users):
            return model(inputs.double()).square().sum()

    value().backward()
    for number in range(3):
        around = []
        for step in (1e-5, -2e-5):
            bias.data[number] += step
            around.append(value().item())
        bias.data[number] += 1e-5
        assert bias.grad[number].item() == pytest.approx((around[0] - around[1]) / 2e-5, rel=1e-5)


def test_each_sample_is_read_with_its_own_user(core_lora, inputs, users) -> None:
    model = shake(core_lora(core="gate", experts=3, condition_width=4))
    with torch.no_grad(), model.base_model.given(users):
        together = model(inputs)
    for number in range(3):
        with torch.no_grad(), model.base_model.given(users[number : number + 1]):
            torch.testing.assert_close(model(inputs[number : number + 1])[0], together[number])


def test_user_vectors_do_not_outlive_the_pass(core_lora, inputs, users) -> None:
    model = core_lora(core="gate", experts=2, condition_width=4)
    with pytest.raises(BridgeError, match="depends on the user, but the forward pass was given none"):
        model(inputs)
    with pytest.raises(RuntimeError, match="shapes"), model.base_model.given(users):
        model(inputs[..., :2])
    with pytest.raises(BridgeError, match="was given none"):
        model(inputs)


def test_passes_can_be_nested(core_lora, inputs, users) -> None:
    model = shake(core_lora(core="gate", experts=2, condition_width=4))
    with model.base_model.given(users):
        before = model(inputs)
        with model.base_model.given(None):
            even = model(inputs)
        assert torch.equal(model(inputs), before)
    assert not torch.allclose(even, before)


def test_granularity_decides_what_shares_weights(core_lora) -> None:
    counts = {
        granularity: len(core_lora(core="mixture", experts=2, granularity=granularity).base_model.router().logits)
        for granularity in ("model", "layer", "module")
    }
    assert counts == {"model": 1, "layer": 2, "module": 4}


@pytest.mark.parametrize("settings", CORES[:2])
def test_merging_into_the_weights_and_back(core_lora, inputs, settings) -> None:
    model = shake(core_lora(**settings))
    before = model(inputs)
    model.merge_adapter()
    assert all(module.merged for module in model.modules() if hasattr(module, "core_lora_A"))
    torch.testing.assert_close(model(inputs), before, atol=1e-5, rtol=1e-5)
    model.unmerge_adapter()
    torch.testing.assert_close(model(inputs), before, atol=1e-5, rtol=1e-5)
    plain = model.merge_and_unload()
    torch.testing.assert_close(plain(inputs), before, atol=1e-5, rtol=1e-5)


def test_an_adapter_of_the_user_is_not_merged(core_lora) -> None:
    with pytest.raises(BridgeError, match="depends on the user, so it can't be merged"):
        core_lora(core="dense", condition_width=4).merge_adapter()


def test_disabled_it_is_the_base_model(core_lora, stack, inputs) -> None:
    model = shake(core_lora(core="mixture", experts=2))
    with model.disable_adapter():
        assert torch.equal(model(inputs), stack()(inputs))


def test_gpt2s_linear_layer_has_its_sizes_the_other_way_round(inputs) -> None:
    from transformers.pytorch_utils import Conv1D

    class One(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.c_attn = Conv1D(9, 6)

        def forward(self, x):
            return self.c_attn(x)

    model = get_peft_model(One(), CoreLoraConfig(r=2, target_modules=["c_attn"]))
    weight = model.base_model.model.c_attn.core_lora_B["default"]
    assert weight.shape == (9, 2)
    weight.data.normal_()
    before = model(inputs)
    model.merge_adapter()
    torch.testing.assert_close(model(inputs), before, atol=1e-5, rtol=1e-5)


def test_only_linear_layers_can_have_it(stack) -> None:
    with pytest.raises(BridgeError, match=r"layers\.0 is a Block; only linear layers"):
        get_peft_model(stack(), CoreLoraConfig(target_modules=["layers.0"]))


def test_a_second_adapter_has_a_router_of_its_own(core_lora, inputs) -> None:
    model = core_lora(core="mixture", experts=2)
    model.add_adapter("other", CoreLoraConfig(r=2, target_modules=["q_proj"], core="mixture", experts=3))
    assert isinstance(model.base_model.router("other"), Mixture)
    assert len(model.base_model.router("other").logits) == 2
    before = model(inputs)
    model.set_adapter("other")
    assert not torch.equal(model(inputs), before)
