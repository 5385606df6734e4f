"""Agreement of two sides: how much their top lists overlap.

The two need not share a score space: only the order that each gives to the items counts.
"""

from torch import Tensor

from bridges.candidates import top_items


def overlap_shares(a_states: Tensor, a_items: Tensor, b_states: Tensor, b_items: Tensor, k: int) -> Tensor:
    """For each of M positions, the share of side a's top k items that are in side b's, [M]; row 0 is left out.

    States are [M, P] and matrices [N, P], each side with its own P; with fewer than k items the lists are shorter.
    """
    a = top_items(a_states, a_items, k).unsqueeze(2)  # [M, K, 1]
    b = top_items(b_states, b_items, k).unsqueeze(1)  # [M, 1, K]
    return (a == b).any(dim=2).float().mean(dim=1)


def top_k_overlap(a_states: Tensor, a_items: Tensor, b_states: Tensor, b_items: Tensor, k: int) -> float:
    """Mean of `overlap_shares`: 1 for the same lists, k / (N - 1) for unrelated ones."""
    return float(overlap_shares(a_states, a_items, b_states, b_items, k).mean())
