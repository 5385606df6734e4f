"""A training step of the click models with float32 and with bfloat16 products, by processor time."""

import statistics
import time
from pathlib import Path

import torch
from side_by_side import parser, start

from hybrid.config.load import load_config
from hybrid.ctr.learners import ClickIDLearner
from hybrid.ctr.system import build_click_system
from hybrid.data.clicks import split_clicks
from hybrid.data.prepare import prepare
from idmodels.click_registry import click_model_names

PRECISIONS = ("float32", "bfloat16")


def main() -> None:
    """Take turns, so that both meet the same machine, and print the median of each."""
    made = parser(__doc__)
    made.add_argument("--dataset", default="ml-100k")
    made.add_argument("--cache", type=Path, default=Path("cache"))
    made.add_argument("--length", type=int, default=60, help="history length L")
    made.add_argument("--steps", type=int, default=5)
    args = made.parse_args()
    start(args)
    for model in click_model_names():
        learners = {}
        for precision in PRECISIONS:
            data, shape = (
                [f"data.dataset={args.dataset}", f"data.cache_dir={args.cache}"],
                f"click.max_length={args.length}",
            )
            own = [f"id.model={model}", f"train.id.precision={precision}", f"seed={args.seed}"]
            config = load_config(None, ["task=ctr", "arm=id_only", *data, shape, *own])
            system = build_click_system(config, split_clicks(prepare(config.data), config.data))
            learners[precision] = ClickIDLearner(system, 1)
        times = _milliseconds(learners, args.steps)
        shown = ", ".join(f"{precision} {statistics.median(times[precision]):.0f} ms" for precision in PRECISIONS)
        print(f"{model:8s}{shown}", flush=True)


def _milliseconds(learners: dict[str, ClickIDLearner], steps: int) -> dict[str, list[float]]:
    times: dict[str, list[float]] = {precision: [] for precision in learners}
    streams = {precision: learner.stream() for precision, learner in learners.items()}
    torch.manual_seed(0)
    for number in range(steps + 1):
        for precision, learner in learners.items():
            learner.wake()
            batch, _ = next(streams[precision])
            began = time.process_time()
            learner.step(batch)
            if number:  # the first one warms up
                times[precision].append(1000 * (time.process_time() - began))
    return times


if __name__ == "__main__":
    main()
