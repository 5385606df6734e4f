"""The exported ID model is never worse on validation than a plain one.

Where knowledge of the LLM reaches the ID model, a plain ID model is trained first: same seed, same settings, as many
epochs, no exchange. It costs no LLM. Its best validation is the floor: a run whose ID side never beats it keeps the
plain model as its best. And its curve says whether the exchange helps: an ID side whose best so far is below what the
plain one had reached by the same epoch, for so many validations in a row, is not taught by the LLM any more. The best
so far and not the last, because values of one epoch scatter. An ID side that is behind after its last phase gives way
to the plain model, so that the LLM learns from the better one. Where the vectors of the texts stay the same that
is decided after the first phase, and there texts must earn their place: unless they are clearly ahead, by more than two
standard errors, the next phase goes on from the plain model.
"""

import logging
import math
import shutil
from pathlib import Path
from typing import Any

from bridges.protocols import Direction
from hybrid.checkpoint_files import load_tensors, save_tensors
from hybrid.evaluation.metrics import gains
from hybrid.evaluation.rankers import IDRanker, rank_targets
from hybrid.system import System
from hybrid.training.monitor import Monitor
from hybrid.training.plain_models import plain_model
from hybrid.training.run_directory import RunDirectory, disk_errors, read_json, replace_directory, write_json
from hybrid.whole_files import written_beside
from idmodels.saved import load_id_model, write_id_model

log = logging.getLogger(__name__)
TEACHING: Direction = "llm2id"
CLEAR = 2.0
"""Standard errors by which texts must be ahead: by chance alone they are in one case of forty."""


class Safeguard:
    """The plain ID model of a run, and how long the run's own has been below it."""

    def __init__(self, system: System, run: RunDirectory) -> None:
        self.system, self.run, self.config = system, run, system.config
        self.folder, self.record = run.path / "best" / "plain", run.path / "best" / "plain.json"
        self.weights = run.path / "best" / "plain_training.safetensors"
        self.waited = 0
        self.best = 0.0
        self.closed = False

    def prepare(self, units: int, monitor: Monitor) -> float:
        """Train the plain model for ``units`` of the schedule and keep its best, unless that was done before.

        Returns the seconds that an earlier run took for it, where it comes from the cache.
        """
        if self.record.exists():
            return 0.0
        data, config = self.system.data, self.config
        plain = plain_model("plain", self.system, units, monitor, config.seed)
        best = max(plain.curve, key=lambda metrics: metrics[config.evaluation.metric])
        replace_directory(self.folder, lambda path: write_id_model(plain.model, path, data.item_ids, {"valid": best}))
        with disk_errors(self.weights), written_beside(self.weights) as beside:
            save_tensors(beside, plain.model.state_dict())
        curve = [metrics[config.evaluation.metric] for metrics in plain.curve]
        write_json(self.record, {"best": best, "curve": curve})
        return plain.cached_s

    def watch(self, value: float, epoch: int, taught: bool = True) -> None:
        """Take the ID side's validation value after ``epoch`` epochs; end the teaching if it is below too long.

        ``taught``: whether the LLM has had anything to teach so far.
        """
        plain = max(read_json(self.record)["curve"][: max(epoch, 1)])
        self.best = max(self.best, value)
        if not taught:
            return
        self.waited = self.waited + 1 if self.best < plain else 0
        if not self.closed and 0 < self.config.train.safeguard_patience <= self.waited:
            log.warning("id side: below the plain model for %d validations, the LLM teaches it no more", self.waited)
            self.close()

    def begin_anew(self) -> None:
        """What the ID side has reached so far it has reached without the LLM."""
        self.best, self.waited = 0.0, 0

    def close(self) -> None:
        """No loss of a bridge reaches the ID side from here on; what is in its item table stays."""
        self.closed = True
        self.system.exchange.directions -= {TEACHING}

    def settle(self, best: float | None, epochs: int | None, last: bool) -> dict[str, float] | None:
        """The plain model takes the ID side's place if it is better; its validation metrics then.

        Before the ``last`` phase it need not be better: the ID side must be ahead by more than `CLEAR` standard errors.
        Its best weights are loaded, and the bridges of the LLM's texts rest: nothing is added to the item table, and no
        smoothed target asked for. After the ``last`` phase all from the LLM alone do. Mutual distillation goes on.
        ``epochs``: only so many of the plain model's count; None: all.
        """
        record = read_json(self.record)
        plain = max(record["curve"][: None if epochs is None else max(epochs, 1)])
        lead = -math.inf if best is None else best - plain
        if lead >= 0 and not self._settled(best) and (last or lead > CLEAR * self._standard_error()):
            return None
        log.warning("id side: %s, the plain model takes its place", "no clear gain" if lead >= 0 else "behind")
        self.system.exchange.rest(last)
        self.system.need_id().load_plain(load_tensors(self.weights)[0])
        self.system.exchange.refresh()
        self.best = record["best"][self.config.evaluation.metric]
        return self._keep()

    def _settled(self, best: float | None) -> bool:
        """Whether this was decided before, in a run that ended before its state was saved: best/id is another's then.

        ``best`` is the ID side's by that state, so it tells the plain model from one that took its place and was saved.
        """
        file = self.run.best_metrics("id")
        kept = read_json(file) if file.exists() else {}
        return bool(kept.get("plain")) and kept[self.config.evaluation.metric] != best

    def _standard_error(self) -> float:
        """Of the mean difference, over the validation users, between the ID side's best and the plain model's."""
        config, device = self.config.evaluation, self.system.device
        models = [load_id_model(path)[0].to(device) for path in (self.run.best_id, self.folder)]
        rankers = [IDRanker(model, config.batch_users, device) for model in models]
        ranks = [rank_targets(ranker, self.system.data.valid, config).ranks for ranker in rankers]
        leads = gains(ranks[0], config.metric) - gains(ranks[1], config.metric)
        return float(leads.std(correction=0)) / math.sqrt(len(leads))

    def fall_back(self, best: float | None) -> float | None:
        """The best validation value of what is kept: the run's own ``best``, or the plain model put in its place."""
        floor = read_json(self.record)["best"]
        if best is not None and best >= floor[self.config.evaluation.metric]:
            return best
        log.warning("id side: never better on validation than the plain model, which is kept as the best")
        return self._keep()[self.config.evaluation.metric]

    def _keep(self) -> dict[str, float]:
        """Put the plain model in the place of the run's best; its validation metrics."""
        metrics: dict[str, float] = read_json(self.record)["best"]
        replace_directory(self.run.best_id, self._copy)
        write_json(self.run.best_metrics("id"), {**metrics, "plain": True})
        return metrics

    def state_dict(self) -> dict[str, Any]:
        """JSON-able state."""
        return {"waited": self.waited, "best": self.best, "closed": self.closed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a saved state."""
        self.waited, self.best = int(state["waited"]), float(state["best"])
        if state["closed"]:
            self.close()

    def _copy(self, target: Path) -> None:
        shutil.copytree(self.folder, target, dirs_exist_ok=True)


def needs_safeguard(system: System) -> bool:
    """Whether the config asks for one and the LLM reaches the ID side at all."""
    exchange = system.exchange
    taught = TEACHING in exchange.directions and any(
        bridge.direction in (TEACHING, "both") for bridge in exchange.bridges.values()
    )
    return system.config.train.safeguard and taught
