"""Rows of one history and one target each, as models without a state at every position learn from them.

Letters: B batch, L history length, M targets, N items (row 0 is padding).
"""

import torch
from torch import Tensor

from idmodels.batches import IDBatch
from idmodels.errors import IDModelError

_DRAWS = 8  # random items tried per row until one is neither target nor history


def prefix_rows(batch: IDBatch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One row per target of the batch: histories [M, L], lengths [M], targets [M], rows [M] (of the last input)."""
    window, last = (batch.targets != 0).nonzero(as_tuple=True)
    seen = torch.arange(batch.items.shape[1], device=last.device) <= last.unsqueeze(1)  # [M, L]
    return batch.items[window] * seen, last + 1, batch.targets[window, last], batch.rows[window, last]


def draw_negatives(histories: Tensor, targets: Tensor, n_items: int) -> Tensor:
    """A random item for each row, [B]: never the target [B], and not in the history [B, L] but after unlucky draws."""
    if n_items < 3:
        raise IDModelError("a negative needs at least two items besides padding")
    draws = torch.randint(1, n_items, (len(targets), _DRAWS), device=targets.device)
    # The last draw is the way out where the history holds nearly everything: any item but the target.
    draws[:, -1] = (targets - 1 + torch.randint_like(targets, 1, n_items - 1)) % (n_items - 1) + 1
    taken = (draws.unsqueeze(2) == torch.cat([histories, targets.unsqueeze(1)], dim=1).unsqueeze(1)).any(dim=2)
    taken[:, -1] = False
    return draws.gather(1, taken.int().argmin(dim=1, keepdim=True)).squeeze(1)
