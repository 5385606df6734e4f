"""What click models share that read a history as two means: of what was liked and of what was not.

Letters: B batch, D id width; the user state is both means, S = 2 D.
"""

import torch
from torch import Tensor

from idmodels.click import ClickBatch, EmbeddedClicks
from idmodels.click_layers import pooled_by_mark


class PooledClicks(EmbeddedClicks):
    """A click model whose user state is both means, [B, 2 * D]."""

    @property
    def state_width(self) -> int:
        """See `ClickModel`."""
        return 2 * self.settings.width

    def user_state(self, batch: ClickBatch) -> Tensor:
        """See `ClickModel`: the mean of what was liked and of what was not, [B, 2 * D]."""
        self.check_length(batch.histories)
        return torch.cat(pooled_by_mark(self.item_table(), batch), dim=1)
