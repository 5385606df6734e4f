"""Training speed of RecBole's SASRec or GRU4Rec and ours, in one run: targets per second and their ratio.

Same model sizes, same targets per step, same threads, full softmax on both sides. RecBole trains one padded row per
prefix with its own dataset, data loader and Trainer; ours one row per user. A target is one next item that is learnt.
"""

import argparse
import itertools
from typing import Any, get_args

import torch
from side_by_side import (
    Clock,
    add_model,
    our_data,
    parser,
    ratio_line,
    recbole_settings,
    recbole_sizes,
    recbole_trainer,
    scratch,
    start,
)

from idmodels.batches import IDBatches
from idmodels.precision import choose_dtype
from idmodels.registry import create_id_model
from idmodels.settings import IDSettings, Precision
from idmodels.training import create_optimizer, train_epoch

WARM_UP_BATCHES = 2
LEARNING_RATE = 1e-3


def main() -> None:
    """Measure both in turns, so that whatever else the machine does hits both, and print three lines."""
    args = _arguments()
    start(args)
    settings = recbole_sizes(args.model, args.length)
    print(f"{args.model}, {args.dataset}, L = {args.length}, {args.batch_targets} targets per step", flush=True)
    with scratch() as folder:
        ours, theirs = _Ours(settings, args, folder), _RecBole(settings, args, folder)
        ours.measure()  # a first epoch warms up
        ours.clock = Clock()
        for share in _shares(args.recbole_batches, args.epochs):
            theirs.measure(share)
            ours.measure()
    print(theirs.report())
    print(ours.report())
    print(ratio_line(ours.rates(), theirs.rates()))


def _shares(batches: int, rounds: int) -> list[int]:
    """RecBole's batches in each round, alike so that their times are too; 0: a whole epoch in the first, then none."""
    if batches == 0:
        return [0] + [-1] * (rounds - 1)
    return [max(1, batches // rounds)] * min(rounds, batches) + [-1] * max(0, rounds - batches)


def _arguments() -> argparse.Namespace:
    made = parser(__doc__)
    add_model(made)
    made.add_argument("--batch-targets", type=int, default=2048, help="targets per step, on both sides")
    made.add_argument("--epochs", type=int, default=6, help="our whole epochs; the median counts")
    made.add_argument("--precision", choices=get_args(Precision), default="auto", help="of our products")
    made.add_argument(
        "--recbole-batches", type=int, default=12, help="RecBole's batches, spread between our epochs; 0: a whole epoch"
    )
    return made.parse_args()


class _Ours:
    def __init__(self, settings: IDSettings, args: argparse.Namespace, folder: str) -> None:
        data = our_data(args.dataset, folder)
        train = data.train
        self.batches = IDBatches(train.items, train.starts, train.ends, args.length, args.batch_targets, args.seed)
        self.targets = sum(int((batch.targets > 0).sum()) for batch in self.batches.epoch(0))
        torch.manual_seed(args.seed)
        self.model = create_id_model(data.n_items, settings)
        self.optimizer = create_optimizer(self.model, LEARNING_RATE)
        self.dtype = choose_dtype(args.precision, torch.device("cpu"))
        self.clock = Clock()

    def measure(self) -> None:
        """One whole epoch."""
        batches = self.batches.epoch(len(self.clock.wall))
        self.clock.run(lambda: train_epoch(self.model, batches, self.optimizer, dtype=self.dtype))

    def rates(self) -> tuple[float, float]:
        return self.clock.rates(self.targets)

    def report(self) -> str:
        epochs = ", ".join(f"{seconds:.2f}" for seconds in self.clock.wall)
        return (
            f"ours    {self.rates()[0]:9.0f} targets/s: median of whole epochs of {self.targets} targets ({epochs} s)"
        )


class _RecBole:
    def __init__(self, settings: IDSettings, args: argparse.Namespace, folder: str) -> None:
        sizes = {"train_batch_size": args.batch_targets, "learning_rate": LEARNING_RATE, "seed": args.seed}
        config = recbole_settings(settings, args.dataset, folder, **sizes)
        self.trainer, self.batches, _ = recbole_trainer(config, folder)
        self.stream: Any = iter(self.batches)
        self.batch_targets, self.targets = args.batch_targets, 0
        self.clock = Clock()
        self._train(WARM_UP_BATCHES)

    def measure(self, batches: int) -> None:
        """So many more batches; 0: a whole epoch, negative: none."""
        if batches == 0:
            self.targets = len(self.batches.dataset)
            self.clock.run(lambda: self.trainer._train_epoch(self.batches, 0))
        elif batches > 0:
            self.targets = batches * self.batch_targets
            self.clock.run(lambda: self._train(batches))

    def _train(self, batches: int) -> None:
        self.trainer._train_epoch(itertools.islice(self.stream, batches), 0)

    def rates(self) -> tuple[float, float]:
        return self.clock.rates(self.targets)

    def report(self) -> str:
        slices = ", ".join(f"{seconds:.2f}" for seconds in self.clock.wall)
        share = f"parts of {self.targets} of an epoch's {len(self.batches.dataset)} targets"
        return f"RecBole {self.rates()[0]:9.0f} targets/s: median of {share} ({slices} s), in turns with ours"


if __name__ == "__main__":
    main()
