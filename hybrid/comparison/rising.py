"""Sides alone that were still becoming better when their time was up: what is compared with them gains too much."""

import json
from collections.abc import Mapping, Sequence

from hybrid.comparison.rows import PLAIN, Row
from hybrid.training.run_directory import RunDirectory, read_json

LONGER: Mapping[str, str] = {"id": "train.schedule.id_length", "llm": "train.schedule.llm_only_length"}
"""Setting that gives a side alone more time."""


def rising_notes(rows: Sequence[Row], runs: Mapping[tuple[str, int], RunDirectory]) -> list[str]:
    """One line for each plain side of a comparison that ended at its best, with the seeds in which it did."""
    notes = []
    for row in rows:
        side = row.side
        if side not in LONGER or PLAIN[side] != (row.entry, side) or row.shuffled:
            continue
        seeds = [str(seed) for seed in row.results if ends_at_its_best(runs[row.entry, seed], side)]
        if seeds:
            notes.append(
                f"{row.label}, seed {', '.join(seeds)}: best at its last validation, so it may not be done learning, "
                f"and changes from it may be too large; under another name= a larger {LONGER[side]} gives it more time"
            )
    return notes


def ends_at_its_best(run: RunDirectory, side: str) -> bool:
    """Whether the side has trained, and its last validation is the one that it is kept from."""
    best = run.best_metrics(side)
    if not (best.exists() and run.metrics.exists()):  # as of runs in stages
        return False
    events = [json.loads(line) for line in run.metrics.read_text(encoding="utf-8").splitlines()]
    steps = [event["own_step"] for event in events if event["event"] == "valid" and event.get("side") == side]
    return bool(steps) and steps[-1] > 0 and steps[-1] == read_json(best)["step"]
