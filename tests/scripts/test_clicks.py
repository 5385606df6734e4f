"""Every row of the table of click systems is a config that can be run."""

import importlib.util
import sys
from pathlib import Path

import pytest

SPEC = importlib.util.spec_from_file_location("clicks", Path(__file__).parents[2] / "scripts" / "bench" / "clicks.py")
assert SPEC is not None
assert SPEC.loader is not None
clicks = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(clicks)


@pytest.mark.parametrize("row", list(clicks.ROWS))
def test_a_row_is_a_valid_config_with_the_side_it_judges(row, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["clicks.py", "--behaviours", "7", "--test-samples", "500"])
    config = clicks._config(row, "4", clicks._arguments())
    assert config.task == "ctr"
    assert config.arm != {"id": "llm_only", "llm": "id_only"}[clicks.ROWS[row][1]]
    assert (config.seed, config.name) == (4, f"{row}-4")
    assert (config.llm.click_prompt.behaviours, config.evaluation.ctr_samples) == (7, 500)
    tuned = clicks.ROWS[row][1] == "llm" and row not in clicks.WHOLE
    assert config.train.schedule.llm_length == (0 if row in clicks.WHOLE else 1)
    assert config.llm.num_layers == (0 if row in clicks.WHOLE else 6)
    assert not tuned or config.llm.tune == "lora"
