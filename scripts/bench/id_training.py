"""Training speed of RecBole's SASRec or GRU4Rec and ours on ml-100k, in one run: targets per second and their ratio.

Same model sizes, same targets per step, same threads, full softmax on both sides. RecBole trains one padded row per
prefix with its own dataset, data loader and Trainer; ours one row per user. A target is one next item that is learnt.
"""

import argparse
import itertools
import logging
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from hybrid.config.schema import DataConfig
from hybrid.data.prepare import prepare
from hybrid.data.split import split_training
from idmodels.batches import IDBatches
from idmodels.recbole_compat import recbole_class_name, recbole_config, to_recbole
from idmodels.registry import create_id_model
from idmodels.settings import IDSettings
from idmodels.training import create_optimizer, train_epoch

WARM_UP_BATCHES = 2
LEARNING_RATE = 1e-3


def main() -> None:
    """Measure both in turns, so that whatever else the machine does hits both, and print three lines."""
    args = _arguments()
    torch.set_num_threads(args.threads)
    warnings.simplefilter("ignore")  # RecBole's own, on a current pandas and torch
    settings = _settings(args.model, args.length)
    print(f"{args.model}, ml-100k, L = {args.length}, {args.batch_targets} targets per step, {args.threads} threads")
    with tempfile.TemporaryDirectory() as scratch:
        ours, theirs = _Ours(settings, args, scratch), _RecBole(settings, args, scratch)
        ours.measure()  # a first epoch warms up
        ours.seconds.clear()
        for share in _shares(args.recbole_batches, args.epochs):
            theirs.measure(share)
            ours.measure()
    print(theirs.report())
    print(ours.report())
    print(f"ratio    {ours.rate() / theirs.rate():.1f}")


def _shares(batches: int, rounds: int) -> list[int]:
    """RecBole's batches in each round; 0: a whole epoch in the first one, then none."""
    if batches == 0:
        return [0] + [-1] * (rounds - 1)
    return [batches // rounds + (index < batches % rounds) or -1 for index in range(rounds)]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=("sasrec", "gru4rec"), default="sasrec")
    parser.add_argument("--length", type=int, default=50, help="history length L")
    parser.add_argument("--batch-targets", type=int, default=2048, help="targets per step, on both sides")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=6, help="our whole epochs; the median counts")
    parser.add_argument(
        "--recbole-batches", type=int, default=12, help="RecBole's batches, spread between our epochs; 0: a whole epoch"
    )
    return parser.parse_args()


def _settings(model: str, length: int) -> IDSettings:
    """RecBole's default sizes of the model."""
    if model == "sasrec":
        return IDSettings("sasrec", max_length=length)
    return IDSettings("gru4rec", max_length=length, layers=1, inner_width=128, dropout=0.3)


class _Ours:
    def __init__(self, settings: IDSettings, args: argparse.Namespace, scratch: str) -> None:
        config = DataConfig(dataset="ml-100k", cache_dir=scratch)
        data = split_training(prepare(config), config)
        train = data.train
        self.batches = IDBatches(train.items, train.starts, train.ends, args.length, args.batch_targets, args.seed)
        self.targets = sum(int((batch.targets > 0).sum()) for batch in self.batches.epoch(0))
        torch.manual_seed(args.seed)
        self.model = create_id_model(data.n_items, settings)
        self.optimizer = create_optimizer(self.model, LEARNING_RATE)
        self.seconds: list[float] = []

    def measure(self) -> None:
        """One whole epoch."""
        batches = self.batches.epoch(len(self.seconds))
        self.seconds.append(_seconds(lambda: train_epoch(self.model, batches, self.optimizer)))

    def rate(self) -> float:
        return self.targets / statistics.median(self.seconds)

    def report(self) -> str:
        epochs = ", ".join(f"{seconds:.2f}" for seconds in self.seconds)
        return f"ours     {self.rate():9.0f} targets/s: median of whole epochs of {self.targets} targets ({epochs} s)"


class _RecBole:
    def __init__(self, settings: IDSettings, args: argparse.Namespace, scratch: str) -> None:
        self.trainer, self.batches = _recbole_trainer(settings, args, scratch)
        self.stream = iter(self.batches)
        self.batch_targets = args.batch_targets
        self.targets = 0
        self.rates: list[float] = []
        self._train(WARM_UP_BATCHES)

    def measure(self, batches: int) -> None:
        """So many more batches; 0: a whole epoch, negative: none."""
        if batches < 0:
            return
        if batches == 0:
            targets = len(self.batches.dataset)
            seconds = _seconds(lambda: self.trainer._train_epoch(self.batches, 0))
        else:
            targets = batches * self.batch_targets
            seconds = _seconds(lambda: self._train(batches))
        self.targets += targets
        self.rates.append(targets / seconds)

    def _train(self, batches: int) -> None:
        self.trainer._train_epoch(itertools.islice(self.stream, batches), 0)

    def rate(self) -> float:
        return statistics.median(self.rates)

    def report(self) -> str:
        slices = ", ".join(f"{rate:.0f}" for rate in self.rates)
        share = f"{self.targets} of an epoch's {len(self.batches.dataset)} targets, in turns with ours"
        return f"RecBole  {self.rate():9.0f} targets/s: median of {slices}; {share}"


def _recbole_trainer(settings: IDSettings, args: argparse.Namespace, scratch: str) -> tuple[Any, Any]:
    """RecBole's Trainer and train data loader; its folders (logs, checkpoints) go to ``scratch``."""
    overrides = to_recbole(settings) | {
        "train_batch_size": args.batch_targets,
        "learning_rate": LEARNING_RATE,
        "seed": args.seed,
        "use_gpu": False,
        "gpu_id": "",
        "checkpoint_dir": str(Path(scratch, "saved")),
        "show_progress": False,
    }
    config = recbole_config(recbole_class_name(settings), "ml-100k", overrides)
    from recbole.data import create_dataset, data_preparation
    from recbole.trainer import Trainer

    logging.disable(logging.WARNING)
    here = Path.cwd()
    os.chdir(scratch)
    try:
        train, _, _ = data_preparation(config, create_dataset(config))
        torch.manual_seed(args.seed)
        return Trainer(config, config.model_class(config, train.dataset)), train
    finally:
        os.chdir(here)


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
