"""All that a bridge knows of the two sides.

Both sides score an item as an inner product in their own *score space*: ``user_state @ item_matrix.T`` is the side's
logit for every item. A bridge sees those states, the exchange store, and nothing else.

Letters: B prompts, L history length, N items (row 0 is padding), D id width, H LLM width, P width of a score space,
M scored positions, S item slots, Q query tokens.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

Side = Literal["id", "llm"]
Direction = Literal["id2llm", "llm2id", "both"]
Place = Literal["data", "prompt", "weights", "features", "targets", "store"]
Task = Literal["ranking", "ctr"]
SlotKind = Literal["prefix", "user", "item"]
Kind = Literal["item", "user", "text"]
"""Kinds of tables in the exchange store, see `bridges.sharing`."""
WAY_TO: dict[Side, Direction] = {"id": "llm2id", "llm": "id2llm"}
"""The direction in which knowledge reaches a side."""


@dataclass(frozen=True)
class PromptContext:
    """What a bridge may know while it fills the slots of B prompts: all of it older than each prompt's first target."""

    id_states: Tensor
    """[B, L, D] the frozen ID model's states after each of the last L items before the first target, right-padded."""
    id_mask: Tensor
    """[B, L] bool, False at padding; a prompt with no history has none True."""
    user_rows: Tensor
    """[B] store row of the user's state before the first target; -1: none."""
    item_ids: Tensor
    """[S] items whose slots are to be filled, prompt after prompt, in reading order."""
    other_states: tuple[Tensor, ...] = ()
    """[B, L, D'] each: states of further frozen ID models after the same items; D' is each model's own width."""


@dataclass(frozen=True)
class SlotFill:
    """Soft tokens for the slots of one batch of prompts."""

    tokens: dict[SlotKind, Tensor]
    """prefix [B, Q, H], user [B, H], item [S, H]; only the kinds this bridge fills."""
    loss: Tensor | None = None
    """Scalar added to the LLM's loss (a balance loss, say)."""
    users: Tensor | None = None
    """[B, C] what the LLM's adapter knows of each prompt's user; None: nothing."""


@dataclass(frozen=True)
class ScoredBatch:
    """The M scored positions of the learning side's batch, in its score space; gradients flow."""

    states: Tensor
    """[M, P] user states."""
    item_matrix: Tensor
    """[N, P] item matrix."""
    targets: Tensor
    """[M] ids of the true next items."""
    rows: Tensor
    """[M] store row of each position's user state; -1: none."""


@dataclass(frozen=True)
class TopFeatures:
    """The LLM's last hidden states in a batch of prompts; with gradient while it learns."""

    user: Tensor
    """[M, H] at the suffix slots."""
    rows: Tensor
    """[M] store row of the user state there; -1: none."""
    item: Tensor
    """[S, H] at the item slots; S is 0 where prompts have none."""
    item_ids: Tensor
    """[S]."""


class Bridge(nn.Module):
    """A module through which knowledge crosses. Every hook does nothing unless overridden."""

    name: ClassVar[str]
    direction: ClassVar[Direction]
    place: ClassVar[Place]
    needs_id_states: ClassVar[bool] = False
    """Whether it reads user states of the ID model, which a model with scores alone does not have."""
    tasks: ClassVar[frozenset[Task]] = frozenset({"ranking"})
    """Tasks it has a part in."""
    reads_features: ClassVar[bool] = False
    """Whether it reads the LLM's top-layer features: the three hooks that take them are called."""

    written: ClassVar[frozenset[str]] = frozenset()
    """Buffers that hold what it has written to the store: where its weights go back to their best, these do not."""

    @property
    def trained_by(self) -> Side | None:
        """The side whose optimiser trains its parameters: the receiving one, unless it says otherwise."""
        return next((side for side, way in WAY_TO.items() if way == self.direction), None)

    def reads(self, directions: Collection[Direction]) -> set[tuple[Side, Kind]]:
        """Tables of the exchange store that it reads where these directions are open; others need not be written."""
        return set()

    def slots(self) -> dict[SlotKind, int]:
        """Slots this bridge fills: how many prefix tokens, or 1 for user and item (one beside each title)."""
        return {}

    def fill_slots(self, context: PromptContext) -> SlotFill:
        """Soft tokens for the slots named by `slots`, and user vectors where the bridge's place is `weights`."""
        return SlotFill({})

    def histories(self, items: Tensor, targets: Tensor, rows: Tensor) -> Tensor:
        """The histories [B, L] that the ID model learns from in the place of ``items``; 0 is padding, in both.

        ``targets`` [B, L] are the next items that it is asked for, 0 where there is none; ``rows`` [B, L] the store
        row of the user's state after each of ``items``, -1 at padding.
        """
        return items

    def attention(self, rows: Tensor, items: Tensor) -> Tensor | None:
        """How much the user of store row [B] attends to the items [B, L] of a history that the LLM reads a part of.

        [B, L]; NaN: not known of this user; None: of nobody.
        """
        return None

    def item_features(self) -> Tensor | None:
        """What is added to the ID item table, [N, D], with gradient; None: nothing yet."""
        return None

    def scored_items(self) -> Tensor | None:
        """What is added to the LLM's item vectors, [N, P], with gradient; None: nothing yet."""
        return None

    def pair_features(self, users: Tensor, items: Tensor) -> Tensor:
        """What a click model reads of each user and item beside its own vectors, [B] and [B] -> [B, F]."""
        return torch.zeros(len(items), self.pair_width, device=items.device)

    @property
    def pair_width(self) -> int:
        """Width F of `pair_features`; 0: it has none."""
        return 0

    def loss(self, learner: Side, batch: ScoredBatch) -> Tensor | None:
        """Scalar added to the learner's loss; the other side enters as a constant."""
        return None

    def features_loss(self, features: TopFeatures) -> Tensor | None:
        """Scalar added to the LLM's loss, from its features."""
        return None

    def write_users(self, features: TopFeatures, step: int) -> None:
        """Write the users' features to the store, after an LLM phase; every row comes once."""

    def write_items(self, features: TopFeatures, step: int) -> None:
        """Write the items' features to the store, after an LLM phase; each item once, as a history of its own."""

    def shared_states(self, states: Tensor, rows: Tensor) -> Tensor:
        """What the ID side writes to the store's rows [M] for its states [M, D] there."""
        return states

    def begin_round(self, number: int) -> None:
        """A phase of this round begins, counted from 1."""

    def refresh(self) -> None:
        """Read the exchange store again; called after either side has written to it."""

    def metrics(self) -> dict[str, float]:
        """Scalars since the last call, for TensorBoard's ``exchange/<name>/*``; keys without the prefix."""
        return {}
