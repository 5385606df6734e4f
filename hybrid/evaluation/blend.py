"""Both sides' scores added: each side's scores of a user are z-scored over the catalogue, and a weight mixes them.

A z-score of inner products is an inner product again, up to a constant for each user that no ranking sees: with C the
covariance of the items' vectors, the scores of state s spread by sqrt(s' C s). So a blend ranks as one side does.

Letters: M users, N items (row 0 is padding), P score width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from hybrid.config.schema import EvaluationConfig
from hybrid.data.split import Targets
from hybrid.evaluation.metrics import gains
from hybrid.evaluation.ranking import full_ranks

WEIGHTS = tuple(tenth / 10 for tenth in range(11))
"""Shares of the ID side that are tried."""


@dataclass(frozen=True)
class Scores:
    """One side's ``states @ items.T``."""

    states: Tensor
    """[M, P]."""
    items: Tensor
    """[N, P]."""

    def standardised(self) -> "Scores":
        """The same ranking with scores of variance one for each user; a user whose scores are all alike has zeros."""
        centred = self.items[1:].double() - self.items[1:].double().mean(dim=0)
        covariance = centred.T @ centred / len(centred)  # [P, P]
        states = self.states.double()
        spread = ((states @ covariance) * states).sum(dim=1, keepdim=True).clamp(min=0).sqrt()  # [M, 1]
        known = spread > 1e-9 * states.norm(dim=1, keepdim=True)
        return Scores(torch.where(known, states / spread, 0.0).float(), self.items.float())


def blend(id_side: Scores, llm_side: Scores, weight: float) -> Scores:
    """``weight`` times the z-scores of the ID side and the rest of those of the LLM side."""
    first, second = id_side.standardised(), llm_side.standardised()
    states = torch.cat([weight * first.states, (1 - weight) * second.states], dim=1)
    return Scores(states, torch.cat([first.items, second.items], dim=1))


def blend_ranks(id_side: Scores, llm_side: Scores, weight: float, targets: Targets, config: EvaluationConfig) -> Tensor:
    """Ranks of the targets by the blend, [M]."""
    both = blend(id_side, llm_side, weight)
    seen = targets.histories if config.mask_history else None
    items = torch.from_numpy(targets.items)
    return full_ranks(both.states, both.items, items, seen, config.batch_items, config.batch_users)


def best_weight(id_side: Scores, llm_side: Scores, targets: Targets, config: EvaluationConfig) -> float:
    """The weight with the best value of ``evaluation.metric`` on these (validation) targets; of equals the evenest."""
    values = {
        weight: gains(blend_ranks(id_side, llm_side, weight, targets, config), config.metric).mean().item()
        for weight in WEIGHTS
    }
    return max(WEIGHTS, key=lambda weight: (values[weight], -abs(weight - 0.5)))


def top_overlap(first: Tensor, second: Tensor) -> float:
    """Mean share of items that two lists of best items [M, K] have in common; 0 in a list is no item."""
    same = (first[:, :, None] == second[:, None, :]) & (first[:, :, None] != 0)  # [M, K, K]
    return float(same.any(dim=2).float().mean())
