"""Read-back: the LLM's top-layer features become user and item vectors of the shared tables (BDLM, arXiv 2311.03778).

What the paper's abstract and surveys say of it: user and item embeddings in the sharing module are updated in turn by
both models, the LLM's by its top-layer features. The form here is a reconstruction (no text of the method is public):
``r_u = Q_u h`` at the suffix token and ``r_i = Q_i h`` at the item's store token; Q learns in the LLM phase from
``|r - E|^2 / |E|^2`` with the tables E as constants; after the phase ``E <- m E + (1 - m) r``. What that changes in E_I
is added to the ID item table, so the ID model goes on from the shared table without one of its own weights moving; what
it changes in E_U is added to the states that the ID model writes next, so that they do not wipe it out.
"""

from collections.abc import Collection
from typing import ClassVar

import torch
from torch import Tensor, nn

from bridges.errors import BridgeError
from bridges.protocols import Bridge, Direction, Kind, Place, ScoredBatch, Side, TopFeatures
from bridges.running import RunningMeans
from bridges.sharing import ExchangeStore


class ReadBack(Bridge):
    """Heads Q_u and Q_i [H -> D], trained by the LLM; what the LLM has changed in E_I so far, ``offset`` [N, D], and in
    E_U, ``user_offset`` [R, D] for R rows.

    ``align_weight`` weighs the distance of r from E in the LLM's loss, ``pull_weight`` that of the ID model's states
    and item vectors from E in its own. Items are read back where they have store tokens, users always. Raises
    BridgeError for a momentum outside [0, 1).
    """

    name: ClassVar[str] = "readback"
    direction: ClassVar[Direction] = "llm2id"
    place: ClassVar[Place] = "features"
    reads_features: ClassVar[bool] = True
    needs_id_states: ClassVar[bool] = True
    written: ClassVar[frozenset[str]] = frozenset({"offset", "user_offset"})

    def __init__(
        self,
        store: ExchangeStore,
        n_items: int,
        id_width: int,
        llm_width: int,
        momentum: float,
        align_weight: float,
        pull_weight: float,
    ) -> None:
        super().__init__()
        if not 0 <= momentum < 1:
            raise BridgeError(f"readback: momentum must be in [0, 1), got {momentum}")
        self._store = store
        self.momentum, self.align_weight, self.pull_weight = momentum, align_weight, pull_weight
        self.user_head = nn.Linear(llm_width, id_width)
        self.item_head = nn.Linear(llm_width, id_width)
        self.register_buffer("offset", torch.zeros(n_items, id_width))
        self.register_buffer("user_offset", torch.zeros(store.n_rows, id_width, dtype=store.user_dtype))
        self.offset: Tensor
        self.user_offset: Tensor
        self._means = RunningMeans(["user_distance", "item_distance"])

    @property
    def trained_by(self) -> Side | None:
        """The heads read the LLM, so they learn with it."""
        return "llm"

    def reads(self, directions: Collection[Direction]) -> set[tuple[Side, Kind]]:
        """See `Bridge`."""
        return {("id", "user"), ("id", "item")}

    def item_features(self) -> Tensor | None:
        """The offset [N, D]; row 0 is exactly zero."""
        return self.offset

    def features_loss(self, features: TopFeatures) -> Tensor | None:
        """``align_weight`` times the relative distances of r_u and r_i from E; None where E has none of them."""
        items = features.item_ids.masked_fill(features.item_ids == 0, -1)
        parts = [
            self._distance("user", features.rows, self.user_head, features.user),
            self._distance("item", items, self.item_head, features.item),
        ]
        found = [part for part in parts if part is not None]
        return self.align_weight * torch.stack(found).sum() if found else None

    def write_users(self, features: TopFeatures, step: int) -> None:
        """``E_U <- m E_U + (1 - m) r_u`` in the rows that the ID side has written; the change goes to their offset."""
        known = self._store.written("id", "user", features.rows)
        rows = features.rows[known]
        if len(rows):
            before = self._store.read("id", "user", rows)
            self._write("user", rows, self.user_head(features.user[known]), step)
            self.user_offset[rows] += (self._store.read("id", "user", rows) - before).to(self.user_offset.dtype)

    def shared_states(self, states: Tensor, rows: Tensor) -> Tensor:
        """See `Bridge`: the states and what the LLM has changed in these rows."""
        return states + self.user_offset[rows].to(states.dtype)

    def write_items(self, features: TopFeatures, step: int) -> None:
        """``E_I <- m E_I + (1 - m) r_i``; the change goes to the offset too. No item may be there twice."""
        known = self._store.written("id", "item", features.item_ids) & (features.item_ids > 0)
        items = features.item_ids[known]
        if len(items):
            before = self._store.read("id", "item", items)
            self._write("item", items, self.item_head(features.item[known]), step)
            self.offset[items] += self._store.read("id", "item", items) - before

    def loss(self, learner: Side, batch: ScoredBatch) -> Tensor | None:
        """``pull_weight`` times the relative distance of the ID model's states and target vectors from E."""
        if learner != "id" or not self.pull_weight:
            return None
        parts = [
            self._distance("user", batch.rows, nn.Identity(), batch.states),
            self._distance("item", batch.targets, nn.Identity(), batch.item_matrix[batch.targets]),
        ]
        found = [part for part in parts if part is not None]
        return self.pull_weight * torch.stack(found).sum() if found else None

    def metrics(self) -> dict[str, float]:
        """Mean relative distances of what was read back, or pulled, from E."""
        return self._means.take()

    def _distance(self, kind: Kind, index: Tensor, head: nn.Module, states: Tensor) -> Tensor | None:
        """``|head(states) - E[index]|^2 / |E[index]|^2`` over the rows that E has: 1 for a head that puts out zero."""
        known = self._store.written("id", kind, index)
        if not known.any():
            return None
        wanted = self._store.read("id", kind, index[known])
        distance = (head(states[known]).float() - wanted).square().sum() / wanted.square().sum().clamp_min(1e-12)
        self._means.add(f"{kind}_distance", distance)
        return distance

    def _write(self, kind: Kind, index: Tensor, values: Tensor, step: int) -> None:
        known = self._store.written("id", kind, index)
        self._store.write(
            "id", kind, values[known].float(), step=step, fingerprint=self._store.fingerprint, index=index[known],
            momentum=self.momentum,
        )  # fmt: skip
