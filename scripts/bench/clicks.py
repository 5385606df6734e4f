"""The systems of task ctr in one table: click models, the language model alone, ReLLa, RecLoRA, sample-efficient Laser.

All rows are judged on the same drawn test samples. Finished runs are kept in ``--output`` and not trained again: rows
and seeds can be added later and a broken-off run goes on where it was.
"""

import argparse
from statistics import mean
from typing import Any

from hybrid.config.load import load_config
from hybrid.config.schema import Config
from hybrid.data.prepare import prepare
from hybrid.errors import UserError, nearest
from hybrid.evaluation.click_metrics import METRICS
from hybrid.evaluation.evaluate import evaluate_run
from hybrid.logs import log_to_screen
from hybrid.runs import finished_run

ONCE = "train.schedule.rounds=1"
CLICK = f"{ONCE} train.schedule.id_length=20 train.id.patience=3 train.id.precision=float32 click.max_length=60"
PROMPT = f"{ONCE} llm.click_prompt.item_tokens=10"
ROWS: dict[str, tuple[str, str, str]] = {
    "din": ("DIN", "id", f"task=ctr arm=id_only id.model=din {CLICK}"),
    "sim": ("SIM", "id", f"task=ctr arm=id_only id.model=sim {CLICK}"),
    "sim_hard": ("SIM, hard search", "id", f"task=ctr arm=id_only id.model=sim click.search=hard {CLICK}"),
    "deepfm": ("DeepFM", "id", f"task=ctr arm=id_only id.model=deepfm {CLICK}"),
    "helped": ("DIN with written knowledge", "id", f"preset=sample_efficient {CLICK}"),
    "unhelped": ("the same DIN without it", "id", f"preset=sample_efficient arm=id_only {CLICK}"),
    "zero_shot": ("LLM, zero-shot, recent K", "llm", f"task=ctr arm=llm_only llm.tune=none {PROMPT}"),
    "recent": ("LLM, tuned, recent K", "llm", f"task=ctr arm=llm_only {PROMPT}"),
    "rella": ("ReLLa", "llm", f"preset=rella {PROMPT}"),
    "reclora": ("RecLoRA", "llm", f"preset=reclora {PROMPT}"),
    "ungated": (
        "RecLoRA, meta-LoRAs in even shares",
        "llm",
        f"preset=reclora bridges.lora_gate.enabled=false {PROMPT}",
    ),
}
"""Name of each row, the side that is judged, and its settings; `recent` is also the LLM half of sample-efficient.

`helped` and `unhelped` differ in the knowledge alone, `reclora` and `ungated` in the gate alone; `din` and `sim` have
settings of their own.
"""
WHOLE = ("helped", "zero_shot")
"""Rows that need all layers: a cut model says nothing sensible."""


def main() -> None:
    """Train and judge what is missing, then print the table."""
    args = _arguments()
    log_to_screen()
    print(f"| system | seed | {' | '.join(name.upper() for name in METRICS)} |")
    print(f"|---|---|{'---|' * len(METRICS)}", flush=True)
    for row in args.rows.split(","):
        if row not in ROWS:
            raise UserError(f"--rows: unknown row {row!r}{nearest(row, ROWS)}")
        found = [_judged(row, seed, args) for seed in args.seeds.split(",")]
        if len(found) > 1:
            means = [f"{mean(each['metrics'][name] for each in found):.4f}" for name in METRICS]
            print(f"| {ROWS[row][0]} | mean of {len(found)} | {' | '.join(means)} |", flush=True)


def _judged(row: str, seed: str, args: argparse.Namespace) -> dict[str, Any]:
    label, side, _ = ROWS[row]
    config = _config(row, seed, args)
    run = finished_run(config, prepare(config.data).fingerprint)
    found: dict[str, Any] = evaluate_run(run.path, "test")["sides"][side]
    cells = [f"{found['metrics'][name]:.4f}{_interval(found, name)}" for name in METRICS]
    print(f"| {label} | {seed} | {' | '.join(cells)} |", flush=True)
    return found


def _config(row: str, seed: str, args: argparse.Namespace) -> Config:
    settings = [
        *ROWS[row][2].split(),
        f"name={row}-{seed}",
        f"seed={seed}",
        f"data.dataset={args.dataset}",
        f"data.cache_dir={args.cache}",
        f"output_dir={args.output}",
        f"threads={args.threads}",
        f"train.schedule.llm_length={0 if row in WHOLE else args.epochs}",
        f"evaluation.ctr_samples={args.test_samples}",
        f"llm.click_prompt.behaviours={args.behaviours}",
        f"llm.num_layers={0 if row in WHOLE else args.layers}",
        f"train.llm.samples={args.train_samples}",
        f"train.llm.learning_rate={args.learning_rate}",
    ]
    return load_config(None, settings)


def _interval(found: dict[str, Any], name: str) -> str:
    low, high = found["intervals"][name]
    return f" [{low:.4f}, {high:.4f}]"


def _arguments() -> argparse.Namespace:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--rows", default=",".join(ROWS), help="comma-separated (default: %(default)s)")
    made.add_argument("--seeds", default="1", help="comma-separated (default: %(default)s)")
    made.add_argument("--dataset", default="ml-100k")
    made.add_argument("--output", default="runs/clicks")
    made.add_argument("--cache", default="cache")
    made.add_argument("--threads", type=int, default=2)
    made.add_argument(
        "--test-samples", type=int, default=0, help="samples of valid and of test that are judged; 0: all"
    )
    made.add_argument("--train-samples", type=int, default=1024, help="samples N that the language model is tuned on")
    made.add_argument("--epochs", type=int, default=1, help="epochs of tuning")
    made.add_argument("--behaviours", type=int, default=5, help="behaviours K in a prompt")
    made.add_argument("--layers", type=int, default=6, help="layers of a tuned language model")
    made.add_argument("--learning-rate", type=float, default=1e-3)
    return made.parse_args()


if __name__ == "__main__":
    main()
