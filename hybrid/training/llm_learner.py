"""The LLM phase: full-catalogue softmax at the last positions of each prompt, plus what the bridges add."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from bridges.protocols import ScoredBatch, TopFeatures
from hybrid.config.schema import Config
from hybrid.data.split import TrainingData
from hybrid.evaluation.rankers import LLMRanker
from hybrid.exchange import Exchange
from hybrid.llm.prompt_batches import PromptBatches
from hybrid.llm.prompts import PromptBatch
from hybrid.llm.recommender import LLMRecommender
from hybrid.modes import inference
from hybrid.progress import progress
from hybrid.training.learner import Learner
from idmodels.losses.softmax import full_softmax


class LLMLearner(Learner[PromptBatch]):
    """Trains adapter, suffix and scorer of the language model, and the bridges that bring it knowledge."""

    side = "llm"
    ranker: LLMRanker

    def __init__(
        self,
        config: Config,
        recommender: LLMRecommender,
        prompts: PromptBatches,
        exchange: Exchange,
        data: TrainingData,
        device: torch.device,
        phases: int,
    ) -> None:
        self.recommender, self.exchange, self.prompts, self.device = recommender, exchange, prompts, device
        self.ranker = LLMRanker(recommender, exchange, prompts, device)
        unit_steps = len(prompts) if config.train.schedule.unit == "epochs" else 1
        super().__init__(
            [recommender, *exchange.modules("llm")],
            [*recommender.trainable_parameters(), *exchange.parameters("llm")],
            config.train.llm,
            phases * unit_steps,
        )

    def batches_per_epoch(self) -> int:
        """See `Learner`."""
        return len(self.prompts)

    def batches(self, epoch: int, skip: int) -> Iterator[PromptBatch]:
        """See `Learner`."""
        return self.prompts.epoch(epoch, skip)

    def losses(self, batch: PromptBatch) -> dict[str, Tensor]:
        """``softmax``, ``fill`` (the bridges' own terms) and one entry for each bridge with a say."""
        batch = batch.to(self.device)
        filled = self.exchange.fill(batch)
        features = self.recommender.top_features(batch, filled.tokens, filled.users)
        states = self.recommender.user_states(features.user)  # [M, P]
        matrix = self.recommender.item_matrix()  # [N, P]
        losses = {"softmax": full_softmax(states, matrix, batch.targets)}
        if filled.loss is not None:
            losses["fill"] = filled.loss
        losses |= self.exchange.features_losses(features)
        return losses | self.exchange.losses("llm", ScoredBatch(states, matrix, batch.targets, batch.rows))

    def write_store(self, step: int) -> None:
        """Write the item matrix, and the states at each user's last positions, where a bridge reads them.

        Bridges that read top-layer features write them back: of users at the same positions, of items as histories.
        """
        store, fingerprint = self.exchange.store, self.exchange.fingerprint
        readers = self.exchange.feature_readers().values()
        with inference(self.recommender, *self.modules):
            if self.exchange.reads("llm", "item"):
                store.write("llm", "item", self.recommender.item_matrix(), step=step, fingerprint=fingerprint)
            if self.exchange.reads("llm", "user") or readers:
                for features in self._features(self.prompts.write_batches(), "writing llm states"):
                    known, rows = features.rows >= 0, features.rows
                    if self.exchange.reads("llm", "user"):
                        states = self.recommender.user_states(features.user)[known]
                        store.write("llm", "user", states, step=step, fingerprint=fingerprint, index=rows[known])
                    for bridge in readers:
                        bridge.write_users(features, step)
            if readers:
                items = np.arange(1, store.n_items)
                for features in self._features(self.prompts.item_batches(items), "reading items back"):
                    for bridge in readers:
                        bridge.write_items(features, step)

    def _features(self, batches: Iterator[PromptBatch], label: str) -> Iterator[TopFeatures]:
        for batch in progress(batches, label):
            batch = batch.to(self.device)
            filled = self.exchange.fill(batch)
            yield self.recommender.top_features(batch, filled.tokens, filled.users)
