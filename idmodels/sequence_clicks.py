"""Any sequential ID model as a click model: the target's score after the history, through a sigmoid.

What the user thought of a behaviour is added to its vector in the history, where the model looks items up in whatever
table it is given (`IDModel.any_table`); BERT4Rec and LightGCN do not, and read every behaviour alike.

Letters: B batch, L history length, N items, D id width; S = D.
"""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

from idmodels.click import ClickBatch, ClickModel
from idmodels.click_layers import mark_embedding
from idmodels.click_settings import ClickSettings
from idmodels.contract import IDModel


class SequenceClicks(ClickModel):
    """``state . e_target + bias``, with the model's own states and item table, plus a linear form of any features.

    ``settings.max_length`` must be that of the model.
    """

    def __init__(self, model: IDModel, settings: ClickSettings) -> None:
        super().__init__(model.n_items, settings)
        self.model = model
        self.bias = nn.Parameter(model.item_embedding.weight.new_zeros(()))
        self.mark_embedding = mark_embedding(model.width) if model.any_table else None
        self.feature_weight = nn.Linear(settings.feature_width, 1, bias=False) if settings.feature_width else None

    @property
    def width(self) -> int:
        """See `ClickModel`."""
        return self.model.width

    @property
    def state_width(self) -> int:
        """See `ClickModel`."""
        return self.model.width

    def attach_item_features(self, features: Callable[[], Tensor]) -> None:
        """See `ClickModel`."""
        self.model.attach_item_features(features)

    def own_table(self) -> Tensor:
        """See `ClickModel`; what is attached is there already."""
        return self.model.item_table()

    def user_state(self, batch: ClickBatch) -> Tensor:
        """See `ClickModel`; it does not depend on the target."""
        return self._state(batch, self.item_table())

    def logits(self, batch: ClickBatch) -> Tensor:
        """See `ClickModel`."""
        table = self.item_table()
        logits = (self._state(batch, table) * F.embedding(batch.targets, table)).sum(dim=1) + self.bias
        return logits if self.feature_weight is None else logits + self.feature_weight(self.pair_features(batch))[:, 0]

    def _state(self, batch: ClickBatch, table: Tensor) -> Tensor:
        self.check_length(batch.histories)
        if self.mark_embedding is None:
            return self.model.last_states(batch.histories, batch.lengths, table)
        marked = (table + self.mark_embedding.weight.unsqueeze(1)).flatten(0, 1)  # [3 * N, D], mark after mark
        histories = batch.histories + batch.marks * self.n_items * (batch.histories > 0)  # padding stays row 0
        return self.model.last_states(histories, batch.lengths, marked)
