"""Merging finished LoRAs, against PEFT's own merging and against the mixture inside the layers."""

import pytest
import torch
from peft import get_peft_model_state_dict, set_peft_model_state_dict

from bridges.errors import BridgeError
from bridges.lora.mixing import mix_adapters, stack_adapters


@pytest.fixture
def pair(plain_lora) -> list[dict[str, torch.Tensor]]:
    return [get_peft_model_state_dict(plain_lora(seed)) for seed in (1, 2)]


def mixed_model(plain_lora, adapters, weights, combine):
    """PEFT's plain LoRA with the mixture's weights."""
    state, growth = mix_adapters(adapters, lambda module: torch.tensor(weights), combine)
    model = plain_lora(r=2 * growth, lora_alpha=6.0 * growth)
    set_peft_model_state_dict(model, state)
    return model


@pytest.mark.parametrize("combine", ["sum_of_products", "product_of_sums"])
def test_weights_1_0_are_the_first_adapter(plain_lora, pair, inputs, combine: str) -> None:
    first = plain_lora(1)(inputs)
    torch.testing.assert_close(mixed_model(plain_lora, pair, [1.0, 0.0], combine)(inputs), first, rtol=0, atol=1e-6)
    if combine == "product_of_sums":
        state, _ = mix_adapters(pair, lambda module: torch.tensor([1.0, 0.0]), combine)
        assert all(torch.equal(state[name], pair[0][name]) for name in pair[0])


@pytest.mark.parametrize(
    ("combine", "theirs", "weights"),
    [("sum_of_products", "cat", [0.3, 0.7]), ("product_of_sums", "linear", [0.3**2, 0.7**2])],
)
def test_it_is_pefts_weighted_adapter(plain_lora, pair, inputs, combine, theirs, weights) -> None:
    """PEFT's `linear` puts the root of a weight on A and on B, so its weights are the squares of ours."""
    model = plain_lora(1)
    model.add_adapter("second", model.peft_config["default"])
    set_peft_model_state_dict(model, pair[1], adapter_name="second")
    model.add_weighted_adapter(["default", "second"], weights, "mixed", combination_type=theirs)
    model.set_adapter("mixed")
    ours = mixed_model(plain_lora, pair, [0.3, 0.7], combine)(inputs)
    torch.testing.assert_close(ours, model(inputs), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("combine", ["sum_of_products", "product_of_sums"])
def test_the_mixture_in_the_layers_is_the_merged_adapter(core_lora, plain_lora, pair, inputs, combine: str) -> None:
    model = core_lora(core="mixture", experts=2, combine=combine, granularity="layer")
    set_peft_model_state_dict(model, stack_adapters(pair))
    router = model.base_model.router()
    router.set_weights([0.3, 0.7])
    merged = mixed_model(plain_lora, pair, [0.3, 0.7], combine)(inputs)
    torch.testing.assert_close(model(inputs), merged, rtol=1e-5, atol=1e-5)
    router.logits["1"].data[0] += 1  # only the second layer's
    assert not torch.allclose(model(inputs), merged, atol=1e-3)


def test_adapters_that_differ_are_not_mixed(plain_lora, pair) -> None:
    name = next(name for name in pair[1] if "lora_A" in name)
    wider = {**pair[1], name: torch.zeros(4, 6)}
    with pytest.raises(BridgeError, match=r"q_proj.lora_A.weight is \(2, 6\) in one and \(4, 6\) in another"):
        stack_adapters([pair[0], wider])
    short = {key: value for key, value in pair[1].items() if key != name}
    with pytest.raises(BridgeError, match=r"q_proj.lora_A.weight is \(2, 6\) in one and absent in another"):
        stack_adapters([pair[0], short])
    with pytest.raises(BridgeError, match=r"not the weights of a LoRA: .*q_proj.lora_A.weight is missing"):
        stack_adapters([short, short])
