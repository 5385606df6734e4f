"""The run directory: what is where, and files that are either whole or absent."""

import json
import os
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from hybrid.config.load import build_config, dump_config, merge, nest, read_yaml
from hybrid.config.schema import Config
from hybrid.data.known import KNOWN
from hybrid.errors import UserError
from hybrid.whole_files import written_beside
from idmodels.folders import is_interrupted, recover_folder, replaced_folder


class RunDirectory:
    """Paths of a run: config, environment, checkpoints, best models, log."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.environment = path / "environment.json"
        self.checkpoints = path / "checkpoints"
        self.best_id = path / "best" / "id"
        self.best_llm = path / "best" / "llm"
        self.best_id_training = path / "best" / "id_training.safetensors"
        self.metrics = path / "metrics.jsonl"
        self.finished = path / "finished.json"
        self.time = path / "time.json"
        self.log = path / "log.txt"

    def best_metrics(self, side: str) -> Path:
        """The validation that a side is kept from, with its step."""
        return self.path / "best" / f"{side}.json"

    def create(self, config: Config, dataset_fingerprint: str) -> None:
        """Make the directory of a new run.

        Raises:
            UserError: a run is there already, or the directory can't be written.
        """
        if self.config.exists():
            raise UserError(f"{self.path}: a run is there already; go on with --resume or choose another name=")
        with disk_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            write_json(self.environment, environment(dataset_fingerprint))
            write_text(self.config, dump_config(config))

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes from training here; a process that dies lets go.

        Raises:
            UserError: another process trains here, or the directory can't be written.
        """
        lock = FileLock(self.path / "training.lock", blocking=False)
        with disk_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire()
            except Timeout:
                message = f"{self.path}: another process is training this run; wait for it, or choose another name="
                raise UserError(message) from None
        try:
            yield
        finally:
            lock.release()

    def check(self) -> None:
        """Raise UserError where no run is here; the runs in the folders below are named."""
        if self.config.exists():
            return
        below = sorted({config.parent for depth in ("*", "*/*") for config in self.path.glob(f"{depth}/config.yaml")})
        hint = f"; the runs in it: {', '.join(map(str, below))}" if below else ""
        raise UserError(f"{self.path}: not a run directory (no config.yaml){hint}")

    def recover(self) -> None:
        """Put back a best model whose replacement was interrupted between its two renames."""
        for target in (self.best_id, self.best_llm):
            recover_folder(target)

    def recover_unless_held(self) -> None:
        """`recover` for those who only read.

        Raises:
            UserError: a process that trains here may be amid that replacement, or the directory can't be written.
        """
        if not (is_interrupted(self.best_id) or is_interrupted(self.best_llm)):
            return
        try:
            with self.held():
                self.recover()
        except UserError as error:
            raise UserError(f"{self.path}: a best model is not whole at the moment; try again ({error})") from None

    def read_config(self) -> Config:
        """The config of the run; its relative paths are those of the directory that it was started in.

        Where its data are there no more, but are here, a folder was moved or copied, and those here are meant.
        """
        tree = read_yaml(self.config)
        config = build_config(tree)
        started = read_json(self.environment).get("directory") if self.environment.exists() else None
        if started in (None, str(Path.cwd())):  # none: written before this was kept
            return config
        for key, place in _places(config).items():
            merge(tree, nest(key, _located(started, key, place)))
        return build_config(tree)

    def output_dir(self, config: Config) -> str:
        """The ``output_dir`` under which the config of this run is found here, from any directory."""
        home, name = self.path.resolve(), Path(config.name).parts
        if Path(config.output_dir, config.name).resolve() == home or home.parts[-len(name) :] != name:
            return config.output_dir
        return str(home.parents[len(name) - 1])

    def dataset_fingerprint(self) -> str:
        """Fingerprint of the dataset that the run was started on."""
        return str(read_json(self.environment)["dataset_fingerprint"])


def places_of_run(file: Path, resume: bool) -> list[str]:
    """Overrides that make a run's own config.yaml mean the same from any directory; none for another yaml file.

    Its data are found from anywhere; with ``resume`` the run itself too.
    """
    run = RunDirectory(file.parent)
    if file.name != run.config.name or not file.is_file() or not run.environment.exists():
        return []
    saved, found = build_config(read_yaml(file)), run.read_config()
    before, now = _places(saved), _places(found)
    if resume:
        before, now = before | {"output_dir": saved.output_dir}, now | {"output_dir": run.output_dir(saved)}
    return [f"{key}={json.dumps(now[key], ensure_ascii=False)}" for key in now if now[key] != before[key]]


def _places(config: Config) -> dict[str, str | tuple[str, ...]]:
    """The settings of what a run reads that are paths, or may be."""
    return {
        "data.dataset": config.data.dataset,
        "data.item_file": config.data.item_file,
        "data.cache_dir": config.data.cache_dir,
        "llm.name": config.llm.name,
        "llm.item_encoder": config.llm.item_encoder,
        "llm.shared_encoder": config.llm.shared_encoder,
        "bridges.mformer.sources": config.bridges.mformer.sources,
        "instruct.references": config.instruct.references,
    }


def _located(started: str, key: str, place: str | tuple[str, ...]) -> str | tuple[str, ...]:
    """What a place of `_places` means in the directory that the run was started in."""
    if isinstance(place, tuple):
        return tuple(_if_there(started, name) for name in place)
    if key in ("data.dataset", "data.item_file"):
        is_name = key == "data.dataset" and place in KNOWN
        return place if is_name else _from(started, place)
    return _if_there(started, place)


def _if_there(started: str, place: str) -> str:
    """A name that may be a path: the path if there is one where the run was started."""
    there = Path(started, Path(place).expanduser())
    return str(there) if place and there.exists() else place


def _from(started: str, place: str) -> str:
    here = Path(place).expanduser()
    there = Path(started) / here
    return str(there) if place and (there.exists() or not here.exists()) else place


def environment(dataset_fingerprint: str) -> dict[str, Any]:
    """What a later reader needs to repeat the run: versions, machine, dataset, and where it was started."""
    packages = {}
    for name in ("hybridrec", "torch", "transformers", "peft", "recbole", "numpy", "safetensors"):
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = "absent"
    return {
        "dataset_fingerprint": dataset_fingerprint,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "packages": packages,
        "command": sys.argv[1:],
        "directory": str(Path.cwd()),
    }


@contextmanager
def disk_errors(where: Path) -> Iterator[None]:
    """A full or read-only disk as one clear line."""
    try:
        yield
    except OSError as error:
        raise UserError(
            f"{where}: can't write: {error.strerror or error}; what was there before is untouched"
        ) from None


def replace_directory(target: Path, fill: Callable[[Path], None]) -> None:
    """Let ``fill`` write into a new directory beside ``target``, then put it in its place.

    Raises:
        UserError: the disk is full or can't be written; ``target`` is as it was.
    """
    with disk_errors(target), replaced_folder(target) as fresh:
        fill(fresh)


def write_text(path: Path, text: str) -> None:
    """Write a file beside ``path``, then rename it; UserError where the disk is full, ``path`` is as it was then."""
    with disk_errors(path), written_beside(path) as beside:
        beside.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """`write_text` of indented JSON."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Parse a JSON file; UserError where it is missing or broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: not found; is this a run directory?") from None
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: not valid JSON at line {error.lineno}") from None
