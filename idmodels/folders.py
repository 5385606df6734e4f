"""Folders that are there complete or not at all."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from idmodels.errors import IDModelError


@contextmanager
def complete_folder(folder: Path, names: Sequence[str]) -> Iterator[Path]:
    """A temporary folder to write the files ``names`` into; it takes the place of ``folder`` when the block ends.

    After an error inside the block ``folder`` is as it was. Raises IDModelError where ``folder`` is a file or holds
    anything but ``names``, so that nobody's other files are lost.
    """
    _check_replaceable(folder, names)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        fresh, old = Path(scratch, "new"), Path(scratch, "old")
        fresh.mkdir()
        yield fresh
        if folder.exists():
            os.replace(folder, old)
        os.replace(fresh, folder)


def _check_replaceable(folder: Path, names: Sequence[str]) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise IDModelError(f"{folder} is a file; give a folder")
    foreign = sorted({entry.name for entry in folder.iterdir()} - set(names))
    if foreign:
        raise IDModelError(f"{folder} holds other files ({foreign[0]}, ...) and is not replaced; give a new folder")
