"""Every way that is tried is a config that can be run, and another one than the preset's."""

import argparse
import importlib.util
from pathlib import Path

import pytest

SPEC = importlib.util.spec_from_file_location("ways", Path(__file__).parents[2] / "scripts" / "bench" / "ways.py")
assert SPEC is not None
assert SPEC.loader is not None
ways = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(ways)


def config(row):
    shared = {"seed": "1", "dataset": "ml-100k", "cache": "cache", "output": "runs", "threads": 1, "settings": []}
    return ways._config(row, argparse.Namespace(**shared))


@pytest.mark.parametrize("row", [*ways.WAYS, *ways.TURNS])
def test_a_row_is_a_valid_config_with_turns_or_without(row):
    found = config(row)
    assert found.name.endswith("-1")
    assert (found.train.schedule.llm_length == 0) == (row in ways.WAYS)


def test_every_row_can_be_asked_for_in_a_comma_separated_list():
    assert not [row for row in [*ways.WAYS, *ways.TURNS] if "," in row]


def test_no_two_rows_are_the_same():
    rows = [*ways.WAYS, *ways.TURNS]
    names = {config(row).name for row in rows}
    assert len(names) == len(rows)
    assert len({str(config(row)).replace(config(row).name, "") for row in rows}) == len(rows)
