"""The vocabulary projection, which the backbone leaves out: the states' way back to words.

Letters: V vocabulary, H width, W words.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from hybrid.errors import UserError
from hybrid.llm.backbone import Backbone
from hybrid.llm.quiet import quiet_transformers


@dataclass(frozen=True)
class Vocabulary:
    """Rows of the projection, without gradient."""

    weight: Tensor
    """[V, H] or [W, H]."""
    bias: Tensor | None
    """[V] or [W]; mostly there is none."""

    def logits(self, states: Tensor) -> Tensor:
        """States [..., H] -> logits [..., V] or [..., W], in the states' dtype."""
        weight = self.weight.to(states.dtype)
        return torch.nn.functional.linear(states, weight, None if self.bias is None else self.bias.to(states.dtype))


def load_vocabulary(backbone: Backbone, words: list[int] | None = None) -> Vocabulary:
    """The rows of ``words`` (token ids), or all.

    Most models use their input embeddings; for others the files are read once more, and only these rows are kept.
    Raises UserError where that is impossible.
    """
    embeddings = backbone.embeddings.detach()
    weight, bias = embeddings, None
    if not backbone.model.config.tie_word_embeddings and backbone.directory is not None:
        weight, bias = _read_head(backbone, backbone.directory)
    if words is not None:
        weight, bias = weight[words].clone(), None if bias is None else bias[words].clone()
    return Vocabulary(weight.to(embeddings.device), None if bias is None else bias.to(embeddings.device))


def _read_head(backbone: Backbone, directory: Path) -> tuple[Tensor, Tensor | None]:
    from transformers import AutoModelForCausalLM

    try:
        with quiet_transformers():
            model = AutoModelForCausalLM.from_pretrained(directory, dtype=backbone.model.dtype, trust_remote_code=False)
    except Exception as error:  # transformers raises many types for missing or damaged files
        raise UserError(
            f"llm.name: the vocabulary projection of {backbone.name} cannot be loaded: "
            f"{' '.join(str(error).split())[:300]}"
        ) from None
    head = model.get_output_embeddings()
    return head.weight.detach(), None if getattr(head, "bias", None) is None else head.bias.detach()
