"""Metrics of one relevant item per user, from its rank in the full catalogue.

With one relevant item of rank r (from 1): HR@K = [r <= K], NDCG@K = [r <= K] / log2(r + 1) (the ideal DCG is 1),
MRR@K = [r <= K] / r; each averaged over the users.
"""

import torch
from torch import Tensor

CUTOFFS = (5, 10, 20)


def ranking_metrics(ranks: Tensor) -> dict[str, float]:
    """HR, NDCG and MRR at 5, 10 and 20 of ranks [M] (from 1), named such as ``ndcg@10``."""
    exact = ranks.double()
    values: dict[str, float] = {}
    for name, gain in (("hr", torch.ones_like(exact)), ("ndcg", 1 / torch.log2(exact + 1)), ("mrr", 1 / exact)):
        for cutoff in CUTOFFS:
            values[f"{name}@{cutoff}"] = torch.where(exact <= cutoff, gain, 0.0).mean().item()
    return values
