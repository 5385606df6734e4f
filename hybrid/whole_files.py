"""Files and folders that are there whole or not at all."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_beside(path: Path) -> Iterator[Path]:
    """A file beside ``path`` to write to, which then takes its place; after an error ``path`` is as it was."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        yield beside
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def first_folder(target: Path, proof: str) -> Iterator[Path]:
    """A folder to write into, which becomes ``target`` when the block ends; nothing is left behind after an error.

    Several processes may do so at once: what the first of them wrote stays, and the others' is dropped, so all must
    write the same. ``proof`` is a file of it: a ``target`` without that is no whole one and goes.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-", ignore_cleanup_errors=True) as own:
        fresh = Path(own, "new")  # open to other users of a shared cache, which the temporary folder is not
        fresh.mkdir()
        yield fresh
        if target.exists() and not (target / proof).is_file():
            shutil.rmtree(target)
        try:
            fresh.rename(target)
        except OSError:
            if not (target / proof).is_file():
                raise
