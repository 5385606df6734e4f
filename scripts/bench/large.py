"""A large synthetic dataset through every stage: prepare, a share of an epoch, full-catalogue evaluation.

Users of equal length draw items by Zipf's law (exponent 1) over all of them. Each stage runs in a process of its own;
its time and largest resident memory are printed. All of them together must stay within 8 GiB of memory.
"""

import argparse
import json
import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
from side_by_side import Clock, parser, peak_mb, scratch, start

from hybrid.config.load import load_config
from hybrid.config.schema import Config
from hybrid.data.prepare import prepare
from hybrid.data.split import TrainingData, split_training
from hybrid.evaluation.rankers import IDRanker, rank_side
from hybrid.system import build_system
from hybrid.training.id_learner import IDLearner
from hybrid.training.validation import draw_targets

LIMIT_MB = 8 * 1024
STAGES = ("write", "prepare", "train", "evaluate")


def main() -> None:
    """Run the stages one after the other, or, as such a process, one of them."""
    args = _arguments()
    start(args)
    if args.stage:
        print(json.dumps(globals()[f"_{args.stage}"](args)))
        return
    print(f"{args.interactions:,} interactions, {args.users:,} users, {args.items:,} items", flush=True)
    worst = 0.0
    with scratch() as folder:
        for stage in STAGES:
            command = [sys.executable, *sys.argv, "--stage", stage, "--folder", folder]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            found = json.loads(done.stdout.splitlines()[-1])
            worst = max(worst, found["peak_mb"])
            print(f"{stage:9s}{found['seconds']:8.1f} s, peak {found['peak_mb']:6.0f} MB; {found['said']}", flush=True)
    print(f"largest resident memory {worst:.0f} MB of {LIMIT_MB} MB: {'kept' if worst <= LIMIT_MB else 'EXCEEDED'}")
    sys.exit(worst > LIMIT_MB)


def _arguments() -> argparse.Namespace:
    made = parser(__doc__)
    made.add_argument("--interactions", type=int, default=10_000_000)
    made.add_argument("--users", type=int, default=200_000)
    made.add_argument("--items", type=int, default=1_000_000)
    made.add_argument("--share", type=float, default=0.02, help="share of an epoch that is trained; 1: all of it")
    made.add_argument("--evaluated", type=int, default=10_000, help="users that are ranked")
    made.add_argument("--stage", choices=STAGES, help=argparse.SUPPRESS)
    made.add_argument("--folder", help=argparse.SUPPRESS)
    made.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="settings, such as train.id.loss.kind=gbce")
    return made.parse_intermixed_args()


def _config(args: argparse.Namespace) -> Config:
    places = [f"data.dataset={args.folder}/large.inter", f"data.cache_dir={args.folder}/cache", "arm=id_only"]
    sizes = ["train.id.loss.kind=sampled_softmax", "train.id.batch_targets=16384", f"seed={args.seed}"]
    return load_config(None, [*places, *sizes, *args.overrides])


def _result(clock: Clock, said: str) -> dict[str, object]:
    return {"seconds": clock.wall[0], "peak_mb": peak_mb(), "said": said}


def _write(args: argparse.Namespace) -> dict[str, object]:
    """The atomic file, users in turns; every item stands in it at least once where there are interactions enough."""
    import pyarrow as pa
    from pyarrow import csv

    random = np.random.default_rng(args.seed)
    path = Path(args.folder, "large.inter")

    def work() -> None:
        count = args.interactions
        drawn = np.exp(random.uniform(0, np.log(args.items + 1), count)).astype(np.int64)
        drawn[: min(count, args.items)] = np.arange(1, min(count, args.items) + 1)
        random.shuffle(drawn)
        users = np.arange(count) % args.users
        table = pa.table({"user": users, "item": drawn, "time": np.arange(count) // args.users})
        with path.open("wb") as file:
            file.write(b"user_id:token\titem_id:token\ttimestamp:float\n")
            csv.write_csv(table, file, csv.WriteOptions(include_header=False, delimiter="\t"))

    clock = Clock()
    clock.run(work)
    return _result(clock, f"{path.stat().st_size / 2**20:.0f} MB atomic file")


def _data(args: argparse.Namespace) -> TrainingData:
    config = _config(args)
    return split_training(prepare(config.data, log=lambda line: None), config.data, lambda line: None)


def _prepare(args: argparse.Namespace) -> dict[str, object]:
    clock, made = Clock(), []
    clock.run(lambda: made.append(_data(args)))
    rate = args.interactions / clock.wall[0]
    return _result(clock, f"{rate:.0f} rows/s with split; {made[0].n_items - 1:,} items")


def _train(args: argparse.Namespace) -> dict[str, object]:
    config, data = _config(args), _data(args)
    system = build_system(config, data)
    learner = IDLearner(config, system.need_id(), system.exchange, data, system.device, 1)
    batches = max(1, round(args.share * learner.batches_per_epoch()))
    learner.wake()
    losses: list[float] = []

    def work() -> None:
        for batch in islice(learner.batches(0, 0), batches):
            losses.append(learner.step(batch)["loss"])

    clock = Clock()
    clock.run(work)
    whole = clock.wall[0] / batches * learner.batches_per_epoch()
    share = f"{batches} of {learner.batches_per_epoch()} batches, {config.train.id.loss.kind}"
    return _result(clock, f"{share}; an epoch would take {whole:.0f} s; loss {losses[0]:.3f} to {losses[-1]:.3f}")


def _evaluate(args: argparse.Namespace) -> dict[str, object]:
    config, data = _config(args), _data(args)
    system = build_system(config, data)
    ranker = IDRanker(system.need_id(), config.evaluation.batch_users, system.device)
    targets = draw_targets(data.valid, args.evaluated, args.seed)
    clock = Clock()
    clock.run(lambda: rank_side(ranker, targets, config.evaluation))
    return _result(clock, f"{len(targets) / clock.wall[0]:.0f} users/s, history left out")


if __name__ == "__main__":
    main()
