"""BERT4Rec: a bidirectional Transformer that fills in hidden items (Sun et al., CIKM 2019), as in RecBole 1.2.1.

Every parameter has RecBole's name and the arithmetic is RecBole's, so state dicts interchange: the table has one more
row, the mask token, and every item a bias. The bias is the last column of ``item_table()``, and the last column of a
state is 1 for it: this model's score space has the width D + 1. As in RecBole, the mask that asks for the next item
takes the place of the oldest item, even where there is room for both.

Training differs from RecBole in its rows: one per user (not one per prefix), each with freshly hidden items.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from idmodels.batches import IDBatch
from idmodels.contract import IDModel, Scored
from idmodels.dropout import dropout
from idmodels.settings import IDSettings
from idmodels.transformer import NORM_EPS, Encoder, initialise

_LAST_ONLY = 0.5  # share of rows in which the last item alone is hidden: the question that is asked at the end


class BERT4Rec(IDModel):
    """Bidirectional encoder with learned positions, and one more layer before the scores."""

    causal: ClassVar[bool] = False

    def __init__(self, n_items: int, settings: IDSettings) -> None:
        super().__init__(n_items, settings)
        width = settings.width
        self.mask_item = n_items
        self.item_embedding = nn.Embedding(n_items + 1, width, padding_idx=0)
        self.position_embedding = nn.Embedding(settings.max_length, width)
        self.trm_encoder = Encoder(settings)
        self.LayerNorm = nn.LayerNorm(width, eps=NORM_EPS)
        self.output_ffn = nn.Linear(width, width)
        self.output_ln = nn.LayerNorm(width, eps=NORM_EPS)
        self.output_bias = nn.Parameter(torch.zeros(n_items))
        self.apply(initialise)

    @property
    def width(self) -> int:
        """Width D + 1 of a state and of an item vector, the item's bias included."""
        return self.settings.width + 1

    def own_table(self) -> Tensor:
        """Item vectors with their bias in the last column, [N, D + 1]."""
        return torch.cat([self.item_embedding.weight[:-1], self.output_bias.unsqueeze(1)], dim=1)

    def fold(self, state: dict[str, Tensor], table: Tensor) -> None:
        """Item vectors and biases from ``table`` [N, D + 1]; the mask token stays."""
        state["item_embedding.weight"] = torch.cat([table[:, :-1], self.item_embedding.weight[-1:]])
        state["output_bias"] = table[:, -1]

    def encode(self, items: Tensor, table: Tensor | None = None) -> Tensor:
        """States at each item, which have seen all of them: [B, L] -> [B, L, D + 1].

        Raises IDModelError where L exceeds ``settings.max_length``.
        """
        return self._head(self._hidden(items, table))

    def last_states(self, histories: Tensor, lengths: Tensor, table: Tensor | None = None) -> Tensor:
        """State of a mask after each history [B, L] of lengths [B]: [B, D + 1]; 0 for an empty history."""
        self.check_length(histories)
        last = (lengths - 1).clamp(min=0)
        rows, columns = (torch.arange(size, device=histories.device) for size in histories.shape)
        asked = F.pad(histories[:, 1:], (0, 1)) * (columns < last.unsqueeze(1))  # the oldest item makes room
        asked[rows, last] = self.mask_item
        states = self._head(self._hidden(asked, table)[rows, last])
        return states * (lengths > 0).unsqueeze(1)

    def training_states(self, batch: IDBatch, table: Tensor) -> Scored:
        """States at hidden items (cloze), M of them; see `hide`.

        Where a row's last item is hidden, nothing after it is seen: that state has the row of the item before it.
        """
        whole, before = self._whole(batch)
        hidden = hide(whole, self.settings.mask_ratio)
        states = self._hidden(whole.masked_fill(hidden, self.mask_item), table)[hidden]
        rows = before.masked_fill(~_is_last(whole), -1)
        return Scored(self._head(states), whole[hidden], rows[hidden])

    def _whole(self, batch: IDBatch) -> tuple[Tensor, Tensor]:
        """Each row's items with its last target, and the row of the item before each; both [B, L], right-padded."""
        whole = torch.cat([batch.items[:, :1], batch.targets], dim=1)
        before = F.pad(batch.rows, (1, 0), value=-1)
        longest = self.settings.max_length
        if whole.shape[1] <= longest:
            return whole, before
        too_long = whole[:, longest:] != 0  # those lose their oldest item
        whole, before = (torch.where(too_long, part[:, 1:], part[:, :-1]) for part in (whole, before))
        return whole, before

    def _hidden(self, items: Tensor, table: Tensor | None) -> Tensor:
        """Encoder states before the last layer, [B, L] -> [B, L, D]."""
        self.check_length(items)
        table = self.item_table() if table is None else table
        vectors = torch.cat([table[:, :-1], self.item_embedding.weight[-1:]])  # [N + 1, D]
        states = F.embedding(items, vectors, padding_idx=0) + self.position_embedding.weight[: items.shape[1]]
        states = dropout(self.LayerNorm(states), self.settings.dropout, self.training)
        visible = items != 0
        visible[:, 0] = True  # a row of padding only must see something
        return self.trm_encoder(states, visible[:, None, None])

    def _head(self, states: Tensor) -> Tensor:
        """[..., D] -> [..., D + 1] in score space."""
        states = self.output_ln(F.gelu(self.output_ffn(states)))
        return self.tempered(F.pad(states, (0, 1), value=1.0))


def hide(items: Tensor, ratio: float) -> Tensor:
    """Which items of right-padded rows [B, L] to hide, bool [B, L]: at least one in every row that is not empty.

    Half of the rows hide their last item alone; the others each item with probability ``ratio``, and where chance
    picks none, the last.
    """
    real, last = items != 0, _is_last(items)
    chosen = real & (torch.rand(items.shape, device=items.device) < ratio)
    chosen &= torch.rand(len(items), 1, device=items.device) >= _LAST_ONLY
    return torch.where(chosen.any(dim=1, keepdim=True), chosen, last)


def _is_last(items: Tensor) -> Tensor:
    """Where the last item of each right-padded row stands, bool [B, L]; nowhere in an empty row."""
    return (items != 0) & (F.pad(items[:, 1:], (0, 1)) == 0)
