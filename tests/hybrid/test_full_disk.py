"""A disk that fills up while a command runs: one line, nothing half-written, and the work goes on afterwards.

A limit on file sizes stands for the disk: writing beyond it fails in every library as it does on a full disk.
"""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hybrid.cli import main

CODE = "import torch; torch.set_num_threads(1); from hybrid.cli import main; raise SystemExit(main())"


def run_with_limit(n_bytes: int, *arguments: object) -> list[str]:
    """What the command prints on standard error, where no file may grow beyond ``n_bytes``; it must fail with 2."""

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, n_bytes))

    done = subprocess.run(
        [sys.executable, "-c", CODE, *map(str, arguments)],
        preexec_fn=limit,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 2, done.stderr
    return done.stderr.splitlines()


def check(lines: list[str], folder: Path) -> None:
    """One line for the user, and no file that is half there."""
    assert [line.startswith("hybridrec: ") for line in lines].count(True) == 1, lines
    assert lines[-1].startswith("hybridrec: ")
    assert not any("Traceback" in line or "Error" in line or "Exception" in line for line in lines), lines
    assert not list(folder.rglob(".*"))


@pytest.fixture
def arguments(tiny, tmp_path, cycle):
    """A short joint run that leaves its cache prepared."""
    return [
        str(tiny.path),
        f"data.dataset={cycle}",
        f"data.cache_dir={cycle.parent / 'cache'}",
        f"output_dir={tmp_path / 'runs'}",
        "train.schedule.rounds=1",
    ]


@pytest.fixture(scope="module")
def kept_run():
    """Place of a finished run that the tests of this module copy."""
    return {}


@pytest.fixture
def finished(arguments, tmp_path, kept_run, tmp_path_factory):
    """Directory of a finished run."""
    run = tmp_path / "runs" / "run"
    if "path" not in kept_run:
        assert main(["train", *arguments]) == 0
        kept_run["path"] = shutil.copytree(run, tmp_path_factory.mktemp("kept") / "run")
    else:
        shutil.copytree(kept_run["path"], run)
    return run


@pytest.mark.parametrize("n_bytes", [100, 5_000, 20_000])
def test_training_ends_in_one_line_and_goes_on_when_there_is_room(arguments, finished, tmp_path, n_bytes):
    shutil.rmtree(finished)  # its prepared data and item vectors stay in the cache
    check(run_with_limit(n_bytes, "train", *arguments), tmp_path)
    assert not (finished / "finished.json").exists()
    assert main(["train", *arguments, "--resume"]) == 0
    assert (finished / "finished.json").exists()


def test_evaluation_is_whole_or_absent(finished):
    check(run_with_limit(300, "evaluate", finished), finished)
    assert not (finished / "test.json").exists()
    assert main(["evaluate", str(finished)]) == 0
    assert set(json.loads((finished / "test.json").read_text())["sides"]) == {"id", "llm"}


@pytest.mark.parametrize(("form", "n_bytes"), [("safetensors", 400), ("recbole", 3_000)])
def test_export_is_whole_or_as_it_was(finished, form, n_bytes):
    command = ["export", str(finished), "--format", form]
    assert main(command) == 0
    target = finished / "export" / form
    before = {path.name: path.read_bytes() for path in target.iterdir()}
    check(run_with_limit(n_bytes, *command), finished)
    assert {path.name: path.read_bytes() for path in target.iterdir()} == before
