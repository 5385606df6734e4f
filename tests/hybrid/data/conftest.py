"""Tiny raw datasets in a temporary folder."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from hybrid.config.schema import DataConfig

HEADER = ("user_id:token", "item_id:token", "rating:float", "timestamp:float")


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write rows of fields, joined by tabs (or commas), under a header; returns the file."""

    def write_file(name: str, rows: Sequence[Sequence[object]], header: Sequence[str] = HEADER) -> Path:
        separator = "," if name.endswith(".csv") else "\t"
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(separator.join(map(str, row)) + "\n" for row in [header, *rows]), encoding="utf-8")
        return path

    return write_file


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., DataConfig]:
    """A config whose cache lies in the temporary folder."""

    def make(dataset: object, **changes: object) -> DataConfig:
        return DataConfig(dataset=str(dataset), cache_dir=str(tmp_path / "cache"), **changes)

    return make
