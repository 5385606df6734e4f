"""Both sides as one thing: user states and an item matrix whose inner product ranks the catalogue."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from hybrid.config.schema import EvaluationConfig
from hybrid.data.split import Targets
from hybrid.evaluation.metrics import ranking_metrics
from hybrid.evaluation.ranking import full_ranks, ranks_of_scores
from hybrid.exchange import Exchange
from hybrid.llm.prompt_batches import PromptBatches
from hybrid.llm.recommender import LLMRecommender
from hybrid.modes import inference
from hybrid.progress import progress
from idmodels.batches import padded_histories
from idmodels.contract import IDModel
from idmodels.scoring import last_states

_CPU_POSITIONS = 4096  # of histories that the ID model reads at once on a CPU


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

    def scores(self, targets: Targets, users: range) -> Tensor:
        """Score of every item, padding included, for some of the targets, [B, N]; with models without states too."""
        histories, some = targets.histories, slice(users.start, users.stop)
        items, lengths = padded_histories(
            histories.items, histories.starts[some], histories.ends[some], self.model.settings.max_length
        )
        known = torch.from_numpy(targets.users[some])
        with inference(self.model):
            return self.model.scores(items.to(self.device), lengths.to(self.device), known.to(self.device))

    def user_states(self, targets: Targets) -> Tensor:
        """See `Ranker`."""
        histories, longest = targets.histories, self.model.settings.max_length
        order = np.argsort(histories.lengths, kind="stable")  # histories of a length together: little padding
        parts = []
        with inference(self.model):
            table = self.model.item_table()
            for users in self._batches(order, np.minimum(histories.lengths[order], longest)):
                starts, ends = histories.starts[users], histories.ends[users]
                items, lengths = padded_histories(histories.items, starts, ends, longest)
                parts.append(last_states(self.model, items.to(self.device), lengths.to(self.device), table))
        states = torch.cat(parts)
        return torch.empty_like(states).index_copy_(0, torch.from_numpy(order).to(self.device), states)

    def _batches(self, order: np.ndarray, lengths: np.ndarray) -> Iterator[np.ndarray]:
        """Consecutive parts of ``order``; on a CPU so small that what a block computes stays in the cache."""
        first = 0
        while first < len(order):
            last = min(first + self.batch_users, len(order)) - 1
            if self.device.type == "cpu":
                last = min(last, first + max(1, _CPU_POSITIONS // max(1, int(lengths[last]))) - 1)
            yield order[first : last + 1]
            first = last + 1

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
                filled = self.exchange.fill(batch)
                hidden = self.recommender.states(batch, filled.tokens, filled.users)
                parts.append(self.recommender.user_states(hidden))
                numbers.append(batch.numbers)
        states = torch.cat(parts)
        return torch.empty_like(states).index_copy_(0, torch.cat(numbers), states)

    def item_matrix(self) -> Tensor:
        """See `Ranker`."""
        with inference(self.recommender):
            return self.recommender.item_matrix()


@dataclass(frozen=True)
class Ranked:
    """What a side makes of M targets."""

    ranks: Tensor
    """[M] of the targets, from 1."""
    item_matrix: Tensor
    """[N, P]."""
    states: Tensor | None
    """[M, P] user states; None of a model that has scores alone."""


def rank_targets(ranker: Ranker, targets: Targets, config: EvaluationConfig) -> Ranked:
    """Rank the full catalogue for each target with one side."""
    seen = targets.histories if config.mask_history else None
    matrix = ranker.item_matrix()
    items = torch.from_numpy(targets.items).to(matrix.device)
    if isinstance(ranker, IDRanker) and not ranker.model.has_states:
        ranks = ranks_of_scores(partial(ranker.scores, targets), items, seen, config.batch_users)
        return Ranked(ranks, matrix, None)
    states = ranker.user_states(targets)
    return Ranked(full_ranks(states, matrix, items, seen, config.batch_items, config.batch_users), matrix, states)


def rank_side(ranker: Ranker, targets: Targets, config: EvaluationConfig) -> tuple[dict[str, float], Tensor | None]:
    """Full-catalogue metrics of one side, and its user states [M, P] where it has any."""
    ranked = rank_targets(ranker, targets, config)
    return ranking_metrics(ranked.ranks), ranked.states
