"""Which sides alone a comparison notes, from records that are written by hand."""

from hybrid.comparison.rising import rising_notes
from hybrid.comparison.rows import Row


def test_only_plain_sides_are_noted_with_their_seeds_and_what_gives_them_time(run_with, tmp_path):
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
