"""Folders that are there complete or not at all."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from idmodels.errors import IDModelError


@contextmanager
def complete_folder(folder: Path, names: Sequence[str]) -> Iterator[Path]:
    """`replaced_folder` for the files ``names``.

    Raises IDModelError where ``folder`` is a file or holds anything but ``names``, so that nobody's other files are
    lost.
    """
    _check_replaceable(folder, names)
    if folder.name in ("", ".."):  # such as "."; its new self is written beside it
        folder = Path(os.path.abspath(folder))
    with replaced_folder(folder) as fresh:
        yield fresh


@contextmanager
def replaced_folder(folder: Path) -> Iterator[Path]:
    """An empty folder beside ``folder`` to write into, which takes its place when the block ends.

    After an error ``folder`` is as it was. A process that is killed between the two renames leaves no ``folder``; the
    next call puts the old one back before anything else, and so does `recover_folder`.
    """
    fresh, old = folder.with_name(f".{folder.name}.new"), _old(folder)
    recover_folder(folder)
    for leftover in (fresh, old):
        shutil.rmtree(leftover, ignore_errors=True)
    fresh.mkdir(parents=True)
    try:
        yield fresh
        if folder.exists():
            os.replace(folder, old)
        os.replace(fresh, folder)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        recover_folder(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


def recover_folder(folder: Path) -> None:
    """Put ``folder`` back where its replacement was interrupted between the two renames."""
    if is_interrupted(folder):
        os.replace(_old(folder), folder)


def is_interrupted(folder: Path) -> bool:
    """Whether the replacement of ``folder`` is between its two renames: interrupted there, or at it right now."""
    return _old(folder).exists() and not folder.exists()


def _old(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")


def _check_replaceable(folder: Path, names: Sequence[str]) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise IDModelError(f"{folder} is a file; give a folder")
    foreign = sorted({entry.name for entry in folder.iterdir()} - set(names))
    if foreign:
        raise IDModelError(f"{folder} holds other files ({foreign[0]}, ...) and is not replaced; give a new folder")
