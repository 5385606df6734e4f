"""Loading, filtering and splitting by RecBole and by us, each in processes of its own: rows per second and peak memory.

Both read the same atomic files, keep users and items with five interactions (5-core), map ids, order by time and cut
leave-one-out. RecBole's split includes its prefix rows, without which its sequential models have nothing to read; ours
is what training reads. Ours starts without a cache. Peak memory is the process's largest resident memory, less what
it had after its imports.
"""

import argparse
import json
import statistics
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from side_by_side import (
    COLUMNS,
    DATASETS,
    Clock,
    inside,
    parser,
    peak_mb,
    ratio_line,
    recbole_settings,
    recbole_sizes,
    scratch,
    start,
)

from hybrid.config.schema import DataConfig
from hybrid.data.prepare import prepare
from hybrid.data.split import split_training

CORE = 5
Found = dict[str, float]


def main() -> None:
    """Measure both in turns in fresh processes, or, as such a process, one side once."""
    args = _arguments()
    start(args)
    if args.side:
        print(json.dumps(_SIDES[args.side](args)))
        return
    print(f"{args.dataset}, {CORE}-core, leave-one-out, {args.repeats} processes of each side", flush=True)
    found: dict[str, list[Found]] = {side: [] for side in _SIDES}
    for _ in range(args.repeats):
        for side in _SIDES:
            found[side].append(_in_a_process(side))
    rates = {side: _report(side, runs) for side, runs in found.items()}
    memory = {side: statistics.median(run["memory_mb"] for run in runs) for side, runs in found.items()}
    print(ratio_line(rates["ours"], rates["RecBole"]))
    print(f"ratio of peak memory 1 / {memory['RecBole'] / memory['ours']:.1f}")


def _report(side: str, runs: list[Found]) -> tuple[float, float]:
    rows = runs[0]["rows"]
    clock = Clock([run["wall_s"] for run in runs], [run["processor_s"] for run in runs])
    taken = ", ".join(f"{run['wall_s']:.2f}" for run in runs)
    memory = ", ".join(f"{run['memory_mb']:.0f} over {run['imports_mb']:.0f}" for run in runs)
    targets = f"{runs[0]['train']:.0f} train and {runs[0]['valid']:.0f} valid targets"
    print(f"{side:8s}{clock.rates(rows)[0]:9.0f} rows/s: median of {taken} s; peak memory {memory} MB; {targets}")
    return clock.rates(rows)


def _in_a_process(side: str) -> Found:
    done = subprocess.run([sys.executable, *sys.argv, "--side", side], check=True, stdout=subprocess.PIPE, text=True)
    found: Found = json.loads(done.stdout.splitlines()[-1])
    return found


def _arguments() -> argparse.Namespace:
    made = parser(__doc__)
    made.add_argument("--dataset", choices=DATASETS, default="ml-1m")
    made.add_argument("--repeats", type=int, default=1, help="processes of each side; the median counts")
    made.add_argument("--side", choices=list(_SIDES), help=argparse.SUPPRESS)
    return made.parse_args()


def _ours(args: argparse.Namespace) -> Found:
    with scratch() as folder:
        config = DataConfig(dataset=args.dataset, cache_dir=folder, user_core=CORE, item_core=CORE)
        import_module("pyarrow.compute")
        import_module("pyarrow.csv")
        imports, clock, made = peak_mb(), Clock(), []
        clock.run(lambda: made.append(split_training(prepare(config, log=lambda line: None), config)))
    data = made[0]
    targets = len(data.train.items) - int((data.train.lengths > 0).sum())
    return _found(args, clock, imports, targets, len(data.valid))


def _recbole(args: argparse.Namespace) -> Found:
    with scratch() as folder:
        core = {"user_inter_num_interval": f"[{CORE},inf)", "item_inter_num_interval": f"[{CORE},inf)"}
        config = recbole_settings(recbole_sizes("sasrec", 50), args.dataset, folder, load_col=COLUMNS, **core)
        from recbole.data import create_dataset

        imports, clock, made = peak_mb(), Clock(), []
        with inside(folder):
            clock.run(lambda: made.append(create_dataset(config).build()))
    train, valid, _ = made[0]
    return _found(args, clock, imports, len(train), len(valid))


def _found(args: argparse.Namespace, clock: Clock, imports: float, train: int, valid: int) -> Found:
    return {
        "rows": float(_rows(args.dataset)),
        "wall_s": clock.wall[0],
        "processor_s": clock.processor[0],
        "imports_mb": imports,
        "memory_mb": peak_mb() - imports,
        "train": train,
        "valid": valid,
    }


def _rows(dataset: str) -> int:
    """Interactions in the raw file."""
    from hybrid.data.known import known_folder

    path: Path = known_folder(dataset) / f"{dataset}.inter"
    with path.open("rb") as file:
        return sum(1 for _ in file) - 1


_SIDES: dict[str, Any] = {"RecBole": _recbole, "ours": _ours}

if __name__ == "__main__":
    main()
