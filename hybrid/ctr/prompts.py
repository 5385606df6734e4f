"""Prompts of task ctr: behaviours with what the user thought of them, the item offered, and a question.

    [BOS] opening  \n- title (liked)  \n- title (not liked)  offer  \n- title  question

The state at the last token is judged by `hybrid.ctr.yes_no`. A prompt is put together from phrases that are tokenised
once, when the builder is made. Letters: B prompts, T tokens, K behaviours, M samples, N items, S phrases of a prompt.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from hybrid.config.schema import ClickPromptConfig
from hybrid.ctr.selectors import BehaviourSelector
from hybrid.data.clicks import Samples
from hybrid.errors import UserError
from hybrid.llm.answers import Answers
from hybrid.llm.tokens import leading_tokens, title_tokens
from idmodels.buckets import bucket, cut
from idmodels.ragged import positions, ramp, row_starts


@dataclass(frozen=True, eq=False)
class Selected:
    """M samples with the behaviours that are read of each."""

    samples: Samples
    positions: np.ndarray
    """[M, K] in ``samples.behaviours``, in time order, padded at the end with -1."""

    @classmethod
    def by(cls, selector: BehaviourSelector, samples: Samples, count: int) -> "Selected":
        """The samples with ``count`` behaviours that ``selector`` chooses."""
        return cls(samples, selector.select(samples, count))

    @classmethod
    def both(cls, first: BehaviourSelector, second: BehaviourSelector, samples: Samples, count: int) -> "Selected":
        """Each of M samples twice, by ``first`` and then by ``second``: 2 M in the order 0, 0, 1, 1, .. (ReLLa)."""
        versions = [selector.select(samples, count) for selector in (first, second)]
        return cls(samples.take(np.repeat(np.arange(len(samples)), 2)), np.stack(versions, axis=1).reshape(-1, count))

    def __len__(self) -> int:
        return len(self.samples)

    def take(self, which: np.ndarray) -> "Selected":
        """The samples numbered ``which``, in that order."""
        return Selected(self.samples.take(which), self.positions[which])


@dataclass(frozen=True, eq=False)
class ClickPromptBatch:
    """B prompts, right-padded."""

    tokens: Tensor
    """[B, T]."""
    lengths: Tensor
    """[B]."""
    labels: Tensor
    """[B] 0 or 1."""
    numbers: Tensor
    """[B] number of each prompt's sample in the samples that the batches are made of."""

    def to(self, device: torch.device) -> "ClickPromptBatch":
        """The same batch on another device."""
        parts = (self.tokens, self.lengths, self.labels, self.numbers)
        return ClickPromptBatch(*(part.to(device) for part in parts))


class ClickPromptBuilder:
    """Turns samples into prompts."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, item_text: Sequence[str], config: ClickPromptConfig, answers: Answers
    ) -> None:
        self.item_tokens = config.item_tokens
        titles, counts = title_tokens(tokenizer, item_text, config.item_tokens)
        bos, opening = leading_tokens(tokenizer, config.opening, "llm.click_prompt.opening")
        fixed = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in (config.disliked, config.liked)]
        fixed += [tokenizer(text, add_special_tokens=False)["input_ids"] for text in (config.nothing, config.offer)]
        phrases: list[list[int]] = [*fixed, [*bos, *opening], answers.question, []]
        self._disliked, self._liked, self._nothing, self._offer, self._opening, self._question, self._empty = len(
            counts
        ) + np.arange(len(phrases))
        words = np.array([token for phrase in phrases for token in phrase], dtype=np.int64)
        self._tokens = np.concatenate([titles, words])
        self._counts = np.concatenate([counts, [len(phrase) for phrase in phrases]]).astype(np.int64)
        self._starts = row_starts(self._counts)

    def build(self, selected: Selected, numbers: np.ndarray) -> ClickPromptBatch:
        """The prompts of ``selected``."""
        phrases = self._phrases(selected)
        counts = self._counts[phrases]  # [B, S]
        lengths = counts.sum(axis=1)
        tokens = np.full((len(selected), int(lengths.max(initial=1))), self._tokens[-1])
        source = positions(self._starts[phrases].ravel(), counts.ravel())
        tokens[np.repeat(np.arange(len(selected)), lengths), ramp(lengths)] = self._tokens[source]
        labels = selected.samples.labels.astype(np.int64)
        return ClickPromptBatch(*(torch.from_numpy(part) for part in (tokens, lengths, labels, numbers)))

    def lengths(self, selected: Selected) -> np.ndarray:
        """Tokens of each prompt, [M]."""
        lengths: np.ndarray = self._counts[self._phrases(selected)].sum(axis=1)
        return lengths

    def _phrases(self, selected: Selected) -> np.ndarray:
        """[B, S] numbers of the phrases of each prompt, in reading order."""
        behaviours, at = selected.samples.behaviours, selected.positions
        real = at >= 0
        items, liked = behaviours.items[np.maximum(at, 0)], behaviours.liked[np.maximum(at, 0)]
        marks = np.select([~real, liked == 1, liked == 0], [self._empty, self._liked, self._disliked], self._empty)
        read = np.stack([np.where(real, items, self._empty), marks], axis=2).reshape(len(at), -1)  # [B, 2 * K]
        rows = len(at)
        nothing = np.where(real.any(axis=1), self._empty, self._nothing)
        opening, offer, question = (np.full(rows, phrase) for phrase in (self._opening, self._offer, self._question))
        return np.column_stack([opening, read, nothing, offer, selected.samples.items, question])


@dataclass
class ClickPrompts:
    """Batches of prompts of similar length; the order of training batches depends on (seed, epoch) alone."""

    builder: ClickPromptBuilder
    context: int
    """Tokens that the language model reads at once."""
    batch_prompts: int
    eval_prompts: int
    seed: int

    def check(self, selected: Selected) -> None:
        """Raise UserError where a prompt is longer than the model's context."""
        longest = int(self.builder.lengths(selected).max(initial=0))
        if longest > self.context:
            raise UserError(
                f"a prompt of task ctr has {longest} tokens, but llm.name reads {self.context}; lower "
                f"llm.click_prompt.behaviours (now {selected.positions.shape[1]}) or llm.click_prompt.item_tokens "
                f"(now {self.builder.item_tokens})"
            )

    def n_batches(self, selected: Selected) -> int:
        """Training batches in an epoch."""
        return -(-len(selected) // self.batch_prompts)

    def epoch(self, selected: Selected, epoch: int, skip: int = 0) -> Iterator[ClickPromptBatch]:
        """The training batches of an epoch but the first ``skip``, which are not built."""
        generator = np.random.default_rng((self.seed, epoch))
        for batch in bucket(self.builder.lengths(selected), self.batch_prompts, generator)[skip:]:
            yield self.builder.build(selected.take(batch), batch)

    def in_order_of_length(self, selected: Selected) -> Iterator[ClickPromptBatch]:
        """All samples once, the longest prompts first; ``numbers`` says which they are.

        Raises UserError as `check` does.
        """
        self.check(selected)
        order = np.argsort(-self.builder.lengths(selected), kind="stable")
        for batch in cut(order, self.eval_prompts):
            yield self.builder.build(selected.take(batch), batch)
