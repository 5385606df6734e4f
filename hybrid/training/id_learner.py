"""The ID phase: full softmax at every position, plus what the bridges add."""

from collections.abc import Iterator

import torch
from torch import Tensor

from bridges.protocols import ScoredBatch
from hybrid.config.schema import Config
from hybrid.data.split import TrainingData
from hybrid.evaluation.rankers import IDRanker
from hybrid.exchange import Exchange
from hybrid.modes import inference
from hybrid.training.learner import Learner
from idmodels.batches import IDBatch, IDBatches
from idmodels.contract import IDModel
from idmodels.losses import full_softmax
from idmodels.training import batch_states, scored_positions


class IDLearner(Learner[IDBatch]):
    """Trains the ID model and the bridges that bring it knowledge."""

    side = "id"

    def __init__(
        self, config: Config, model: IDModel, exchange: Exchange, data: TrainingData, device: torch.device, phases: int
    ) -> None:
        train = data.train
        self.model, self.exchange, self.device = model, exchange, device
        self.data = IDBatches(
            train.items, train.starts, train.ends, model.settings.max_length, config.train.id.batch_targets, config.seed
        )
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
        """``softmax`` and one entry for each bridge with a say."""
        batch = batch.to(self.device)
        table = self.model.item_table()
        states = batch_states(self.model, batch, table)  # [M, D]
        positions = scored_positions(batch)
        targets, rows = batch.targets[positions], batch.rows[positions]
        losses = {"softmax": full_softmax(states, table, targets)}
        return losses | self.exchange.losses("id", ScoredBatch(states, table, targets, rows))

    def write_store(self, step: int) -> None:
        """Write the item table, and the state after every train interaction, where a bridge reads them."""
        store, fingerprint = self.exchange.store, self.exchange.fingerprint
        with inference(self.model):
            table = self.model.item_table()
            if self.exchange.reads("id", "item"):
                store.write("id", "item", table, step=step, fingerprint=fingerprint)
            if self.exchange.reads("id", "user"):
                for batch in self.data.inputs():
                    batch = batch.to(self.device)
                    real = batch.rows >= 0
                    states = self.model.encode(batch.items, table)[real]
                    store.write("id", "user", states, step=step, fingerprint=fingerprint, index=batch.rows[real])
