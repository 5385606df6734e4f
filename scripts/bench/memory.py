"""Peak memory of one training step at growing catalogues: it must grow with the item table only.

Each size runs in a process of its own: one whole step (states, loss, gradients, AdamW) over random histories. What the
step needs beyond the memory before it is printed in MB and in item tables of N x D floats. Gradient, both moments of
AdamW and the step's own copies are tables; logits [targets, N] would be hundreds of them.
"""

import argparse
import json
import subprocess
import sys

import numpy as np
import torch
from side_by_side import Clock, parser, peak_mb, recbole_sizes, resident_mb, start

from idmodels.batches import IDBatches
from idmodels.loss_settings import LossSettings
from idmodels.losses import create_loss, loss_names
from idmodels.precision import choose_dtype, multiplies_in
from idmodels.registry import create_id_model
from idmodels.training import create_optimizer, sequence_loss

SIZES = (12_000, 100_000, 1_000_000)
TARGETS = (512, 2048)


def main() -> None:
    """Measure every size in a fresh process, or, as such a process, one size."""
    args = _arguments()
    if args.items:
        torch.set_num_threads(args.threads)
        print(json.dumps(_step(args)))
        return
    start(args)
    print(f"{args.model}, L = {args.length}, D = 64, loss {args.loss}; MB: peak of one step over the memory before it")
    print(f"{'items':>9s} {'targets':>8s} {'table MB':>9s} {'step MB':>9s} {'tables':>7s} {'logits MB':>10s} {'s':>6s}")
    for items in args.sizes:
        for targets in args.targets:
            _line(items, targets, _in_a_process(items, targets))


def _line(items: int, targets: int, found: dict[str, float]) -> None:
    table, step = found["table_mb"], found["step_mb"]
    logits = items * targets * 4 / 2**20
    print(
        f"{items:9d} {targets:8d} {table:9.1f} {step:9.1f} {step / table:7.1f} {logits:10.1f} {found['seconds']:6.1f}",
        flush=True,
    )


def _in_a_process(items: int, targets: int) -> dict[str, float]:
    command = [sys.executable, *sys.argv, "--items", str(items), "--targets", str(targets)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _arguments() -> argparse.Namespace:
    made = parser(__doc__)
    made.add_argument("--model", choices=("sasrec", "gru4rec"), default="sasrec")
    made.add_argument("--length", type=int, default=50, help="history length L")
    made.add_argument("--loss", choices=loss_names(), default="softmax")
    made.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="numbers of items")
    made.add_argument("--targets", type=int, nargs="+", default=TARGETS, help="targets in the step")
    made.add_argument("--items", type=int, help=argparse.SUPPRESS)
    return made.parse_args()


def _step(args: argparse.Namespace) -> dict[str, float]:
    """One step over the first batch of random histories of L + 1 items."""
    targets = args.targets[-1]
    random = np.random.default_rng(args.seed)
    torch.manual_seed(args.seed)
    ends = np.arange(1, max(2, targets // args.length) + 1) * (args.length + 1)
    items = random.integers(1, args.items + 1, ends[-1]).astype(np.int32)
    batches = IDBatches(items, ends - args.length - 1, ends, args.length, targets, args.seed)
    model = create_id_model(args.items + 1, recbole_sizes(args.model, args.length)).train()
    loss = create_loss(LossSettings(args.loss), torch.from_numpy(np.bincount(items, minlength=args.items + 1)))
    optimizer = create_optimizer(model, 1e-3)
    before = resident_mb()

    cpu = torch.device("cpu")

    def work() -> None:
        with multiplies_in(choose_dtype("auto", cpu), cpu):
            value, _ = sequence_loss(model, next(batches.epoch(0)), loss=loss)
        value.backward()
        optimizer.step()

    clock = Clock()
    clock.run(work)
    table_mb = model.item_table().numel() * 4 / 2**20
    return {"step_mb": peak_mb() - before, "table_mb": table_mb, "seconds": clock.wall[0]}


if __name__ == "__main__":
    main()
