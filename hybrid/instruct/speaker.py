"""A language model with its words: states, and what they say.

Letters: B prompts, T tokens, V vocabulary, H width.
"""

import torch
from torch import Tensor, nn

from hybrid.llm.vocabulary import Vocabulary


class Speaker(nn.Module):
    """The adapted model ``lm`` and the vocabulary projection."""

    def __init__(self, lm: nn.Module, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.lm, self.vocabulary = lm, vocabulary

    def states(self, tokens: Tensor) -> Tensor:
        """[B, T] -> [B, T, H]; prompts are right-padded, so no mask is needed."""
        return self.lm(input_ids=tokens, use_cache=False).last_hidden_state

    def logits(self, states: Tensor) -> Tensor:
        """[..., H] -> [..., V] float32."""
        return self.vocabulary.logits(states).float()

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.lm.parameters()).device
