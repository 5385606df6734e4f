"""From what the user typed as `data.dataset` to the files it means."""

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from hybrid.config.schema import DataConfig
from hybrid.data.dataset import META_FILE
from hybrid.data.known import KNOWN, known_folder
from hybrid.errors import UserError

INTERACTION_ENDINGS = (".inter", ".csv", ".parquet")


@dataclass(frozen=True)
class Source:
    """The files of a raw dataset, or the folder of a prepared one."""

    name: str
    interactions: Path
    items: Path | None
    is_prepared: bool = False


def find_source(config: DataConfig) -> Source:
    """Known names come first (write ./ml-100k for a folder of that name). Raises UserError with the nearest name."""
    if config.dataset in KNOWN:
        return _atomic_folder(known_folder(config.dataset), config)
    path = Path(config.dataset).expanduser()
    if not path.exists():
        raise UserError(f"no dataset {config.dataset!r}{_nearest_path(path)}")
    if (path / META_FILE).is_file():
        return Source(path.name, path, None, is_prepared=True)
    if path.is_dir():
        return _atomic_folder(path.resolve(), config)
    if path.suffix not in INTERACTION_ENDINGS:
        raise UserError(f"{path}: not an interaction file; accepted endings: {', '.join(INTERACTION_ENDINGS)}")
    return Source(path.stem, path, _item_file(path, config))


def _atomic_folder(folder: Path, config: DataConfig) -> Source:
    named = folder / f"{folder.name}.inter"
    found = [named] if named.is_file() else sorted(folder.glob("*.inter"))
    if len(found) != 1:
        what = f"several .inter files ({', '.join(path.name for path in found)})" if found else "no .inter file"
        raise UserError(f"{folder} has {what}; name the file itself in data.dataset")
    return Source(folder.name, found[0], _item_file(found[0], config))


def _item_file(interactions: Path, config: DataConfig) -> Path | None:
    if config.item_file:
        path = Path(config.item_file).expanduser()
        if not path.is_file():
            raise UserError(f"data.item_file: no file {config.item_file!r}{_nearest_path(path)}")
        return path
    beside = interactions.with_suffix(".item")
    return beside if interactions.suffix == ".inter" and beside.is_file() else None


def _nearest_path(path: Path) -> str:
    """The most alike name in the same folder, a known dataset, or what is accepted."""
    parent = path.parent if path.parent.is_dir() else Path()
    beside = [entry.name for entry in parent.iterdir()]
    close = get_close_matches(path.name, [*beside, *KNOWN], n=1)
    if not close:
        return f"; accepted: {', '.join(KNOWN)}, or the path of a folder, .inter, .csv or .parquet file"
    return f"; did you mean {str(parent / close[0]) if close[0] in beside else close[0]!r}?"
