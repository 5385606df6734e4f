"""The run: sides take turns, write to the exchange store, are validated, and everything is saved."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from torch import Tensor
from tqdm import tqdm

from bridges.distill import MutualDistillation
from hybrid.checkpoint_files import (
    load_optimizers,
    load_rng,
    load_tensors,
    save_optimizers,
    save_rng,
    save_tensors,
)
from hybrid.config.schema import Side
from hybrid.errors import UserError
from hybrid.exchange import SIDES, judged_sides
from hybrid.system import BaseSystem, System
from hybrid.training.best_weights import keep_id, take_best
from hybrid.training.checkpoint import Checkpoints
from hybrid.training.clock import Clock
from hybrid.training.early_stopping import EarlyStopping
from hybrid.training.id_learner import IDLearner
from hybrid.training.learner import Learner
from hybrid.training.llm_learner import LLMLearner
from hybrid.training.monitor import Monitor
from hybrid.training.peer import Peer
from hybrid.training.run_directory import RunDirectory, read_json, replace_directory, write_json
from hybrid.training.safeguard import Safeguard, needs_safeguard
from hybrid.training.schedule import Schedule, Turn
from hybrid.training.source_training import train_source
from hybrid.training.validation import SideValidator, Validator
from idmodels.saved import write_id_model

log = logging.getLogger(__name__)
WEIGHTS = "weights.safetensors"
"""In a checkpoint: weights of sides whose model shows their mean."""

AnySystem = TypeVar("AnySystem", bound=BaseSystem)


class BaseTrainer(ABC, Generic[AnySystem]):
    """Trains the sides of one arm in turns, whatever their task. Nothing is written before `train`.

    Raises:
        UserError: a side has nothing to train on.
    """

    def __init__(self, system: AnySystem) -> None:
        self.system, self.config = system, system.config
        sides = SIDES[self.config.arm]
        self.schedule = Schedule(self.config.train.schedule, sides)
        self.learners: dict[Side, Learner[Any]] = {side: self._learner(side) for side in sides}
        for learner in self.learners.values():
            learner.sleep()
        self.stopping = {side: EarlyStopping(learner.config.patience) for side, learner in self.learners.items()}
        self.prepared = False
        self.encoded_epoch = -1
        """LLM epoch that the items were last encoded for, where they are for every epoch."""
        self.safeguard: Safeguard | None = None

    def start(self, run: RunDirectory, resume: bool = False) -> None:
        """Open the run directory; with ``resume`` go on from its newest checkpoint, if there is one."""
        self.run, self.checkpoints = run, Checkpoints(run.checkpoints)
        run.recover()
        newest = self.checkpoints.latest() if resume else None
        state: dict[str, Any] = read_json(newest / "state.json") if newest else {}
        self.clock = Clock(state.get("seconds", 0.0))
        self.monitor = Monitor(run.path, state.get("sizes"))
        self.validator = self._validator()
        self.safeguard = self._safeguard()
        if newest is not None:
            self._load(newest, state)
        elif resume:
            log.info("%s: no checkpoint to go on from, so this run begins at its first step", run.path)

    @property
    def step(self) -> int:
        """Steps of both sides together."""
        return sum(learner.steps for learner in self.learners.values())

    def train(self) -> dict[str, float]:
        """Work through the schedule, after `start`; the best validation value of each side."""
        if not self.prepared:
            self._prepare()
        while (turn := self.schedule.current) is not None:
            self._phase(turn)
        if self.safeguard is not None:
            self.stopping["id"].best = self.safeguard.fall_back(self.stopping["id"].best)
        best = {
            f"best_valid/{side}": stopping.best for side, stopping in self.stopping.items() if stopping.best is not None
        }
        self.validator.finish(best)
        self.monitor.close()
        return best

    @property
    @abstractmethod
    def metric(self) -> str:
        """Validation metric that picks the best model of a side."""

    @abstractmethod
    def _learner(self, side: Side) -> Learner[Any]:
        """One side of the system while it trains."""

    @abstractmethod
    def _validator(self) -> SideValidator:
        """What measures a side, once the monitor is there."""

    def _safeguard(self) -> Safeguard | None:
        """What keeps the ID side from being worse than a plain one, where there is such a thing."""
        return None

    @abstractmethod
    def _keep_id(self, metrics: Mapping[str, float]) -> None:
        """Write the ID side as it is into `RunDirectory.best_id`."""

    def _prepare(self) -> None:
        """Before the first turn: the untuned LLM's item vectors, so that knowledge can cross from the start.

        Nothing else is written to the store: scores of a side that has not been trained are noise.
        """
        exchange = self.system.exchange
        exchange.open = self.config.train.schedule.exchange_from_round == 1 or not exchange.directions
        if self.system.recommender is not None and not self._encodes_later:
            self.system.encode_items(self.step)
        shared = self.config.llm.shared_encoder
        if exchange.open and shared and "llm2id" in exchange.directions and not exchange.reads("llm", "text"):
            log.info("llm.shared_encoder=%s: no bridge of this run reads texts, so nothing reads its vectors", shared)
        exchange.refresh()
        for side, learner in self.learners.items():
            if not self.schedule.total(side) and side in judged_sides(self.config):
                log.info("%s side: not trained, kept as it is", side)
                self._validate(learner)
                learner.sleep()
        self.prepared = True

    def _phase(self, turn: Turn) -> None:
        """One side trains until its turn is over; the other does not move."""
        learner = self.learners[turn.side]
        log.info("round %d, %s side: %d %s", turn.round, turn.side, turn.length - turn.done, self.schedule.unit)
        if not self.system.exchange.open and turn.round >= self.config.train.schedule.exchange_from_round:
            self._open_exchange(turn.side)
        if turn.side == "llm" and learner.steps == 0:
            self.system.start_head()
        self.system.exchange.begin_round(turn.round)
        self._begin_epoch(learner)
        learner.wake()
        self._learn(learner, turn)
        learner.sleep()
        if learner.config.phase_end == "best":
            take_best(self.system, learner, self.run)
        if self.safeguard is not None and turn.side == "id":
            self._settle(learner)
        self._write_store(learner)
        if turn.side == "llm" and not self._items_fixed:
            self.system.encode_items(self.step)
        self.system.exchange.refresh()
        self._log_exchange()
        self.save()

    def _open_exchange(self, next_side: Side) -> None:
        """Sides that have trained alone so far write what the other is to read, as after a phase.

        Their best weights up to here do not fit what is read from here on, so a side's best is looked for anew.
        """
        log.info("from here on knowledge crosses")
        self.system.exchange.open = True
        for side, learner in self.learners.items():
            if learner.steps:
                self._write_store(learner)
                self.stopping[side].begin_anew()
        if self.safeguard is not None:
            self.safeguard.begin_anew()
        if self.system.recommender is not None:
            self.system.encode_items(self.step)
        self.system.exchange.refresh()
        if next_side == "llm":
            self.encoded_epoch = self.learners["llm"].epoch  # its first epoch would do the same once more

    def _write_store(self, learner: Learner[Any]) -> None:
        """After a side's phase: what the other side is to read."""
        learner.write_store(self.step)

    def _settle(self, learner: Learner[Any]) -> None:
        """After an ID phase that ends behind the plain model: that one takes the ID side's place.

        After the last phase, and after any where what the LLM says of the texts is what it will always say. A side that
        has had its time is compared with the plain model's best, one that has not with that of as many epochs.
        """
        assert self.safeguard is not None
        stopping, last = self.stopping["id"], not self.schedule.remains("id")
        if not self.system.exchange.open or not (last or self.system.texts_fixed):
            return
        epochs = None if last or stopping.spent else learner.epoch
        if (metrics := self.safeguard.settle(stopping.best, epochs, last)) is not None:
            learner.start_anew()
            stopping.restart(metrics[self.metric], learner.steps)
            if learner.config.phase_end == "best":
                keep_id(learner, self.run)

    @property
    def _encodes_by_epochs(self) -> bool:
        return self.config.train.llm.encode_items == "epoch"

    @property
    def _encodes_later(self) -> bool:
        """Whether the LLM's first epoch encodes the items before anything needs them."""
        needed = self.system.exchange.reads("llm", "text") or self.system.writes_knowledge
        return self._encodes_by_epochs and self.schedule.total("llm") > 0 and not needed

    @property
    def _llm_stands(self) -> bool:
        """Whether the LLM side teaches: it has learned, or says more than fixed texts though it never will.

        Before that, little of it can have reached the ID side; whether texts help is judged after a phase (`_settle`).
        """
        llm = self.learners.get("llm")
        stands_untrained = self.schedule.total("llm") == 0 and not self.system.texts_fixed
        return self.system.exchange.open and (llm is None or llm.steps > 0 or stands_untrained)

    @property
    def _items_fixed(self) -> bool:
        """Whether the LLM side is in its last epochs, in which item vectors stay as they are."""
        fixed = self.config.train.llm.fixed_epochs
        return bool(fixed) and self.learners["llm"].epoch >= self.schedule.total("llm") - fixed

    def _begin_epoch(self, learner: Learner[Any]) -> None:
        """Before the first batch of an LLM epoch: encode the items where they are encoded for every epoch.

        Once: a run that goes on from a checkpoint between two epochs has done it.
        """
        if learner.side != "llm" or not self._encodes_by_epochs or learner.batches_done or self._items_fixed:
            return
        if self.encoded_epoch == learner.epoch:
            return
        awake = learner.awake
        learner.sleep()  # what is exchanged is the mean of its weights, if one is kept
        self.system.encode_items(self.step)
        self.system.exchange.refresh()
        if awake:
            learner.wake()
        self.encoded_epoch = learner.epoch

    def _start_fixed_epochs(self, learner: Learner[Any]) -> None:
        """Go back to the best weights and their item vectors, which stay from here on."""
        log.info("llm side, epoch %d: on from its best weights, items fixed", learner.epoch)
        take_best(self.system, learner, self.run)
        self.stopping["llm"].waited = 0

    def _learn(self, learner: Learner[Any], turn: Turn) -> None:
        per_unit = learner.batches_per_epoch() if self.schedule.unit == "epochs" else 1
        total = (turn.length - turn.done) * per_unit - learner.batches_done * (self.schedule.unit == "epochs")
        bar = tqdm(
            total=total, desc=f"round {turn.round} {learner.side}", unit="step", disable=None, dynamic_ncols=True
        )
        with bar:
            for batch, last in learner.stream():
                logs = learner.step(batch)
                bar.update()
                bar.set_postfix(loss=f"{logs['loss']:.3f}", refresh=False)
                due = learner.steps % self.config.train.log_steps == 0
                if due:
                    self.monitor.scalars(f"train/{learner.side}", logs, learner.steps)
                if self._after_step(learner, last):
                    return  # the exchange is logged once at a phase's last step, after the side has written
                if due:
                    self._log_exchange()
                if self.config.train.checkpoint_steps and learner.steps % self.config.train.checkpoint_steps == 0:
                    self.save()

    def _after_step(self, learner: Learner[Any], last_of_epoch: bool) -> bool:
        """Move the schedule on, validate where it is time; whether the turn is over."""
        by_epochs = self.schedule.unit == "epochs"
        over = (not by_epochs or last_of_epoch) and self.schedule.advance()
        if over or (by_epochs and last_of_epoch):
            self._validate(learner)
            over = self._out_of_patience(learner.side, over) or over
            fixed = self.config.train.llm.fixed_epochs
            if learner.side == "llm" and fixed and learner.epoch == self.schedule.total("llm") - fixed:
                self._start_fixed_epochs(learner)
                if not over:
                    self.save()  # resumed from before this point, a run would find a best model of after it
        if last_of_epoch and not over:
            self._begin_epoch(learner)
        return over

    def _validate(self, learner: Learner[Any]) -> None:
        """Validate one side, and keep it if it is the best so far."""
        learner.sleep()
        metrics = self.validator.validate(learner.side, learner.steps, learner.epoch, self.step)
        stopping = self.stopping[learner.side]
        if stopping.update(metrics[self.metric], learner.steps):
            self._keep_best(learner.side, metrics)
        if self.safeguard is not None and learner.side == "id":
            self.safeguard.watch(metrics[self.metric], learner.epoch, self._llm_stands)
        learner.wake()

    def _out_of_patience(self, side: Side, over: bool) -> bool:
        """Whether the side's phase ends early (``over``: it has had its length)."""
        stopping = self.stopping[side]
        if not stopping.exhausted:
            return False
        waited = stopping.waited
        stopped = self.schedule.end_in_vain(side, stopping, over, waits=not self.system.exchange.open)
        log.info(
            "%s side: no better for %d validations, %s", side, waited, "stopped" if stopped else "its phase is over"
        )
        return True

    def _log_exchange(self) -> None:
        self.monitor.scalars("exchange", self.system.exchange.metrics(self.step), self.step)

    def _keep_best(self, side: Side, metrics: Mapping[str, float]) -> None:
        """Keep the side at its best; the LLM with all that its prompts read."""
        if side == "id":
            self._keep_id(metrics)
            if self.config.train.id.phase_end == "best":
                keep_id(self.learners["id"], self.run)
        else:
            replace_directory(self.run.best_llm, self.system.save)
        write_json(self.run.best_metrics(side), dict(metrics) | {"step": self.learners[side].steps})

    def save(self) -> None:
        """Write a checkpoint of everything, all sides asleep."""
        awake = [learner for learner in self.learners.values() if learner.awake]
        for learner in awake:
            learner.sleep()
        self.checkpoints.save(self.step, self._fill_checkpoint)
        for learner in awake:
            learner.wake()

    def _fill_checkpoint(self, directory: Path) -> None:
        self.system.save(directory)
        save_optimizers(
            directory / "optimizers.pt",
            {side: learner.optimizer.state_dict() for side, learner in self.learners.items()},
        )
        save_rng(directory / "rng.safetensors")
        if behind := self._weights_behind_means():
            save_tensors(directory / WEIGHTS, behind)
        state = {
            "step": self.step,
            "schedule": self.schedule.state_dict(),
            "learners": {side: learner.state_dict() for side, learner in self.learners.items()},
            "stopping": {side: stopping.state_dict() for side, stopping in self.stopping.items()},
            "sizes": self.monitor.sizes(),
            "seconds": self.clock.seconds,
            "safeguard": self.safeguard.state_dict() if self.safeguard else None,
            "encoded_epoch": self.encoded_epoch,
            "exchange_open": self.system.exchange.open,
        }
        write_json(directory / "state.json", state)

    def _weights_behind_means(self) -> dict[str, Tensor]:
        """Of sleeping learners that keep a mean of their weights: what they go on from, by side and number."""
        return {
            f"{side}.{number}": tensor
            for side, learner in self.learners.items()
            if learner.average is not None
            for number, tensor in enumerate(learner.average.others)
        }

    def _load(self, directory: Path, state: dict[str, Any]) -> None:
        if set(state["learners"]) != set(self.learners):
            raise UserError(
                f"{directory}: saved sides are {sorted(state['learners'])}, this arm has {sorted(self.learners)}"
            )
        self.system.load(directory)
        optimizers = load_optimizers(directory / "optimizers.pt")
        for side, learner in self.learners.items():
            learner.optimizer.load_state_dict(optimizers[side])
            learner.load_state_dict(state["learners"][side])
            self.stopping[side].load_state_dict(state["stopping"][side])
        if behind := self._weights_behind_means():
            saved, _ = load_tensors(directory / WEIGHTS)
            for name, tensor in behind.items():
                tensor.copy_(saved[name])
        self.schedule.load_state_dict(state["schedule"])
        self.encoded_epoch = state.get("encoded_epoch", -1)
        self.system.exchange.open = state.get("exchange_open", True)
        if self.safeguard is not None and state.get("safeguard"):
            self.safeguard.load_state_dict(state["safeguard"])
        self.prepared = True
        load_rng(directory / "rng.safetensors")
        log.info("going on from %s", directory)


