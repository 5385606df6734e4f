"""Metrics of one relevant item per user, from its rank in the full catalogue.

With one relevant item of rank r (from 1): HR@K = [r <= K], NDCG@K = [r <= K] / log2(r + 1) (the ideal DCG is 1),
MRR@K = [r <= K] / r; each averaged over the users.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

CUTOFFS = (5, 10, 20)


def gains(ranks: Tensor, metric: str) -> Tensor:
    """What each of the ranks [M] (from 1) contributes to a metric such as ``ndcg@10``, [M] float64."""
    name, _, cutoff = metric.partition("@")
    exact = ranks.double()
    gain = {"hr": torch.ones_like, "ndcg": lambda r: 1 / torch.log2(r + 1), "mrr": torch.reciprocal}[name](exact)
    return torch.where(exact <= int(cutoff), gain, 0.0)


def ranking_metrics(ranks: Tensor, cutoffs: Sequence[int] = CUTOFFS) -> dict[str, float]:
    """HR, NDCG and MRR at the cutoffs of ranks [M] (from 1), named such as ``ndcg@10``."""
    names = [f"{name}@{cutoff}" for name in ("hr", "ndcg", "mrr") for cutoff in cutoffs]
    return {name: gains(ranks, name).mean().item() for name in names}
