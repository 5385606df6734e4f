"""User states for scoring: ``last_states(...) @ model.item_table().T`` ranks the catalogue."""

from torch import Tensor

from idmodels.contract import IDModel


def last_states(model: IDModel, histories: Tensor, lengths: Tensor, table: Tensor | None = None) -> Tensor:
    """``model.last_states`` of checked input: [B, L] ids and their lengths [B] -> [B, D].

    Raises IDModelError for an item id outside the model's N rows or a history longer than it reads.
    """
    model.check_items(histories)
    return model.last_states(histories, lengths, table)
