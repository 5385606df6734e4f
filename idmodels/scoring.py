"""User states for scoring: ``last_states(...) @ model.item_table().T`` ranks the catalogue."""

import torch
from torch import Tensor

from idmodels.contract import IDModel


def last_states(model: IDModel, histories: Tensor, lengths: Tensor, table: Tensor | None = None) -> Tensor:
    """State after the last item of each history: [B, L] ids and their lengths [B] -> [B, D].

    An empty history has the state 0, which scores every item alike. ``table`` is ``model.item_table()`` where the
    caller has it already. Gradient and dropout are the caller's choice.
    """
    states = model.encode(histories, table)  # [B, L, D]
    last = (lengths - 1).clamp(min=0)
    picked = states[torch.arange(len(states), device=states.device), last]
    return picked * (lengths > 0).unsqueeze(1)
