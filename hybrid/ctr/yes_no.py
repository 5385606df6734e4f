"""The scorer of task ctr: a softmax over two words.

``P(yes) = exp(s_yes) / (exp(s_yes) + exp(s_no))`` (ReLLa, eq. 5), the sigmoid of ``s_yes - s_no``. Only these two
rows of the vocabulary projection are computed; they stay as the model has them.

Letters: B prompts, H LLM width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from hybrid.llm.answers import answer_rows, logit_scale
from hybrid.llm.backbone import Backbone
from hybrid.llm.scorers import Scorer


class YesNo(Scorer):
    """Logits of the answers "no" and "yes"."""

    rows: Tensor
    """[2, H]."""
    bias: Tensor
    """[2]."""

    def __init__(self, backbone: Backbone, no: int, yes: int) -> None:
        super().__init__()
        rows, bias = answer_rows(backbone, [no, yes])
        self.scale = logit_scale(backbone)
        self.softcap = float(getattr(backbone.model.config, "final_logit_softcapping", None) or 0.0)
        self.register_buffer("rows", rows, persistent=False)  # the backbone's own, not to be saved with the adapter
        self.register_buffer("bias", bias, persistent=False)

    def user(self, states: Tensor) -> Tensor:
        """See `Scorer`."""
        return states

    @property
    def width(self) -> int:
        """See `Scorer`."""
        return self.rows.shape[1]

    def items(self, features: Sequence[Tensor] = ()) -> Tensor:
        """See `Scorer`: the two rows, [2, H]; nothing is added to them."""
        return self.rows

    def log_odds(self, states: Tensor) -> Tensor:
        """``s_yes - s_no`` of states [B, H] float32, [B]."""
        logits = (states @ self.rows.T + self.bias) * self.scale
        if self.softcap:  # Gemma 2
            logits = self.softcap * torch.tanh(logits / self.softcap)
        return logits[:, 1] - logits[:, 0]
