"""Where the adapter goes, and what is trainable."""

import pytest
import torch

from hybrid.config.schema import LoRAConfig
from hybrid.errors import UserError
from hybrid.llm.adapter import adapter_weights, attach_adapter


def test_only_the_adapter_is_trainable_and_it_changes_nothing_yet(backbone) -> None:
    tokens = torch.arange(6)[None]
    before = backbone.model(input_ids=tokens).last_hidden_state
    model = attach_adapter(backbone, LoRAConfig(rank=3, targets=("q_proj", "down_proj")))
    assert torch.equal(model(input_ids=tokens).last_hidden_state, before)
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trainable == set(adapter_weights(model))
    # A and B of two layers: q_proj 32 -> 32, down_proj 64 -> 32
    assert sum(weight.numel() for weight in adapter_weights(model).values()) == 2 * 3 * (32 + 32 + 64 + 32)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (("q_proj", "v_prj"), r"no linear layer is named 'v_prj'; did you mean 'v_proj'\?"),
        (("attention",), "no linear layer is named 'attention'; accepted: down_proj, gate_proj, k_proj"),
        (("norm",), "no linear layer is named 'norm'"),
        ((), "llm.lora.targets is empty; accepted: down_proj"),
    ],
)
def test_targets_that_fit_nothing_are_refused(backbone, targets: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        attach_adapter(backbone, LoRAConfig(targets=targets))
