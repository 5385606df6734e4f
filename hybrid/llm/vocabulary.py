"""The vocabulary projection, which the backbone leaves out: the states' way back to words.

Letters: V vocabulary, H width, W words.
"""

from copy import deepcopy
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from hybrid.llm.backbone import Backbone, draw_model, keep_layers, read_model

SOFTCAPS = ("final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")
"""Names of the bound on logits in configs: Gemma 2 and others, RecurrentGemma, xLSTM."""


class Vocabulary(nn.Module):
    """Rows of the projection, without gradient, and what the model does with their logits.

    Args:
        weight: [V, H] or [W, H].
        bias: [V] or [W]; mostly there is none.
        scale: logits are multiplied by it.
        softcap: then they are bent to stay within plus and minus that; 0: they are not.
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(self, weight: Tensor, bias: Tensor | None, scale: float = 1.0, softcap: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("weight", weight, persistent=False)  # the backbone's own, not to be saved with an adapter
        self.register_buffer("bias", bias, persistent=False)
        self.scale, self.softcap = scale, softcap

    def logits(self, states: Tensor) -> Tensor:
        """States [..., H] -> logits [..., V] or [..., W], in the states' dtype."""
        bias = None if self.bias is None else self.bias.to(states.dtype)
        found = nn.functional.linear(states, self.weight.to(states.dtype), bias)
        if self.scale != 1:
            found = found * self.scale
        return self.softcap * torch.tanh(found / self.softcap) if self.softcap else found


def load_vocabulary(backbone: Backbone, words: list[int] | None = None) -> Vocabulary:
    """The rows of ``words`` (token ids), or all.

    Most models use their input embeddings; for others the files are read once more, and only these rows are kept; of
    drawn weights the head is drawn too. Raises UserError where the files lack it.
    """
    config, device = backbone.model.config, backbone.embeddings.device
    weight, bias = backbone.embeddings.detach(), None
    if not config.tie_word_embeddings and backbone.directory is not None:
        weight, bias = _own_head(backbone, backbone.directory)
    if words is not None:
        weight, bias = weight[words].clone(), None if bias is None else bias[words].clone()
    bias = None if bias is None else bias.to(device)
    return Vocabulary(weight.to(device), bias, logit_scale(config), logit_softcap(config))


def logit_scale(config: Any) -> float:
    """What a model of this config multiplies its logits by."""
    if config.model_type == "mpt":  # has the setting, and transformers ignores it
        return 1.0
    factor = _number(config, "logit_scale", 1.0) * _number(config, "lm_head_multiplier", 1.0)  # Cohere; Falcon-H1
    scaling = _number(config, "logits_scaling", 1.0)  # Granite divides by it
    return factor * scaling if config.model_type == "hyperclovax" else factor / scaling


def logit_softcap(config: Any) -> float:
    """The bound that a model of this config keeps its logits within; 0: there is none."""
    return next((cap for cap in (_number(config, name, 0.0) for name in SOFTCAPS) if cap), 0.0)


def _number(config: Any, name: str, absent: float) -> float:
    return float(getattr(config, name, None) or absent)


def _own_head(backbone: Backbone, directory: Path) -> tuple[Tensor, Tensor | None]:
    """Weight [V, H] and bias [V] of a projection that is not the input embeddings."""
    from transformers import AutoModelForCausalLM

    config, dtype = deepcopy(backbone.model.config), backbone.model.dtype
    if backbone.drawn_by is None:
        keep_layers(config, 1)  # no more is read than has to be
        model = read_model(AutoModelForCausalLM, directory, config, dtype, backbone.name)
    else:
        model = draw_model(AutoModelForCausalLM, config, dtype, backbone.drawn_by)
    head = cast(Any, model.get_output_embeddings())
    return head.weight.detach(), None if getattr(head, "bias", None) is None else head.bias.detach()
