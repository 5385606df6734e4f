"""Search the settings of an ID model with Optuna, on the validation part only.

    python scripts/tune.py --model sasrec --dataset ml-100k --trials 20 --timeout-s 1800

Every trial trains as ``hybridrec train ... arm=id_only`` does, is validated after each epoch, and is given up where it
stands below the median of the trials before it, from the fourth trial and a given epoch on (too early an epoch would
favour fast learners, which are not always the best ones). A study lives in a file and goes on when
the same command is typed again. The last line is what ``hybridrec train`` takes. The test part is never opened.

    python scripts/tune.py --grid --dataset ml-100k --choose id.dropout=0.3,0.5 --choose train.id.weight_decay=0.1,0.3

A grid trains every combination of what is to be chosen to its end and searches nothing else; one that the time cut off
is trained again by the next call.
"""

import argparse
import itertools
import logging
import math
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from hybrid.config.load import load_config, parse_override
from hybrid.config.schema import Config
from hybrid.data.prepare import prepare
from hybrid.data.split import TrainingData, split_training
from hybrid.errors import DivergedError, UserError
from hybrid.evaluation.rankers import rank_side
from hybrid.system import build_system
from hybrid.training.early_stopping import EarlyStopping
from hybrid.training.id_learner import IDLearner
from idmodels.errors import IDModelError

INSTALL = 'pip install -c constraints.txt -e ".[tune]"'
CHOICES: dict[str, list[Any]] = {
    "id.dropout": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7],
    "id.width": [64, 128],
    "id.max_length": [20, 50],
}
RANGES = {"train.id.learning_rate": (3e-4, 3e-3), "train.id.weight_decay": (1e-3, 1.0)}
"""Searched on a logarithmic scale."""
FIRST_MEDIAN_TRIAL = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run or go on with a study; returns the exit code."""
    options = _parser().parse_intermixed_args(arguments)
    torch.set_num_threads(options.threads)
    try:
        print(tune(options))
    except (UserError, IDModelError) as error:
        print(f"tune: {error}", file=sys.stderr)
        return 2
    return 0


def tune(options: argparse.Namespace) -> str:
    """Search until the trials or the time are used up; what was found, as text."""
    optuna = _optuna()
    asked = dict(_choice(text) for text in options.choose)
    choices, ranges = (asked, {}) if options.grid else (CHOICES | asked, RANGES)
    if options.grid and not choices:
        raise UserError("--grid has nothing to choose from; name settings and their values with --choose KEY=A,B")
    fixed = [f"id.model={options.model}", f"data.dataset={options.dataset}", *options.overrides, "arm=id_only"]
    config = load_config(None, fixed)
    data = split_training(prepare(config.data), config.data)
    for values in _combinations(choices) if options.grid else [{key: values[0] for key, values in choices.items()}]:
        load_config(None, [*fixed, *_overrides(values)])  # what is wrong is told before a study is there
    study = _study(optuna, options, choices, _conditions(options, choices, data))
    search = _Search(optuna, options, fixed, choices, ranges, data)
    if options.grid:
        return _grid(study, search, config.evaluation.metric)
    left = options.trials - len(study.trials)
    if left > 0:
        study.optimize(search, n_trials=left)  # it stops itself when the time is over
    return report(study, config.evaluation.metric)


def _grid(study: Any, search: "_Search", metric: str) -> str:
    """Train the combinations that are left, as far as the time goes; all that came to their end, as text."""
    while (left := _left(study, search.choices)) and not search.over:
        if not any(trial.state.name == "WAITING" for trial in study.trials):  # as of a call that was killed
            study.enqueue_trial(left[0])
        study.optimize(search, n_trials=1)
    found = report(study, metric, complete=True)
    return f"{len(left)} combinations are left: the same command goes on with them\n{found}" if left else found


def _left(study: Any, choices: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """Combinations without a trial that came to its end, be it that the loss diverged."""
    done = [
        trial.params
        for trial in study.trials
        if trial.state.name in ("COMPLETE", "PRUNED") and not trial.user_attrs.get("cut")
    ]
    return [combination for combination in _combinations(choices) if combination not in done]


def _combinations(choices: dict[str, list[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(choices, values, strict=True)) for values in itertools.product(*choices.values())]


class _Search:
    """The objective: mean over the seeds of the best validation value."""

    def __init__(
        self,
        optuna: Any,
        options: argparse.Namespace,
        fixed: list[str],
        choices: dict[str, list[Any]],
        ranges: dict[str, tuple[float, float]],
        data: TrainingData,
    ) -> None:
        self.optuna, self.options, self.fixed, self.data = optuna, options, fixed, data
        self.choices, self.ranges = choices, ranges
        self.deadline = time.monotonic() + options.timeout_s

    @property
    def over(self) -> bool:
        """Whether the time of this call is used up."""
        return time.monotonic() > self.deadline

    def __call__(self, trial: Any) -> float:
        values = {key: trial.suggest_categorical(key, choices) for key, choices in self.choices.items()}
        for key, (low, high) in self.ranges.items():
            if key not in values:
                values[key] = float(f"{trial.suggest_float(key, low, high, log=True):.3g}")
        overrides = _overrides(values)
        trial.set_user_attr("overrides", overrides)
        best = [self._train(trial, seed, overrides) for seed in range(1, self.options.seeds + 1)]
        return statistics.fmean(best)

    def _train(self, trial: Any, seed: int, overrides: list[str]) -> float:
        """Best validation value of one seed; the first seed's curve is what the pruner sees."""
        config = load_config(None, [*self.fixed, *overrides, f"seed={seed}"])
        stopping = EarlyStopping(self.options.patience)
        for epoch, value in enumerate(_epochs(config, self.data, self.options.epochs), start=1):
            if not math.isfinite(value):
                trial.set_user_attr("diverged", True)
                raise self.optuna.TrialPruned
            stopping.update(value, epoch)
            if seed == 1:
                trial.report(value, epoch)
                trial.set_user_attr("best_epoch", stopping.best_step)
            if self.over:
                trial.study.stop()
                if not stopping.exhausted and epoch < self.options.epochs:
                    trial.set_user_attr("cut", True)
                    raise self.optuna.TrialPruned
            if seed == 1 and trial.should_prune():
                raise self.optuna.TrialPruned
            if stopping.exhausted:
                break
        return stopping.best or 0.0


