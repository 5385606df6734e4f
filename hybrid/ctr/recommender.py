"""The language model of task ctr: it reads a prompt of words alone and is asked yes or no.

Letters: B prompts, T tokens, H width.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from hybrid.config.schema import LLMConfig
from hybrid.ctr.prompts import ClickPromptBatch
from hybrid.ctr.yes_no import YesNo
from hybrid.llm.adapter import adapter_weights
from hybrid.llm.answers import Answers
from hybrid.llm.backbone import Backbone
from hybrid.llm.recommender import LLMRecommender


class ClickRecommender(LLMRecommender):
    """A causal language model with an adapter whose next word is "yes" or "no"."""

    scorer: YesNo

    def __init__(
        self, backbone: Backbone, config: LLMConfig, n_items: int, answers: Answers, user_width: int = 0
    ) -> None:
        plain = replace(config, prompt=replace(config.prompt, prefix_tokens=0, items="titles"))
        super().__init__(backbone, plain, n_items, user_width, scorer=YesNo(backbone, answers.no, answers.yes))

    @property
    def scorer_kind(self) -> str:
        """See `LLMRecommender`."""
        return "yes_no"

    def log_odds(self, batch: ClickPromptBatch, users: Tensor | None = None) -> Tensor:
        """Logit of a click on each prompt's item, [B]: its sigmoid is the share of "yes" in the two-word softmax.

        ``users`` [B, S] is what an adapter that depends on the user reads.
        """
        hidden = self.hidden(self.embed(batch.tokens), users)  # [B, T, H]
        last = hidden[torch.arange(len(hidden), device=hidden.device), batch.lengths - 1]
        return self.scorer.log_odds(last.float())

    def trainable_parameters(self) -> list[nn.Parameter]:
        """The adapter: no soft token is read, and the answers' rows stay as they are."""
        return list(adapter_weights(self.lm).values())
