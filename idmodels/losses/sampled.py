"""Losses against n drawn negatives: sampled softmax, BCE, gBCE and BPR; all of them a mean over the M positions.

Letters: M scored positions, N items (row 0 is padding), n negatives per position. A negative that is the target itself
takes no part. No positions: the loss is 0.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from idmodels.losses.negatives import Contrast


def sampled_softmax(contrast: Contrast) -> Tensor:
    """Cross-entropy of the target against its negatives, with log-Q correction.

    Each negative's logit is lowered by the log of its expected number of draws, so that the sum of exponentials is an
    unbiased estimate of that over the whole catalogue (Bengio and Senecal, 2008). The target is always there and
    never among the negatives: its logit stays as it is.
    """
    negative = (contrast.negative - contrast.log_draws).masked_fill(~contrast.real, -math.inf)
    everything = torch.cat([contrast.positive.unsqueeze(1), negative], dim=1)  # [M, 1 + n]
    return _mean(everything.logsumexp(dim=1) - contrast.positive)


def gbce(contrast: Contrast, beta: float) -> Tensor:
    """``-(beta log s(p) + sum_j log(1 - s(n_j))) / (n + 1)``: gBCE (gSASRec, RecSys 2023); BCE at ``beta`` 1."""
    positive = beta * F.softplus(-contrast.positive)  # [M]
    negative = (F.softplus(contrast.negative) * contrast.real).sum(dim=1)
    return _mean((positive + negative) / (contrast.real.sum(dim=1) + 1))


def bpr(contrast: Contrast) -> Tensor:
    """``-log s(p - n_j)``, mean over the negatives (Rendle et al., UAI 2009)."""
    losses = F.softplus(contrast.negative - contrast.positive.unsqueeze(1)) * contrast.real  # [M, n]
    return _mean(losses.sum(dim=1) / contrast.real.sum(dim=1).clamp(min=1))


def gbce_beta(negatives: int, n_items: int, t: float) -> float:
    """``beta = a (t (1 - 1/a) + 1/a)`` with the sampling rate ``a = negatives / (items - 1)``, at most 1.

    ``n_items`` N counts the padding row.
    """
    rate = min(1.0, negatives / max(n_items - 2, 1))
    return rate * (t * (1 - 1 / rate) + 1 / rate)


def _mean(losses: Tensor) -> Tensor:
    return losses.sum() / max(len(losses), 1)
