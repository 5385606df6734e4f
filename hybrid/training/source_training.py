"""ID models that the LLM side reads beside the run's own are trained before the first round, each by itself."""

import logging

import torch
from torch import Tensor

from bridges.sharing import ExchangeStore
from hybrid.evaluation.rankers import rank_side
from hybrid.exchange import Exchange
from hybrid.sources import Source
from hybrid.system import System
from hybrid.training.early_stopping import EarlyStopping
from hybrid.training.id_learner import IDLearner
from hybrid.training.monitor import Monitor

log = logging.getLogger(__name__)


def train_source(source: Source, system: System, units: int, monitor: Monitor) -> list[dict[str, float]]:
    """Train for ``units`` of the schedule (whole epochs) as the run's own ID model is; the best by validation stays.

    Returns the validation metrics of every epoch.
    """
    learner, config = _learner(source, system), system.config
    epochs = units if config.train.schedule.unit == "epochs" else -(-units // learner.batches_per_epoch())
    stopping = EarlyStopping(config.train.id.patience)
    best: dict[str, Tensor] = {}
    curve: list[dict[str, float]] = []
    learner.wake()
    for batch, last in learner.stream():
        learner.step(batch)
        if not last:
            continue
        metrics, _ = rank_side(learner.ranker, system.data.valid, config.evaluation)
        curve.append(metrics)
        monitor.scalars(f"valid/source_{source.name}", metrics, learner.steps)
        log.info("source %s, epoch %d: ndcg@10 %.4f", source.name, learner.epoch, metrics["ndcg@10"])
        if stopping.update(metrics[config.evaluation.metric], learner.steps):
            best = {name: tensor.clone() for name, tensor in source.model.state_dict().items()}
        if stopping.exhausted or learner.epoch >= epochs:
            break
    learner.sleep()
    source.model.load_state_dict(best)
    source.trained = True
    return curve


def _learner(source: Source, system: System) -> IDLearner:
    """A learner with no exchange."""
    torch.manual_seed(system.config.seed)
    data = system.data
    store = ExchangeStore(data.n_items, len(data.train.items), data.fingerprint, momentum=0.0)
    alone = Exchange(store, {}, frozenset(), source.model, data.fingerprint)
    return IDLearner(system.config, source.model, alone, data, system.device, phases=1)
