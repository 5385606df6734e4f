"""Sides that were still becoming better when their time was up."""

import json

from hybrid.training.run_directory import RunDirectory, read_json


def rising_sides(run: RunDirectory, arm: str) -> list[str]:
    """One line for each side that ended at its best, with the setting that gives it more time."""
    return [
        f"{side} side: best at its last validation, so it may not be done learning; under another name= a larger "
        f"{longer(arm, side)} gives it more time"
        for side in ("id", "llm")
        if ends_at_its_best(run, side)
    ]


def longer(arm: str, side: str) -> str:
    """Setting that gives a side more time."""
    return f"train.schedule.{'llm_only' if arm == 'llm_only' else side}_length"


def ends_at_its_best(run: RunDirectory, side: str) -> bool:
    """Whether the side has trained, and its last validation is the one that it is kept from.

    Of a side in whose place the safeguard has put the plain model this is not known: that has no step of the side's.
    """
    best = run.best_metrics(side)
    if not (best.exists() and run.metrics.exists()):  # as of runs in stages
        return False
    events = [json.loads(line) for line in run.metrics.read_text(encoding="utf-8").splitlines()]
    steps = [event["own_step"] for event in events if event["event"] == "valid" and event.get("side") == side]
    return bool(steps) and steps[-1] > 0 and steps[-1] == read_json(best).get("step")
