"""SIM: search a long history for what concerns the target, then attend to what was found (Pi et al., CIKM 2020).

The search keeps K items: the last ones that share a category with the target (hard), or those with the largest inner
product with it, ``r_i = (W_b e_i) . (W_a e_t)`` (soft). The found ones, in time order and each with how far back it
stands, are read by multi-head attention; an attention unit reads the most recent items beside it.

A soft search learns from a loss of its own, the click predicted from the scores of the whole history. The paper
predicts it from ``sum_i r_i e_i``; here from ``log(1 + sum_i exp(r_i))``, which one relevant item among a thousand
others can still move. What the user thought of a behaviour is added to its vector once it is found; the search does
not look at it.

Letters: B batch, L history length, N items (row 0 is padding), C most categories of an item, D id width, K found items;
the user state is [found, recent], S = 2 D.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from idmodels.click import ClickBatch, EmbeddedClicks
from idmodels.click_layers import AttentionUnit, mark_embedding, mlp, real_positions
from idmodels.click_settings import ClickSettings
from idmodels.errors import IDModelError

_DISTANCES = 24  # powers of two


class SIM(EmbeddedClicks):
    """``settings.search`` is soft or hard; a hard search needs ``item_categories`` [N, C] int64, 0 for none.

    Raises IDModelError where a hard search has no categories, or they are not those of N items.
    """

    item_categories: Tensor | None

    def __init__(self, n_items: int, settings: ClickSettings, item_categories: Tensor | None = None) -> None:
        super().__init__(n_items, settings)
        if settings.search == "hard":
            _check_categories(item_categories, n_items)
        self.register_buffer("item_categories", item_categories if settings.search == "hard" else None)
        width, hidden, activation = settings.width, settings.hidden_widths, settings.activation
        self.mark_embedding = mark_embedding(width)
        self.distance_embedding = nn.Embedding(_DISTANCES, width)
        self.found_attention = nn.MultiheadAttention(width, settings.heads, batch_first=True)
        self.recent_attention = AttentionUnit(width, settings.attention_widths, activation)
        self.predict = mlp([4 * width + settings.feature_width, *hidden], activation, settings.dropout)
        if settings.search == "soft":
            self.search_bias = nn.Linear(width, 1)
            self.search_key, self.search_query = (
                nn.Linear(width, width, bias=False),
                nn.Linear(width, width, bias=False),
            )
            for projection in (self.search_key, self.search_query):
                nn.init.eye_(projection.weight)  # at first the search looks for items like the target

    @property
    def state_width(self) -> int:
        """See `ClickModel`."""
        return 2 * self.settings.width

    def user_state(self, batch: ClickBatch) -> Tensor:
        """See `ClickModel`: what was found and what was recent, [B, 2 * D]."""
        return self._state(self.item_table(), batch)

    def logits(self, batch: ClickBatch) -> Tensor:
        """See `ClickModel`."""
        return self._logits(self.item_table(), batch)

    def loss(self, batch: ClickBatch) -> Tensor:
        """See `ClickModel`; plus ``search_weight`` times the loss of a soft search."""
        table, labels = self.item_table(), batch.labels.float()
        loss = F.binary_cross_entropy_with_logits(self._logits(table, batch).float(), labels)
        if self.settings.search == "hard" or self.settings.search_weight == 0:
            return loss
        searched = self._search_logits(table, batch)
        return loss + self.settings.search_weight * F.binary_cross_entropy_with_logits(searched.float(), labels)

    def find(self, table: Tensor, batch: ClickBatch) -> tuple[Tensor, Tensor]:
        """Positions of the found items, [B, K'] in time order, and which of them are real, [B, K'] bool; K' <= K."""
        histories, targets = batch.histories, batch.targets
        fit = real_positions(histories, batch.lengths)
        if self.item_categories is not None:
            fit = fit & _share_one(self.item_categories[histories], self.item_categories[targets])
            score = torch.arange(histories.shape[1], device=histories.device).expand_as(histories).float()
        else:
            score = self._relevance(F.embedding(histories, table), F.embedding(targets, table))
        score = score.masked_fill(~fit, -torch.inf)
        count = min(self.settings.found_items, histories.shape[1])
        positions = score.topk(count, dim=1).indices.sort(dim=1).values
        return positions, fit.gather(1, positions)

    def _state(self, table: Tensor, batch: ClickBatch) -> Tensor:
        self.check_length(batch.histories)
        target = F.embedding(batch.targets, table)  # [B, D]
        positions, found = self.find(table.detach(), batch)
        items = self._items(table, batch, positions)  # [B, K, D]
        distances = (batch.lengths.unsqueeze(1) - positions).clamp(min=1)
        keys = items + self.distance_embedding(distances.float().log2().long().clamp(max=_DISTANCES - 1))
        return torch.cat([self._attend(target, keys, found), self._recent(table, batch, target)], dim=1)

    def _items(self, table: Tensor, batch: ClickBatch, positions: Tensor) -> Tensor:
        """Vectors of the behaviours at ``positions`` [B, K] with their marks, [B, K, D]."""
        marks = self.mark_embedding(batch.marks.gather(1, positions))
        return F.embedding(batch.histories.gather(1, positions), table) + marks

    def _attend(self, target: Tensor, keys: Tensor, found: Tensor) -> Tensor:
        any_found = found.any(dim=1)
        # A row without any key would be 0 / 0: its first key is let in, and its result dropped.
        hidden = ~found & any_found.unsqueeze(1)
        read, _ = self.found_attention(target.unsqueeze(1), keys, keys, key_padding_mask=hidden, need_weights=False)
        return read.squeeze(1) * any_found.unsqueeze(1)

    def _recent(self, table: Tensor, batch: ClickBatch, target: Tensor) -> Tensor:
        back = torch.arange(min(self.settings.recent_items, batch.histories.shape[1]), device=target.device)
        positions = batch.lengths.unsqueeze(1) - 1 - back
        return self.recent_attention(self._items(table, batch, positions.clamp(min=0)), positions >= 0, target)

    def _logits(self, table: Tensor, batch: ClickBatch) -> Tensor:
        state, target = self._state(table, batch), F.embedding(batch.targets, table)
        inputs = [state, target, state[:, : self.settings.width] * target, self.pair_features(batch)]
        return self.predict(torch.cat(inputs, dim=1)).squeeze(1)

    def _search_logits(self, table: Tensor, batch: ClickBatch) -> Tensor:
        items, target = F.embedding(batch.histories, table), F.embedding(batch.targets, table)
        scores = self._relevance(items, target).masked_fill(~real_positions(batch.histories, batch.lengths), -torch.inf)
        scores = F.pad(scores, (1, 0))  # beside the items stands "nothing" with score 0, all that an empty history has
        return scores.logsumexp(dim=1) + self.search_bias(target).squeeze(1)

    def _relevance(self, items: Tensor, target: Tensor) -> Tensor:
        # (W_b e_i) . (W_a e_t), with both matrices on the target's side: B products instead of B * L.
        wanted = self.search_query(target) @ self.search_key.weight * self.settings.width**0.5  # [B, D]
        return (items @ wanted.unsqueeze(2)).squeeze(2)  # [B, L]


def _share_one(categories: Tensor, wanted: Tensor) -> Tensor:
    """Which behaviours [B, L, C] have one of the categories [B, C] that are wanted, [B, L] bool."""
    same = [(categories == one[:, None, None]) & (one > 0)[:, None, None] for one in wanted.unbind(dim=1)]
    return torch.stack([each.any(dim=2) for each in same]).any(dim=0)


def _check_categories(categories: Tensor | None, n_items: int) -> None:
    if categories is None:
        raise IDModelError("a hard search (search: hard) needs item_categories; or use search: soft")
    if categories.ndim != 2 or len(categories) != n_items:
        raise IDModelError(f"item_categories must be [{n_items} items, categories], got {list(categories.shape)}")
