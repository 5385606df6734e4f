"""Which sides alone ended at their best, from records that are written by hand."""

import json

import pytest

from hybrid.comparison.rising import ends_at_its_best, rising_notes
from hybrid.comparison.rows import Row
from hybrid.training.run_directory import RunDirectory


def run_with(path, side, steps, best):
    """A run directory that knows when a side was validated, and at which step it was best."""
    run = RunDirectory(path)
    run.best_metrics(side).parent.mkdir(parents=True)
    other = {"event": "valid", "side": "id" if side == "llm" else "llm", "own_step": 99}
    events = [{"event": "valid", "side": side, "own_step": step} for step in steps]
    lines = [json.dumps(event) for event in [{"event": "agreement", "step": 7}, *events, other]]
    run.metrics.write_text("\n".join(lines) + "\n", encoding="utf-8")
    run.best_metrics(side).write_text(json.dumps({"ndcg@10": 0.1, "step": best}), encoding="utf-8")
    return run


@pytest.mark.parametrize(
    ("steps", "best", "rising"),
    [([10, 20, 30], 30, True), ([10, 20, 30], 20, False), ([10], 10, True), ([0], 0, False)],
    ids=["last", "before", "only one", "never trained"],
)
def test_a_side_ends_at_its_best_where_its_last_validation_is_kept(tmp_path, steps, best, rising):
    assert ends_at_its_best(run_with(tmp_path / "run", "llm", steps, best), "llm") is rising


def test_runs_without_such_records_are_not_judged(tmp_path):
    assert not ends_at_its_best(RunDirectory(tmp_path), "llm")


def test_only_plain_sides_are_noted_with_their_seeds_and_what_gives_them_time(tmp_path):
    runs = {
        ("llm_only", 1): run_with(tmp_path / "1", "llm", [5, 10], 10),
        ("llm_only", 2): run_with(tmp_path / "2", "llm", [5, 10], 5),
        ("llm_only", 3): run_with(tmp_path / "3", "llm", [5, 10], 10),
        ("both", 1): run_with(tmp_path / "4", "llm", [5, 10], 10),
        ("id_only", 1): run_with(tmp_path / "5", "id", [5, 10], 5),
    }
    seeds = {seed: {"metrics": {}} for seed in (1, 2, 3)}
    rows = [
        Row("LLM alone", "llm_only", "llm", "arm", seeds),
        Row("LLM alone; histories shuffled", "llm_only", "llm", "control", seeds, shuffled=True),
        Row("LLM after joint training", "both", "llm", "arm", {1: {"metrics": {}}}),
        Row("ID alone", "id_only", "id", "arm", {1: {"metrics": {}}}),
        Row("Blend of both, before", "before", "blend", "blend", {1: {"metrics": {}}}),
    ]
    (note,) = rising_notes(rows, runs)
    assert note.startswith("LLM alone, seed 1, 3: best at its last validation")
    assert "a larger train.schedule.llm_only_length" in note
