"""Logging to the screen and, during a run, to its directory."""

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tqdm import tqdm


class ScreenHandler(logging.Handler):
    """Plain lines on standard error that don't tear progress bars."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record above the bars."""
        mark = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        tqdm.write(mark + self.format(record), file=sys.stderr)


class RunLog(logging.FileHandler):
    """A log file; a full disk ends the run, where `logging` would print a traceback and go on."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Called where a line could not be written: raises that error, with the file's name."""
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            raise OSError(error.errno, error.strerror, self.baseFilename) from None
        super().handleError(record)


def log_to_screen(level: int = logging.INFO) -> None:
    """Show this project's messages on standard error."""
    root = logging.getLogger("hybrid")
    if not any(isinstance(handler, ScreenHandler) for handler in root.handlers):
        root.addHandler(ScreenHandler())
    root.setLevel(level)


@contextmanager
def log_file(path: Path) -> Iterator[None]:
    """Append this project's messages, with times, to a file while inside."""
    root = logging.getLogger("hybrid")
    handler = RunLog(path, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root.addHandler(handler)
    if root.level == logging.NOTSET:
        root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
        with suppress(OSError):  # every line was flushed or has raised
            handler.close()
