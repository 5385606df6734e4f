"""Logs and curves on a full disk: one error that names the place, and no traceback of a thread."""

import logging
import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from hybrid.errors import UserError
from hybrid.logs import log_file
from hybrid.training.monitor import Monitor


@contextmanager
def full_disk(n_bytes: int) -> Iterator[None]:
    """Let no file grow beyond some bytes; only inside, as what shows the tests may write to a file too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def write_and_flush(monitor: Monitor, steps: int) -> None:
    for step in range(steps):
        monitor.scalars("train/id", {"loss": 1.0}, step)
        monitor.sizes()


def test_curves_on_a_full_disk_are_one_error_and_no_traceback(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)  # put back afterwards
    monitor = Monitor(tmp_path)
    monitor.sizes()
    with full_disk(300), pytest.raises(UserError, match="can't write: File too large"):
        write_and_flush(monitor, 200)
    assert capfd.readouterr() == ("", "")


def test_a_metrics_line_on_a_full_disk_is_one_error(tmp_path):
    monitor = Monitor(tmp_path)
    monitor.close()
    with full_disk(10), pytest.raises(UserError, match=r"metrics\.jsonl: can't write: File too large"):
        monitor.record("valid", {"hr@10": 0.5})


def test_a_log_line_on_a_full_disk_is_one_error(tmp_path, capfd, monkeypatch):
    path = tmp_path / "log.txt"
    monkeypatch.setattr(logging.getLogger("hybrid"), "handlers", [])  # a command run before shows its lines
    with full_disk(10), pytest.raises(OSError, match="File too large") as error, log_file(path):
        logging.getLogger("hybrid.some").info("a line")
    assert error.value.filename == str(path)
    assert capfd.readouterr() == ("", "")
