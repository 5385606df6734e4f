"""Negative items for the losses that do not look at the whole catalogue.

Letters: M scored positions, N items (row 0 is padding), D id width, n negatives per position.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Contrast:
    """The logit of each position's target and those of its negatives."""

    positive: Tensor
    """[M]"""
    negative: Tensor
    """[M, n]"""
    log_draws: Tensor
    """[n] or [M, n] log of how often such a negative is expected among the n."""
    real: Tensor
    """[M, n] bool; False where a negative happens to be the target."""


class Negatives:
    """Draws n items with replacement, each with probability ``shares[item]``.

    shares [N], of sum one, 0 for padding; on the device of the batches. ``shared``: all positions of a batch get the
    same n items.
    """

    def __init__(self, shares: Tensor, count: int, shared: bool) -> None:
        self.count, self.shared = count, shared
        self._upper = shares.double().cumsum(0)  # [N]
        self._last = int(shares.nonzero().max())
        self._log_draws = (shares * count).log().float()  # [N]

    def draw(self, positions: int) -> Tensor:
        """Item ids, [n] where shared, else [M, n]."""
        shape = (self.count,) if self.shared else (positions, self.count)
        points = torch.rand(shape, dtype=torch.float64, device=self._upper.device)
        # A point exactly on an edge belongs to the next item (right), so that no item of share 0 is drawn.
        drawn = torch.searchsorted(self._upper, points, right=True)
        return drawn.clamp(max=self._last)  # the shares' sum may miss one by a rounding error

    def contrast(self, states: Tensor, table: Tensor, targets: Tensor) -> Contrast:
        """Logits of the targets [M] and of drawn negatives; memory grows with M x n, not with M x N.

        states [M, D], table [N, D].
        """
        items = self.draw(len(targets))
        positive = (states * table[targets]).sum(dim=1)
        vectors = table[items]  # [n, D] or [M, n, D]
        negative = states @ vectors.T if self.shared else (vectors @ states.unsqueeze(2)).squeeze(2)
        return Contrast(positive, negative, self._log_draws[items], items != targets.unsqueeze(1))


def item_shares(counts: Tensor, proposal: str) -> Tensor:
    """Share of every item among the draws, [N]; counts [N]: how often each was seen.

    uniform: the same for all; popularity: in proportion to the count, plus one so that every item can be drawn.
    """
    weights = counts.double() + 1 if proposal == "popularity" else torch.ones_like(counts, dtype=torch.float64)
    weights[0] = 0  # padding
    return weights / weights.sum()
