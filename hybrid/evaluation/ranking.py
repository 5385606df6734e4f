"""Ranks in the full catalogue, in chunks of users and items: memory does not grow with U x N.

Ties are pessimistic: every other item with the target's score stands before it, so a constant scorer comes last.
"""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from hybrid.data.split import Histories
from hybrid.errors import UserError

Chunks = Iterable[tuple[int, Tensor]]
"""(first item id, scores [B, C]) of consecutive items that make up 1..N-1."""


def full_ranks(
    states: Tensor,
    item_matrix: Tensor,
    targets: Tensor,
    seen: Histories | None = None,
    batch_items: int = 16384,
    batch_users: int = 1024,
) -> Tensor:
    """Rank of each user's target among all items but padding, from 1, [M].

    Args:
        states: user states [M, P].
        item_matrix: [N, P]; row 0 is padding and never ranked.
        targets: item ids [M].
        seen: per user the items to leave out (its history); a target that is in it still takes part.
        batch_items: items scored at once.
        batch_users: users ranked at once.

    Raises:
        UserError: a score is not finite.
    """

    def score(users: range) -> Callable[[], Chunks]:
        some = states[users.start : users.stop]
        # One chunk is computed once; several are computed twice rather than held together.
        held = list(_chunks(some, item_matrix, batch_items)) if len(item_matrix) - 1 <= batch_items else None
        return lambda: held or _chunks(some, item_matrix, batch_items)

    return _rank_by(score, targets, seen, batch_users)


def ranks_of_scores(
    scores: Callable[[range], Tensor], targets: Tensor, seen: Histories | None = None, batch_users: int = 1024
) -> Tensor:
    """`full_ranks` for ``scores(users)`` [B, N], padding included, of some of the M users at a time."""

    def score(users: range) -> Callable[[], Chunks]:
        held = [(1, scores(users)[:, 1:])]
        return lambda: held

    return _rank_by(score, targets, seen, batch_users)


def _rank_by(
    score: Callable[[range], Callable[[], Chunks]], targets: Tensor, seen: Histories | None, batch_users: int
) -> Tensor:
    parts = []
    for start in range(0, len(targets), batch_users):
        users = range(start, min(start + batch_users, len(targets)))
        parts.append(_ranks(score(users), targets[start : start + batch_users], seen, users))
    return torch.cat(parts) if parts else torch.empty(0, dtype=torch.long)


def _ranks(chunks: Callable[[], Chunks], targets: Tensor, seen: Histories | None, users: range) -> Tensor:
    target_scores = _target_scores(chunks(), targets)
    if not torch.isfinite(target_scores).all():
        raise UserError("ranking: a score is not finite; the model has diverged (lower its learning rate)")
    ahead = torch.zeros(len(targets), dtype=torch.long, device=targets.device)
    for first, scores in chunks():
        not_behind = ~(scores < target_scores[:, None])  # a NaN counts against the target
        _drop(not_behind, targets, first)
        if seen is not None:
            rows, items = seen_pairs(seen, users, first, scores.shape[1])
            not_behind[rows, items] = False
        ahead += not_behind.sum(dim=1)
    return ahead + 1


def _chunks(states: Tensor, item_matrix: Tensor, batch_items: int) -> Iterator[tuple[int, Tensor]]:
    """(first item id, scores [B, C]) for items 1..N-1."""
    for first in range(1, len(item_matrix), batch_items):
        yield first, states @ item_matrix[first : first + batch_items].T


def _target_scores(chunks: Chunks, targets: Tensor) -> Tensor:
    """The targets' scores out of the same products that rank them, so that equal items tie exactly."""
    found = torch.full((len(targets),), float("nan"), device=targets.device)
    for first, scores in chunks:
        inside = (targets >= first) & (targets < first + scores.shape[1])
        found[inside] = scores[inside, targets[inside] - first]
    return found


def _drop(not_behind: Tensor, targets: Tensor, first: int) -> None:
    """The target is not ahead of itself."""
    inside = (targets >= first) & (targets < first + not_behind.shape[1])
    not_behind[inside.nonzero().flatten(), targets[inside] - first] = False


def seen_pairs(seen: Histories, users: range, first: int, width: int) -> tuple[Tensor, Tensor]:
    """(user within the chunk, item within the chunk) of every history item in ``first .. first+width-1``."""
    rows = [seen.row(user) for user in users]
    counts = np.array([len(row) for row in rows])
    items = np.concatenate(rows) if len(rows) else np.empty(0, dtype=np.int64)
    owners = np.repeat(np.arange(len(rows)), counts)
    inside = (items >= first) & (items < first + width)
    return torch.from_numpy(owners[inside]), torch.from_numpy(items[inside].astype(np.int64) - first)