class Trainer(BaseTrainer[System]):
    """Trains the sides to rank the next item."""

    @property
    def metric(self) -> str:
        """See `BaseTrainer`."""
        return self.config.evaluation.metric

    def _learner(self, side: Side) -> Learner[Any]:
        system, units = self.system, self.schedule.total(side)
        if side == "id":
            return IDLearner(system.config, system.need_id(), system.exchange, system.data, system.device, units)
        return LLMLearner(
            system.config, system.need_llm(), system.need_prompts(), system.exchange, system.data, system.device, units
        )

    def _validator(self) -> SideValidator:
        rankers = {side: cast(IDLearner | LLMLearner, learner).ranker for side, learner in self.learners.items()}
        return Validator(self.system, rankers, self.monitor)

    def _keep_id(self, metrics: Mapping[str, float]) -> None:
        """The model alone and folded."""
        model, ids = self.system.need_id(), self.system.data.item_ids
        extra = {"valid": dict(metrics)}
        replace_directory(self.run.best_id, lambda path: write_id_model(model, path, ids, extra))

    def _safeguard(self) -> Safeguard | None:
        return Safeguard(self.system, self.run) if needs_safeguard(self.system) else None

    @property
    def _peer(self) -> Peer | None:
        """Who teaches the ID side in the LLM's place (a control)."""
        wanted = "distill" in self.system.exchange.bridges and self.config.bridges.distill.teacher == "peer"
        return Peer(self.system, self.run) if wanted else None

    def _phase(self, turn: Turn) -> None:
        # A phase of epochs begins with an epoch, one of steps anywhere.
        in_epoch = self.schedule.unit == "epochs" and self.learners[turn.side].batches_done
        if not turn.done and not in_epoch:
            self._weigh_lessons()
        super()._phase(turn)

    def _weigh_lessons(self) -> None:
        """Before a phase: how much either side is taught, by what its teacher adds to it on validation."""
        distill = self.system.exchange.bridges.get("distill")
        wanted = isinstance(distill, MutualDistillation) and distill.weighed
        if not wanted or not all(learner.steps for learner in self.learners.values()):
            return
        share = cast(Validator, self.validator).best_share()
        log.info("best blend of both sides on validation: %.0f %% of it the id side", 100 * share)
        cast(MutualDistillation, distill).weigh(share)

    def _write_store(self, learner: Learner[Any]) -> None:
        super()._write_store(learner)
        if self._peer is not None and self.system.exchange.open and learner.side == "id":
            self._peer.teach(self.step)

    def _prepare(self) -> None:
        """The plain ID model, and further ones that the LLM reads, are trained first, each by itself."""
        if self.safeguard is not None:
            self.clock.add(self.safeguard.prepare(self.schedule.total("id"), self.monitor))
        if self._peer is not None:
            self.clock.add(self._peer.prepare(self.schedule.total("id"), self.monitor))
        untrained = [source for source in self.system.sources if not source.trained]
        for source in untrained:
            train_source(source, self.system, self.schedule.total("id"), self.monitor)
        super()._prepare()
        if untrained:
            self.save()  # a resumed run need not train them again
