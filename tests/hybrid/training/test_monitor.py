"""Logs and curves on a full disk: one error that names the place, and no traceback of a thread."""

import logging
import resource
import threading

import pytest

from hybrid.errors import UserError
from hybrid.logs import log_file
from hybrid.training.monitor import Monitor


@pytest.fixture
def limit():
    """Let no file grow beyond some bytes until the test ends."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda n_bytes: resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def write_and_flush(monitor: Monitor, steps: int) -> None:
    for step in range(steps):
        monitor.scalars("train/id", {"loss": 1.0}, step)
        monitor.sizes()


def test_curves_on_a_full_disk_are_one_error_and_no_traceback(tmp_path, limit, capfd, monkeypatch):
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)  # put back afterwards
    monitor = Monitor(tmp_path)
    monitor.sizes()
    limit(300)
    with pytest.raises(UserError, match="can't write: File too large"):
        write_and_flush(monitor, 200)
    assert capfd.readouterr() == ("", "")


def test_a_metrics_line_on_a_full_disk_is_one_error(tmp_path, limit):
    monitor = Monitor(tmp_path)
    monitor.close()
    limit(10)
    with pytest.raises(UserError, match=r"metrics\.jsonl: can't write: File too large"):
        monitor.record("valid", {"hr@10": 0.5})


def test_a_log_line_on_a_full_disk_is_one_error(tmp_path, limit, capfd, monkeypatch):
    path = tmp_path / "log.txt"
    monkeypatch.setattr(logging.getLogger("hybrid"), "handlers", [])  # a command run before shows its lines
    limit(10)
    with pytest.raises(OSError, match="File too large") as error, log_file(path):
        logging.getLogger("hybrid.some").info("a line")
    assert error.value.filename == str(path)
    assert capfd.readouterr() == ("", "")
