"""SASRec: self-attention over the history (Kang and McAuley, ICDM 2018), with RecBole 1.2.1's weights and arithmetic.

Every parameter has RecBole's name, so state dicts interchange. RecBole runs one padded row per prefix; here one causal
pass gives the state after every item. Right padding never reaches a real position through a causal mask, so there is
no padding mask.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from idmodels.contract import IDModel
from idmodels.dropout import dropout
from idmodels.settings import IDSettings
from idmodels.transformer import NORM_EPS, Encoder, initialise


class SASRec(IDModel):
    """Causal Transformer encoder with learned positions; after each residual a LayerNorm (post-norm), GELU inside."""

    any_table = True

    def __init__(self, n_items: int, settings: IDSettings) -> None:
        super().__init__(n_items, settings)
        self.item_embedding = nn.Embedding(n_items, settings.width, padding_idx=0)
        self.position_embedding = nn.Embedding(settings.max_length, settings.width)
        self.trm_encoder = Encoder(settings)
        self.LayerNorm = nn.LayerNorm(settings.width, eps=NORM_EPS)
        self.apply(initialise)

    def encode(self, items: Tensor, table: Tensor | None = None) -> Tensor:
        """States after each item, [B, L] -> [B, L, D]; raises IDModelError where L exceeds ``settings.max_length``."""
        return self.tempered(self.trm_encoder(self._embedded(items, table)))

    def last_states(self, histories: Tensor, lengths: Tensor, table: Tensor | None = None) -> Tensor:
        """See `IDModel`; of the last block only what the last items need is computed."""
        last = (lengths - 1).clamp(min=0)
        states = self.tempered(self.trm_encoder.at(self._embedded(histories, table), last))
        return states * (lengths > 0).unsqueeze(1)

    def _embedded(self, items: Tensor, table: Tensor | None) -> Tensor:
        self.check_length(items)
        table = self.item_table() if table is None else table
        states = F.embedding(items, table, padding_idx=0)  # [B, L, D]
        states = self.LayerNorm(states + self.position_embedding.weight[: items.shape[1]])
        return dropout(states, self.settings.dropout, self.training)
