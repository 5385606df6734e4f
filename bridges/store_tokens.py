"""Store tokens: the LLM reads the ID model's user and item states beside the titles.

BDLM's ``<uid>`` and ``<iid>`` (arXiv 2311.03778): ``x_uid = P_u(E_U[row])``, ``x_iid = P_i(E_I[item])``, with the
exchange store as E and a two-layer projector P per table.
"""

from collections.abc import Collection
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from bridges.errors import BridgeError
from bridges.protocols import Bridge, Direction, Kind, Place, PromptContext, Side, SlotFill, SlotKind
from bridges.sharing import ExchangeStore
from bridges.soft_tokens import learned_tokens, projector


class StoreTokens(Bridge):
    """Fills the user slot and one slot beside each title from the store; learned vectors where it has nothing.

    Rows are layer-normalised first, so that the projector sees the same scale whichever ID model wrote them. Raises
    BridgeError where the store's ID tables are not ``id_width`` wide.
    """

    name: ClassVar[str] = "store"
    direction: ClassVar[Direction] = "id2llm"
    place: ClassVar[Place] = "prompt"
    needs_id_states: ClassVar[bool] = True

    def __init__(
        self, store: ExchangeStore, id_width: int, llm_width: int, embedding_norm: float, user_token: bool
    ) -> None:
        super().__init__()
        self._store = store
        self.id_width = id_width
        self.item_projector = projector(id_width, llm_width, embedding_norm)
        self.unknown_item = learned_tokens(1, llm_width, embedding_norm)
        self.user_token = user_token
        if user_token:
            self.user_projector = projector(id_width, llm_width, embedding_norm)
            self.unknown_user = learned_tokens(1, llm_width, embedding_norm)

    def reads(self, directions: Collection[Direction]) -> set[tuple[Side, Kind]]:
        """See `Bridge`."""
        kinds: tuple[Kind, ...] = ("item", "user") if self.user_token else ("item",)
        return {("id", kind) for kind in kinds}

    def slots(self) -> dict[SlotKind, int]:
        """One token beside each item, and one for the user where it is asked for."""
        return {"user": 1, "item": 1} if self.user_token else {"item": 1}

    def fill_slots(self, context: PromptContext) -> SlotFill:
        """``item`` [S, H], and ``user`` [B, H] where it is asked for."""
        items, known = self._normalised("item", context.item_ids.masked_fill(context.item_ids == 0, -1))
        tokens: dict[SlotKind, Tensor] = {"item": _where(known, self.item_projector(items), self.unknown_item)}
        if self.user_token:
            users, known = self._normalised("user", context.user_rows)
            tokens["user"] = _where(known, self.user_projector(users), self.unknown_user)
        return SlotFill(tokens)

    def _normalised(self, kind: Kind, index: Tensor) -> tuple[Tensor, Tensor]:
        """Layer-normalised rows [R, D], zero where the store has nothing, and whether it has something [R]."""
        known = self._store.written("id", kind, index)
        values = torch.zeros(len(index), self.id_width, device=index.device)
        if known.any():
            read = self._store.read("id", kind, index[known])
            if read.shape[1] != self.id_width:
                raise BridgeError(f"store tokens: id/{kind} is {read.shape[1]} wide, expected {self.id_width}")
            values[known] = F.layer_norm(read, read.shape[-1:])
        return values, known


def _where(known: Tensor, tokens: Tensor, unknown: Tensor) -> Tensor:
    return torch.where(known.unsqueeze(-1), tokens, unknown.to(tokens.dtype))
