"""The ID phase: the ID model's own loss, plus what the bridges add."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from bridges.protocols import ScoredBatch
from hybrid.config.schema import Config
from hybrid.data.split import TrainingData
from hybrid.errors import UserError
from hybrid.evaluation.rankers import IDRanker
from hybrid.exchange import Exchange
from hybrid.modes import inference
from hybrid.training.learner import Learner
from idmodels.batches import IDBatch, IDBatches, padded_histories
from idmodels.contract import IDModel
from idmodels.loss_settings import LossSettings
from idmodels.losses import create_loss
from idmodels.precision import choose_dtype, multiplies_in


class IDLearner(Learner[IDBatch]):
    """Trains the ID model and the bridges that bring it knowledge."""

    side = "id"
    ranker: IDRanker

    def __init__(
        self, config: Config, model: IDModel, exchange: Exchange, data: TrainingData, device: torch.device, phases: int
    ) -> None:
        train = data.train
        self.model, self.exchange, self.device = model, exchange, device
        self.data = IDBatches(
            train.items, train.starts, train.ends, model.settings.max_length, config.train.id.batch_targets, config.seed
        )
        self.dtype = choose_dtype(config.train.id.precision, device)
        self.loss_name = _loss_name(model, config.train.id.loss)
        self.loss = create_loss(config.train.id.loss, torch.from_numpy(data.popularity()).to(device))
        self.ranker = IDRanker(model, config.evaluation.batch_users, device)
        unit_steps = len(self.data) if config.train.schedule.unit == "epochs" else 1
        super().__init__(
            [model, *exchange.modules("id")],
            [*model.parameters(), *exchange.parameters("id")],
            config.train.id,
            phases * unit_steps,
        )

    def batches_per_epoch(self) -> int:
        """See `Learner`."""
        return len(self.data)

    def batches(self, epoch: int, skip: int) -> Iterator[IDBatch]:
        """See `Learner`."""
        return self.data.epoch(epoch, skip)

    def losses(self, batch: IDBatch) -> dict[str, Tensor]:
        """The loss by its own name, and one entry for each bridge with a say."""
        batch = batch.to(self.device)
        batch = replace(batch, items=self.exchange.histories(batch.items, batch.targets, batch.rows))
        with multiplies_in(self.dtype, self.device):
            table = self.model.item_table()
            loss, scored = self.model.training_loss(batch, table, self.loss)
        losses = {self.loss_name: loss}
        if scored is None:
            return losses
        states = scored.states.float()
        return losses | self.exchange.losses("id", ScoredBatch(states, table.float(), scored.targets, scored.rows))

    def write_store(self, step: int) -> None:
        """Write the item table, and the state after every train interaction, where a bridge reads them.

        A model that is not causal has such states after each user's last one only.
        """
        store, fingerprint = self.exchange.store, self.exchange.fingerprint
        with inference(self.model):
            table = self.model.item_table()
            if self.exchange.reads("id", "item"):
                store.write("id", "item", self.exchange.shown_items(table), step=step, fingerprint=fingerprint)
            if self.exchange.reads("id", "user"):
                for states, rows in self.states(table):
                    shared = self.exchange.shared_states(states, rows)
                    store.write("id", "user", shared, step=step, fingerprint=fingerprint, index=rows)

    def states(self, table: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """(states [M, D], their rows [M]) after the train interactions, all or each user's last; see `write_store`."""
        return self._every_state(table) if self.model.causal else self._last_states(table)

    def _every_state(self, table: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """(states, their rows) after every train interaction."""
        for batch in self.data.inputs():
            batch = batch.to(self.device)
            real = batch.rows >= 0
            yield self.model.encode(batch.items, table)[real], batch.rows[real]

    def _last_states(self, table: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """(states, their rows) after each user's last train interaction."""
        starts, ends = self.data.starts, self.data.ends
        users = np.flatnonzero(ends > starts)
        for first in range(0, len(users), self.ranker.batch_users):
            chosen = users[first : first + self.ranker.batch_users]
            items, lengths = padded_histories(
                self.data.items, starts[chosen], ends[chosen], self.model.settings.max_length
            )
            states = self.model.last_states(items.to(self.device), lengths.to(self.device), table)
            yield states, torch.from_numpy(ends[chosen] - 1).to(self.device)


def _loss_name(model: IDModel, settings: LossSettings) -> str:
    if model.own_loss and settings != LossSettings():
        raise UserError(f"id.model={model.settings.model} learns by RecBole's own loss; leave train.id.loss as it is")
    return model.own_loss or settings.kind