def _epochs(config: Config, data: TrainingData, count: int) -> Iterator[float]:
    """Train epoch by epoch; the validation value after each, NaN once the loss is not finite."""
    system = build_system(config, data)
    learner = IDLearner(config, system.need_id(), system.exchange, data, system.device, count)
    for _ in range(count):
        learner.wake()
        for batch in learner.batches(learner.epoch, 0):
            try:
                learner.step(batch)
            except DivergedError:
                yield math.nan
                return
        learner.epoch += 1
        learner.sleep()
        metrics, _ = rank_side(learner.ranker, data.valid, config.evaluation)
        yield metrics[config.evaluation.metric]


def _overrides(values: dict[str, Any]) -> list[str]:
    """Attention dropout follows dropout, and the inner width is four widths, unless they are searched too."""
    followers = {}
    if "id.dropout" in values:
        followers["id.attention_dropout"] = values["id.dropout"]
    if "id.width" in values:
        followers["id.inner_width"] = 4 * values["id.width"]
    return [f"{key}={value}" for key, value in {**followers, **values}.items()]


def report(study: Any, metric: str, complete: bool = False) -> str:
    """The trials, best last, and the best one as overrides.

    A trial that was given up counts with what it reached, or not at all where only ``complete`` ones do.
    """
    reached = [
        trial
        for trial in study.trials
        if trial.intermediate_values and (trial.state.name == "COMPLETE" or not complete)
    ]
    if not reached:
        if study.trials and all(trial.user_attrs.get("diverged") for trial in study.trials):
            return "the loss of every trial diverged; choose a smaller train.id.learning_rate"
        whole = "its training" if complete else "an epoch"
        return f"no trial came to the end of {whole}; allow more time with --timeout-s"
    reached.sort(key=_value)
    lines = [
        f"trial {trial.number:3d}  {_value(trial):.4f} at epoch {trial.user_attrs['best_epoch']:3d}  "
        f"{trial.state.name.lower():8s}  {' '.join(trial.user_attrs['overrides'])}"
        for trial in reached
    ]
    best = reached[-1]
    count = len(reached if complete else study.trials)
    found = f"best of {count} trials: valid {metric} {_value(best):.4f}, trial {best.number}"
    return "\n".join([*lines, found, " ".join(best.user_attrs["overrides"])])


