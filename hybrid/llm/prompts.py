"""The layout of a prompt: token ids, and the places where soft tokens stand.

    [BOS] [prefix x Q] [user] instruction  \\n- title [item]  \\n- title [item] [suffix]  \\n- title [item] [suffix]

A prompt reads the last `history_items` items of a window (`attended`: or other old ones). A suffix slot stands after
each of its last k items; the state there predicts the item after that one. All soft input of a prompt is known at its
first suffix slot. BOS is there only where the tokenizer begins a text with it.

    [BOS] [prefix x Q] [user] instruction  [vector]  [vector]  [vector]

Where items are read as vectors (`llm.prompt.items`), one soft token stands for a whole title. What a bridge puts beside
an item is added to that token, and the state there predicts: item slot and suffix slot are the vector's own place.

Letters: B prompts, T tokens, L history length, N items, Q prefix tokens, M suffix slots, S item slots, I items read.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from hybrid.config.schema import PromptConfig
from hybrid.llm.attended import Attention, attended_places
from hybrid.llm.tokens import leading_tokens, title_tokens
from hybrid.llm.windows import Windows
from idmodels.batches import int_tensor
from idmodels.ragged import positions, ramp, row_starts

Index = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class SlotLayout:
    """Which soft tokens a prompt has beside its suffix slots."""

    prefix: int = 0
    """Q, prefix tokens."""
    user: bool = False
    """One slot for the user, after the prefix."""
    item: bool = False
    """One slot after each title."""


@dataclass(frozen=True, eq=False)
class PromptBatch:
    """B prompts, right-padded. An index is (prompt, time), each [slots], in reading order."""

    tokens: Tensor
    """[B, T] int64; a slot holds a valid id that is to be replaced."""
    lengths: Tensor
    """[B]."""
    vector_index: Index
    """I places of items that are read as vectors; none where titles are read."""
    vector_ids: Tensor
    """[I] item of each of these places."""
    prefix_index: Index
    """B * Q places."""
    user_index: Index
    """B places."""
    item_index: Index
    """S places."""
    suffix_index: Index
    """M places."""
    item_ids: Tensor
    """[S] item of each item slot."""
    users: Tensor
    """[B]."""
    user_rows: Tensor
    """[B] row of the newest train interaction that is known at the first suffix slot; -1: none."""
    id_items: Tensor
    """[B, L] the last items known at the first suffix slot, right-padded with 0: what the ID model may read."""
    targets: Tensor
    """[M] true next item at each suffix slot; 0: unknown."""
    rows: Tensor
    """[M] row of the train interaction that stands before each suffix slot; -1: none."""
    numbers: Tensor
    """[B] number of each prompt in what it was made from: which target, which window."""

    def to(self, device: torch.device) -> "PromptBatch":
        """The same batch on another device."""
        moved: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            is_index = isinstance(value, tuple)
            moved[field.name] = tuple(part.to(device) for part in value) if is_index else value.to(device)
        return PromptBatch(**moved)


@dataclass(frozen=True, eq=False)
class _Reading:
    """The I items that B prompts read, and when."""

    prompt: np.ndarray
    """[I]."""
    items: np.ndarray
    """[I]."""
    begins: np.ndarray
    """[I] time of the first token."""
    title_ends: np.ndarray
    """[I] time after the last token; slots follow."""
    predicts: np.ndarray
    """[I] bool, a suffix slot follows."""
    lengths: np.ndarray
    """[B] of the prompts."""
    unread: np.ndarray
    """Prompts with no item; their one state is read at the end."""


class PromptBuilder:
    """Turns windows into prompts. Every text is tokenised once, when this is made.

    ``attention`` chooses among the older items of long histories; None: the newest are read.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        item_text: Sequence[str],
        config: PromptConfig,
        attention: Attention | None = None,
    ) -> None:
        self.history_items, self._newest = config.history_items, config.targets_per_prompt
        self._attention = attention
        self.reads_vectors = config.items == "vectors"
        self._bos, self._instruction = leading_tokens(tokenizer, config.instruction, "llm.prompt.instruction")
        if self.reads_vectors:  # one token for each, to be replaced
            self._titles = np.full(len(item_text), self._instruction[-1], dtype=np.int64)
            self._title_lengths = np.ones(len(item_text), dtype=np.int64)
        else:
            self._titles, self._title_lengths = title_tokens(tokenizer, item_text, config.item_tokens)
        self._title_starts = row_starts(self._title_lengths)

    def build(
        self, windows: Windows, layout: SlotLayout, id_length: int, numbers: np.ndarray | None = None
    ) -> PromptBatch:
        """The prompts of ``windows``; ``id_items`` has L = ``id_length`` columns."""
        reading = self._read(windows, layout)
        has_slot = np.full(len(reading.items), layout.item)
        is_vector = np.full(len(reading.items), self.reads_vectors)
        slot_times = reading.begins if self.reads_vectors else reading.title_ends
        return PromptBatch(
            tokens=torch.from_numpy(self._tokens(reading, layout)),
            lengths=int_tensor(reading.lengths),
            vector_index=(int_tensor(reading.prompt[is_vector]), int_tensor(reading.begins[is_vector])),
            vector_ids=int_tensor(reading.items[is_vector]),
            prefix_index=self._head_places(len(windows), 0, layout.prefix),
            user_index=self._head_places(len(windows), layout.prefix, int(layout.user)),
            item_index=(int_tensor(reading.prompt[has_slot]), int_tensor(slot_times[has_slot])),
            suffix_index=_suffix_places(reading, slot_times + (layout.item and not self.reads_vectors)),
            item_ids=int_tensor(reading.items[has_slot]),
            users=int_tensor(windows.users),
            user_rows=int_tensor(windows.user_rows),
            id_items=int_tensor(_known_items(windows, id_length)),
            targets=int_tensor(windows.targets),
            rows=int_tensor(windows.rows),
            numbers=int_tensor(np.arange(len(windows)) if numbers is None else numbers),
        )

    def lengths(self, windows: Windows, layout: SlotLayout) -> np.ndarray:
        """Tokens of each prompt, slots included, [B]; with ``attention``, where titles are read, about so many."""
        beside, after = self._slots(layout)
        cost = np.append(0, np.cumsum(self._title_lengths[windows.items] + beside))
        return len(self._head(layout)) + cost[windows.ends] - cost[self._first(windows)] + windows.suffixes * after

    def _slots(self, layout: SlotLayout) -> tuple[int, int]:
        """Slots that take room of their own: beside each item, and after each that predicts."""
        return (0, 0) if self.reads_vectors else (int(layout.item), 1)

    def _head(self, layout: SlotLayout) -> np.ndarray:
        soft = [self._instruction[0]] * (layout.prefix + layout.user)
        return np.array([*self._bos, *soft, *self._instruction], dtype=np.int64)

    def _first(self, windows: Windows) -> np.ndarray:
        return np.maximum(windows.starts, windows.ends - self.history_items)  # [B]

    def _read(self, windows: Windows, layout: SlotLayout) -> _Reading:
        first, n_head = self._first(windows), len(self._head(layout))
        counts = windows.ends - first  # [B]
        at = positions(first, counts)  # [I]
        if self._attention is not None:
            at = attended_places(windows, first, self._newest, self._attention)
        prompt = np.repeat(np.arange(len(windows)), counts)
        items = windows.items[at].astype(np.int64)
        predicts = at >= (windows.ends - windows.suffixes)[prompt]
        titles = self._title_lengths[items]
        beside, after = self._slots(layout)
        # Times as if the prompts had no heads and stood one after the other.
        flat = np.append(0, np.cumsum(titles + beside + predicts * after))
        bounds = flat[np.append(0, np.cumsum(counts))]  # [B + 1]
        begins = n_head + flat[:-1] - bounds[prompt]
        unread = counts == 0
        return _Reading(
            prompt,
            items,
            begins,
            begins + titles,
            predicts,
            n_head + np.diff(bounds) + unread * after,
            np.flatnonzero(unread),
        )

    def _tokens(self, reading: _Reading, layout: SlotLayout) -> np.ndarray:
        head = self._head(layout)
        tokens = np.full((len(reading.lengths), int(reading.lengths.max(initial=1))), head[-1])
        tokens[:, : len(head)] = head
        counts = self._title_lengths[reading.items]
        source = positions(self._title_starts[reading.items], counts)
        tokens[np.repeat(reading.prompt, counts), positions(reading.begins, counts)] = self._titles[source]
        return tokens  # [B, T]

    def _head_places(self, n_prompts: int, first: int, count: int) -> Index:
        times = len(self._bos) + first + np.arange(count)
        return int_tensor(np.repeat(np.arange(n_prompts), count)), int_tensor(np.tile(times, n_prompts))


def _suffix_places(reading: _Reading, times: np.ndarray) -> Index:
    """``times`` [I]: where the state of each item would be read; that of a prompt with no item is its last one."""
    prompt = np.append(reading.prompt[reading.predicts], reading.unread)
    time = np.append(times[reading.predicts], reading.lengths[reading.unread] - 1)
    order = np.argsort(prompt, kind="stable")
    return int_tensor(prompt[order]), int_tensor(time[order])  # [M]


def _known_items(windows: Windows, id_length: int) -> np.ndarray:
    ends = windows.known
    counts = np.minimum(id_length, ends - windows.starts)
    items = np.zeros((len(windows), id_length), dtype=np.int64)
    items[np.repeat(np.arange(len(windows)), counts), ramp(counts)] = windows.items[positions(ends - counts, counts)]
    return items  # [B, L]
