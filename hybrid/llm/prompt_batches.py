"""Batches of prompts for training, for writing user states to the exchange store, and for evaluation.

Prompts of similar length stand together; the order of the batches is random and depends on (seed, epoch) alone.
Letters: B prompts, L history length, M suffix slots.
"""

import sys
from collections.abc import Iterator

import numpy as np

from hybrid.config.schema import PromptConfig
from hybrid.data.split import Histories, Targets
from hybrid.errors import UserError
from hybrid.llm.prompts import PromptBatch, PromptBuilder, SlotLayout
from hybrid.llm.windows import Windows, item_windows, last_windows, target_windows, training_windows
from idmodels.buckets import bucket, cut


class PromptBatches:
    """The prompts of one dataset.

    ``id_length`` is the L of `PromptBatch.id_items`, ``eval_prompts`` the batch size outside training (0: the same).
    ``context`` is how many tokens the LLM can read. Raises UserError where no user has enough train items for a prompt,
    and where one is longer than ``context``.
    """

    def __init__(
        self,
        train: Histories,
        builder: PromptBuilder,
        config: PromptConfig,
        layout: SlotLayout,
        batch_prompts: int,
        id_length: int,
        seed: int,
        eval_prompts: int = 0,
        context: int = sys.maxsize,
    ) -> None:
        self.train = train
        self.builder = builder
        self.config = config
        self.layout = layout
        self.batch_prompts = batch_prompts
        self.eval_prompts = eval_prompts or batch_prompts
        self.id_length = id_length
        self.seed = seed
        self._check_lengths(context)
        self._n_prompts = len(self._windows(0))
        if not self._n_prompts:
            raise UserError(
                "no user has two train items, so the LLM side has nothing to learn from: it reads a history and learns "
                "the item after it; take data with longer histories"
            )

    def _check_lengths(self, context: int) -> None:
        whole = last_windows(self.train, self.config.targets_per_prompt)
        longest = int(self.builder.lengths(whole, self.layout).max(initial=0))
        if longest > context:
            raise UserError(
                f"a prompt has {longest} tokens, but the LLM reads {context} at once; lower llm.prompt.history_items "
                f"({self.config.history_items}) or llm.prompt.item_tokens ({self.config.item_tokens})"
            )

    def __len__(self) -> int:
        """Batches in an epoch; the same in each."""
        return -(-self._n_prompts // self.batch_prompts)

    def epoch(self, epoch: int, skip: int = 0) -> Iterator[PromptBatch]:
        """The training batches of an epoch but the first ``skip``, which are not built."""
        windows = self._windows(epoch)
        generator = np.random.default_rng((self.seed, epoch))
        batches = bucket(self.builder.lengths(windows, self.layout), self.batch_prompts, generator)
        return self._build(windows, batches[skip:])

    def write_batches(self) -> Iterator[PromptBatch]:
        """Each user's last window, up to and including the state after the last train item (target 0)."""
        return self._in_order_of_length(last_windows(self.train, self.config.targets_per_prompt))

    def target_batches(self, targets: Targets) -> Iterator[PromptBatch]:
        """One prompt per target: its whole history, one suffix slot at the end. ``numbers`` says which target."""
        return self._in_order_of_length(target_windows(self.train, targets))

    def item_batches(self, items: np.ndarray) -> Iterator[PromptBatch]:
        """Each of ``items`` as a history of its own, one suffix slot at the end. ``numbers`` says which of them."""
        return self._in_order_of_length(item_windows(items))

    def _windows(self, epoch: int) -> Windows:
        return training_windows(self.train, self.config.windows_per_user, self.config.targets_per_prompt, epoch)

    def _in_order_of_length(self, windows: Windows) -> Iterator[PromptBatch]:
        order = np.argsort(-self.builder.lengths(windows, self.layout), kind="stable")
        return self._build(windows, cut(order, self.eval_prompts))

    def _build(self, windows: Windows, batches: list[np.ndarray]) -> Iterator[PromptBatch]:
        for batch in batches:
            yield self.builder.build(windows.take(batch), self.layout, self.id_length, numbers=batch)
