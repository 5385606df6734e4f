"""ID models beside the run's own are trained before the first round, each by itself."""

import logging
from dataclasses import replace

import torch
from torch import Tensor

from bridges.sharing import ExchangeStore
from hybrid.config.schema import ScheduleConfig
from hybrid.evaluation.rankers import rank_side
from hybrid.exchange import Exchange
from hybrid.sources import Source
from hybrid.system import System
from hybrid.training.early_stopping import EarlyStopping
from hybrid.training.id_learner import IDLearner
from hybrid.training.monitor import Monitor
from hybrid.training.schedule import Schedule

log = logging.getLogger(__name__)


def train_source(
    source: Source, system: System, units: int, monitor: Monitor, seed: int | None = None
) -> list[dict[str, float]]:
    """Train for ``units`` of the schedule as the run's own ID model is in the arm `id_only`, phase by phase.

    A schedule in steps is one phase of whole epochs. The best by validation stays; returns the validation metrics of
    every epoch. ``seed``: of batches and dropout; None: the run's.
    """
    config, curve = system.config, list[dict[str, float]]()
    learner = learner_alone(source, system, units, seed)
    schedule, stopping = _schedule(config.train.schedule, units, learner), EarlyStopping(config.train.id.patience)
    best: dict[str, Tensor] = {}
    learner.wake()
    for batch, last in learner.stream():
        learner.step(batch)
        if not last:
            continue
        learner.sleep()
        metrics, _ = rank_side(learner.ranker, system.data.valid, config.evaluation)
        curve.append(metrics)
        monitor.scalars(f"valid/source_{source.name}", metrics, learner.steps)
        log.info("source %s, epoch %d: ndcg@10 %.4f", source.name, learner.epoch, metrics["ndcg@10"])
        if stopping.update(metrics[config.evaluation.metric], learner.steps):
            best = {name: tensor.clone() for name, tensor in source.model.state_dict().items()}
        over = _phase_over(schedule, stopping)
        if schedule.current is None:
            break
        if over and config.train.id.phase_end == "best":
            source.model.load_state_dict(best)
            learner.start_anew()
        learner.wake()
    source.model.load_state_dict(best)
    source.trained = True
    return curve


def _schedule(config: ScheduleConfig, units: int, learner: IDLearner) -> Schedule:
    if config.unit == "steps":
        config = ScheduleConfig(rounds=1, id_length=-(-units // learner.batches_per_epoch()))
    return Schedule(config, ("id",))


def _phase_over(schedule: Schedule, stopping: EarlyStopping) -> bool:
    """Move on by an epoch; whether the phase has had its length, or ends for want of patience."""
    over = schedule.advance()
    if not stopping.exhausted:
        return over
    schedule.end_in_vain("id", stopping, over)
    return True


def learner_alone(source: Source, system: System, units: int, seed: int | None = None) -> IDLearner:
    """A learner of the model with no exchange."""
    data, config = system.data, system.config
    config = config if seed is None else replace(config, seed=seed)
    torch.manual_seed(config.seed)
    store = ExchangeStore(data.n_items, len(data.train.items), data.fingerprint, momentum=0.0)
    alone = Exchange(store, {}, frozenset(), source.model, data.fingerprint)
    return IDLearner(config, source.model, alone, data, system.device, units)
