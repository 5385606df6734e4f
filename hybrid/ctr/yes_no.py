"""The scorer of task ctr: a softmax over two words.

``P(yes) = exp(s_yes) / (exp(s_yes) + exp(s_no))`` (ReLLa, eq. 5), the sigmoid of ``s_yes - s_no``. Only these two
rows of the vocabulary projection are computed; they stay as the model has them.

Letters: B prompts, H LLM width.
"""

from collections.abc import Sequence

from torch import Tensor

from hybrid.llm.backbone import Backbone
from hybrid.llm.scorers import Scorer
from hybrid.llm.vocabulary import load_vocabulary


class YesNo(Scorer):
    """Logits of the answers "no" and "yes"."""

    def __init__(self, backbone: Backbone, no: int, yes: int) -> None:
        super().__init__()
        self.words = load_vocabulary(backbone, [no, yes])

    def user(self, states: Tensor) -> Tensor:
        """See `Scorer`."""
        return states

    @property
    def width(self) -> int:
        """See `Scorer`."""
        return self.words.weight.shape[1]

    def items(self, features: Sequence[Tensor] = ()) -> Tensor:
        """See `Scorer`: the two rows, [2, H]; nothing is added to them."""
        return self.words.weight.float()

    def log_odds(self, states: Tensor) -> Tensor:
        """``s_yes - s_no`` of states [B, H] float32, [B]."""
        logits = self.words.logits(states)
        return logits[:, 1] - logits[:, 0]
