"""Which sides ended at their best, by records that are written by hand and by a run's own."""

import logging

import pytest

from hybrid.runs import train_run
from hybrid.training.rising import ends_at_its_best, longer, rising_sides
from hybrid.training.run_directory import RunDirectory


@pytest.mark.parametrize(
    ("steps", "best", "rising"),
    [([10, 20, 30], 30, True), ([10, 20, 30], 20, False), ([10], 10, True), ([0], 0, False)],
    ids=["last", "before", "only one", "never trained"],
)
def test_a_side_ends_at_its_best_where_its_last_validation_is_kept(run_with, tmp_path, steps, best, rising):
    assert ends_at_its_best(run_with(tmp_path / "run", "llm", steps, best), "llm") is rising


def test_runs_without_such_records_are_not_judged(tmp_path):
    assert not ends_at_its_best(RunDirectory(tmp_path), "llm")


def test_what_gives_a_side_more_time():
    assert longer("llm_only", "llm") == "train.schedule.llm_only_length"
    assert longer("both", "llm") == longer("id2llm", "llm") == "train.schedule.llm_length"
    assert longer("id_only", "id") == longer("both", "id") == "train.schedule.id_length"


def test_a_run_names_the_sides_that_ended_at_their_best(run_with, tmp_path):
    run = run_with(tmp_path / "run", "llm", [10, 20], 20)
    (line,) = rising_sides(run, "both")
    assert line.startswith("llm side: best at its last validation")
    assert "a larger train.schedule.llm_length gives" in line


def test_training_says_at_its_end_whether_it_was_long_enough(tiny, caplog):
    caplog.set_level(logging.INFO, logger="hybrid")
    run = train_run(tiny("arm=id_only", "train.schedule.rounds=1", "train.schedule.id_length=1"))
    said = [message for message in caplog.messages if "best at its last validation" in message]
    assert len(said) == 1
    assert said[0] in run.log.read_text(encoding="utf-8")