def _value(trial: Any) -> float:
    # Of a trial that was given up, optuna's value is its last one.
    return float(trial.value if trial.state.name == "COMPLETE" else max(trial.intermediate_values.values()))


def _study(optuna: Any, options: argparse.Namespace, choices: dict[str, list[Any]], conditions: dict[str, Any]) -> Any:
    """A new study or that of the file, which must have been begun under the same conditions."""
    storage = Path(options.storage or f"cache/tune/{options.model}-{Path(options.dataset).name}.log")
    storage.parent.mkdir(parents=True, exist_ok=True)
    journal = optuna.storages.journal
    study = optuna.create_study(
        study_name="tune",
        storage=optuna.storages.JournalStorage(journal.JournalFileBackend(str(storage))),
        load_if_exists=True,
        direction="maximize",
        pruner=optuna.pruners.NopPruner()
        if options.grid
        else optuna.pruners.MedianPruner(FIRST_MEDIAN_TRIAL, options.median_epoch),
    )
    known = {"grid": False} | study.user_attrs.get("conditions", conditions)
    different = [f"{key} ({known.get(key)} -> {value})" for key, value in conditions.items() if known.get(key) != value]
    if different:
        raise UserError(f"{storage}: begun under other conditions: {'; '.join(different)}; choose another --storage")
    study.set_user_attr("conditions", conditions)
    # With the trials that are there in the seed, a study that goes on does not draw the same settings again.
    study.sampler = optuna.samplers.TPESampler(seed=options.seed + len(study.trials), n_startup_trials=5)
    return study


def _conditions(options: argparse.Namespace, choices: dict[str, list[Any]], data: TrainingData) -> dict[str, Any]:
    """What makes the values of two trials comparable, as it comes back from JSON."""
    return {
        "model": options.model,
        "data": data.fingerprint,
        "overrides": sorted(options.overrides),
        "epochs": options.epochs,
        "patience": options.patience,
        "seeds": options.seeds,
        "choices": choices,
        "grid": options.grid,
    }


def _choice(text: str) -> tuple[str, list[Any]]:
    """``id.layers=1,2`` as a key and its choices."""
    key, values = parse_override(text)
    return key, [parse_override(f"{key}={part}")[1] for part in str(values).split(",")]


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise UserError(f"the search needs Optuna, which is not installed; type: {INSTALL}") from None
    optuna.logging.set_verbosity(optuna.logging.INFO)
    logging.getLogger("hybrid").setLevel(logging.WARNING)
    return optuna


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="sasrec", help="ID model (id.model)")
    parser.add_argument("--dataset", default="ml-100k", help="data.dataset")
    parser.add_argument("--grid", action="store_true", help="every combination of what --choose names, nothing else")
    parser.add_argument(
        "--trials",
        type=int,
        default=20,
        help="trials in all, those of earlier calls included; a grid has its own number",
    )
    parser.add_argument("--timeout-s", type=float, default=3600, help="time of this call; a trial is cut off after it")
    parser.add_argument("--epochs", type=int, default=100, help="epochs of a trial at most")
    parser.add_argument("--patience", type=int, default=5, help="validations without improvement that end a trial")
    parser.add_argument("--median-epoch", type=int, default=12, help="no trial is given up before this epoch")
    parser.add_argument("--seeds", type=int, default=1, help="seeds 1, 2, ... of each trial; their mean counts")
    parser.add_argument("--seed", type=int, default=1, help="seed of the search")
    parser.add_argument("--storage", help="file of the study (default: cache/tune/MODEL-DATASET.log)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument(
        "--choose", action="append", default=[], metavar="KEY=A,B", help="search this setting among these values"
    )
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="settings of every trial")
    return parser


if __name__ == "__main__":
    sys.exit(main())
