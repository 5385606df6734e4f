"""What turns a softmax cross-entropy with hard targets into the one with targets smoothed towards other items.

Letters: M scored positions, K other items, P width of the score space.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from bridges.protocols import ScoredBatch


def target_pull(batch: ScoredBatch, items: Tensor, shares: Tensor) -> Tensor:
    """``(e_t - sum_k p_k e_k) . s`` of each position, [M]: times w, the difference of the two cross-entropies.

    items [M, K] and their shares p [M, K] of the smoothed part w of the target t; shares that are all 0: the target
    stays hard. The normaliser is the same in both losses, so this is a few products per position.
    """
    with torch.autocast(batch.states.device.type, enabled=False):
        table, states = batch.item_matrix.float(), batch.states.float()
        others = F.embedding_bag(items, table, per_sample_weights=shares, mode="sum")  # [M, P]
        pull = ((F.embedding(batch.targets, table) - others) * states).sum(dim=1)
    return pull * shares.any(dim=1)
