"""Candidate lists: the items over which two sides' distributions are compared.

Letters: M positions, N items (row 0 is padding), P width of a score space, C length of a candidate list.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

MAX_ELEMENTS = 2**25
"""Largest intermediate matrix, in elements; more positions than fit are worked off in chunks."""
GATHER_COST = 16
"""Scoring one gathered item costs about as much as scoring this many by a matrix product."""
REPEATED_LOGIT = -1e9
"""Logit of a repeated entry: its probability is exactly zero, and no product with it is NaN."""


@dataclass(frozen=True)
class Candidates:
    """One list per position."""

    ids: Tensor
    """[M, C] item ids; the first is the target unless the list is the whole catalogue."""
    repeated: Tensor
    """[M, C] bool, True where an id stands earlier in its list."""

    def sizes(self) -> Tensor:
        """[M] different items in each list."""
        return (~self.repeated).sum(dim=1)

    def logits(self, states: Tensor, items: Tensor) -> Tensor:
        """``states`` [M, P] against the listed rows of ``items`` [N, P]: [M, C] in float32."""
        scores = list_scores(states.float(), items.float(), self.ids)
        return scores.masked_fill(self.repeated, REPEATED_LOGIT)


def draw_candidates(states: Tensor, items: Tensor, targets: Tensor, count: int) -> Candidates:
    """Target, top ``count`` items by ``states @ items.T`` and up to ``count`` random ones, for each of M positions.

    Rows 1.. of the catalogue, all of them, where it has no more than ``2 * count + 1`` items. The random items are
    drawn once for all positions, from torch's global CPU generator, whose state a checkpoint holds.
    """
    n_items = len(items)
    if n_items - 1 <= 2 * count + 1:
        ids = torch.arange(1, n_items, device=targets.device).expand(len(targets), -1)
        return Candidates(ids, torch.zeros_like(ids, dtype=torch.bool))
    chance = torch.randint(1, n_items, (count,)).unique().to(targets.device)
    target = targets.unsqueeze(1)
    top = top_items(states, items, count)
    chosen = torch.cat([target, top], dim=1)  # [M, 1 + count]
    ids = torch.cat([chosen, chance.expand(len(targets), -1)], dim=1)
    repeated = [torch.zeros_like(target, dtype=torch.bool), top == target, _listed(chance, chosen, n_items)]
    return Candidates(ids, torch.cat(repeated, dim=1))


@torch.no_grad()
def top_items(states: Tensor, items: Tensor, count: int, ordered: bool = False) -> Tensor:
    """Ids of the ``count`` best items of rows 1.. for each state, [M, min(count, N - 1)]; best first if ``ordered``."""
    count = min(count, len(items) - 1)
    best = [
        (states[part].float() @ items[1:].float().T).topk(count, dim=1, sorted=ordered).indices + 1
        for part in chunks(len(states), len(items))
    ]
    return torch.cat(best) if best else torch.empty(0, count, dtype=torch.long, device=states.device)


def list_scores(states: Tensor, items: Tensor, ids: Tensor) -> Tensor:
    """``states[m] @ items[ids[m, c]]``, [M, C]: by the whole matrix where that is cheaper, else gathered."""
    if len(items) <= GATHER_COST * ids.shape[1]:
        return (states @ items.T).gather(1, ids)
    parts = [
        torch.einsum("mcp,mp->mc", F.embedding(ids[part], items), states[part])
        for part in chunks(len(ids), ids.shape[1] * items.shape[1])
    ]
    return torch.cat(parts)


def _listed(ids: Tensor, lists: Tensor, n_items: int) -> Tensor:
    """Whether each of ``ids`` [R] stands in each of ``lists`` [M, C], [M, R]; marks in a table beat a sort."""
    parts = []
    for part in chunks(len(lists), n_items):
        marks = torch.zeros(len(lists[part]), n_items, dtype=torch.bool, device=lists.device)
        parts.append(marks.scatter_(1, lists[part], True)[:, ids])
    return torch.cat(parts)


def chunks(rows: int, elements_per_row: int) -> Iterator[slice]:
    """Slices of ``rows`` whose matrices have at most `MAX_ELEMENTS` elements, but one row at least."""
    step = max(1, MAX_ELEMENTS // elements_per_row)
    return (slice(start, start + step) for start in range(0, rows, step))
