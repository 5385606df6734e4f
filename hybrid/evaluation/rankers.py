"""Both sides as one thing: user states and an item matrix whose inner product ranks the catalogue."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from hybrid.config.schema import EvaluationConfig
from hybrid.data.split import Targets
from hybrid.evaluation.metrics import ranking_metrics
from hybrid.evaluation.ranking import full_ranks
from hybrid.exchange import Exchange
from hybrid.llm.prompt_batches import PromptBatches
from hybrid.llm.recommender import LLMRecommender
from hybrid.modes import inference
from hybrid.progress import progress
from idmodels.batches import padded_histories
from idmodels.contract import IDModel
from idmodels.scoring import last_states


class Ranker(Protocol):
    """A side that can be ranked with."""

    def user_states(self, targets: Targets) -> Tensor:
        """State of each target's history, [M, P]."""

    def item_matrix(self) -> Tensor:
        """Item matrix [N, P]."""


@dataclass
class IDRanker:
    """Ranks with the ID model."""

    model: IDModel
    batch_users: int
    device: torch.device

    def user_states(self, targets: Targets) -> Tensor:
        """See `Ranker`."""
        parts = []
        with inference(self.model):
            for first in range(0, len(targets.users), self.batch_users):
                chunk = slice(first, first + self.batch_users)
                items, lengths = padded_histories(
                    targets.histories.items,
                    targets.histories.starts[chunk],
                    targets.histories.ends[chunk],
                    self.model.settings.max_length,
                )
                parts.append(last_states(self.model, items.to(self.device), lengths.to(self.device)))
        return torch.cat(parts)

    def item_matrix(self) -> Tensor:
        """See `Ranker`."""
        with inference(self.model):
            return self.model.item_table()


@dataclass
class LLMRanker:
    """Ranks with the language model and whatever the exchange puts into its prompts."""

    recommender: LLMRecommender
    exchange: Exchange
    prompts: PromptBatches
    device: torch.device

    def user_states(self, targets: Targets) -> Tensor:
        """See `Ranker`."""
        parts, numbers = [], []
        with inference(self.recommender, *self.exchange.bridges.values()):
            for batch in progress(self.prompts.target_batches(targets), "ranking llm"):
                batch = batch.to(self.device)
                hidden = self.recommender.states(batch, self.exchange.fill(batch).tokens)
                parts.append(self.recommender.user_states(hidden))
                numbers.append(batch.numbers)
        states = torch.cat(parts)
        return torch.empty_like(states).index_copy_(0, torch.cat(numbers), states)

    def item_matrix(self) -> Tensor:
        """See `Ranker`."""
        with inference(self.recommender):
            return self.recommender.item_matrix()


def rank_side(ranker: Ranker, targets: Targets, config: EvaluationConfig) -> tuple[dict[str, float], Tensor]:
    """Full-catalogue metrics of one side, and its user states [M, P]."""
    states, matrix = ranker.user_states(targets), ranker.item_matrix()
    ranks = full_ranks(
        states,
        matrix,
        torch.from_numpy(targets.items).to(states.device),
        targets.histories if config.mask_history else None,
        config.batch_items,
        config.batch_users,
    )
    return ranking_metrics(ranks), states
