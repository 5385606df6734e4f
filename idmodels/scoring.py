"""User states for scoring: ``last_states(...) @ model.item_table().T`` ranks the catalogue."""

from torch import Tensor

from idmodels.contract import IDModel
from idmodels.errors import IDModelError


def last_states(model: IDModel, histories: Tensor, lengths: Tensor, table: Tensor | None = None) -> Tensor:
    """``model.last_states`` of checked input: [B, L] ids and their lengths [B] -> [B, D].

    Raises IDModelError for an item id outside the model's N rows or a history longer than it reads.
    """
    low, high = (int(edge) for edge in histories.aminmax()) if histories.numel() else (0, 0)
    if low < 0 or high >= model.n_items:
        wrong = low if low < 0 else high
        raise IDModelError(f"item id {wrong} in a history; this model knows items 1 to {model.n_items - 1}")
    return model.last_states(histories, lengths, table)
