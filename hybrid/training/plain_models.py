"""Plain ID models that are trained beside a run, and kept in the cache for every other run that needs the same one.

A joint run has one for its safeguard, and the rows of an ablation and the controls all ask for the same: it depends on
the data, on the ID side's settings and on the seed, and on nothing of the LLM.
"""

import logging
import time
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from torch import Tensor

import hybrid
import idmodels
from hybrid.checkpoint_files import load_tensors, save_tensors
from hybrid.config.schema import Config
from hybrid.errors import UserError
from hybrid.generators import forked_generators
from hybrid.id_models import new_id_model
from hybrid.llm.fingerprint import file_sha256, short_hash
from hybrid.sources import Source
from hybrid.system import System
from hybrid.training.monitor import Monitor
from hybrid.training.source_training import learner_alone, train_source
from hybrid.whole_files import written_beside
from idmodels.contract import IDModel
from idmodels.precision import choose_dtype

log = logging.getLogger(__name__)

LIBRARIES = ("torch", "recbole", "torch-geometric")
"""Whose code trains ID models beside our own."""


def _code() -> str:
    files = [path for package in (hybrid, idmodels) for path in Path(package.__path__[0]).rglob("*.py")]
    return short_hash(*sorted(file_sha256(path) for path in files))


CODE = _code()
"""Of our packages when this one is imported: after a change of either a model is trained anew."""


@dataclass(frozen=True)
class PlainModel:
    """An ID model that was trained alone."""

    model: IDModel
    curve: list[dict[str, float]]
    """Validation metrics of every epoch."""
    cached_s: float = 0.0
    """Seconds that an earlier run took for it; 0: it was trained in this one."""


def plain_model(name: str, system: System, units: int, monitor: Monitor, seed: int) -> PlainModel:
    """A new ID model of the run's settings, drawn and trained with ``seed`` for ``units`` of the schedule at most.

    Read from ``data.cache_dir/plain`` if a run of the same data and settings has trained it before; its curve is shown
    as if it were trained now. The run goes on as if this had not been: it draws no random number of the run's own.
    """
    file = Path(system.config.data.cache_dir, "plain", f"{_key(system, units, seed)}.safetensors")
    with forked_generators(seed, system.device):
        model = new_id_model(system.config.id, system.data, system.device)
        source = Source(name, model, trained=False)
        if (found := _read(file)) is not None:
            return _shown(found, source, system, units, monitor, seed)
        began = time.perf_counter()
        curve = train_source(source, system, units, monitor, seed)
        _write(file, model, curve, time.perf_counter() - began)
    return PlainModel(model, curve)


Kept = tuple[dict[str, Tensor], list[dict[str, float]], float]
"""Weights, curve and training seconds of a file in the cache."""


def _shown(found: Kept, source: Source, system: System, units: int, monitor: Monitor, seed: int) -> PlainModel:
    weights, curve, train_s = found
    source.model.load_state_dict(weights)
    steps = learner_alone(source, system, units, seed).batches_per_epoch()
    for epoch, metrics in enumerate(curve, start=1):
        monitor.scalars(f"valid/source_{source.name}", metrics, epoch * steps)
    log.info("source %s: trained by an earlier run, %d epochs", source.name, len(curve))
    return PlainModel(source.model, curve, cached_s=train_s)


def _key(system: System, units: int, seed: int) -> str:
    """Stands for everything that the model depends on, also what decides how its products are rounded."""
    config, schedule = system.config, system.config.train.schedule
    how = (units, schedule.rounds, schedule.unit, schedule.id_length, seed)
    where = (_processor(config, system.device), torch.get_num_threads(), CODE, *map(_version, LIBRARIES))
    return short_hash(
        system.data.fingerprint, asdict(config.id), asdict(config.train.id), _protocol(config), how, where
    )


def _processor(config: Config, device: torch.device) -> tuple[object, ...]:
    """What decides how products are rounded."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else torch.backends.cpu.get_cpu_capability()
    return device.type, name, choose_dtype(config.train.id.precision, device)


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return "none"


def _protocol(config: Config) -> tuple[object, ...]:
    data, evaluation = config.data, config.evaluation
    return data.split, data.valid_share, data.test_share, evaluation.metric, evaluation.mask_history


def _read(file: Path) -> Kept | None:
    """None where there is none, or a damaged one: it is trained again and written over."""
    if not file.exists():
        return None
    try:
        weights, record = load_tensors(file)
        return weights, record["curve"], float(record["train_s"])
    except (UserError, KeyError):
        return None


def _write(file: Path, model: IDModel, curve: list[dict[str, float]], train_s: float) -> None:
    """Keep it for other runs; where that fails this run goes on without."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with written_beside(file) as beside:
            save_tensors(beside, model.state_dict(), {"curve": curve, "train_s": train_s})
    except OSError as error:
        log.warning("the plain model is not kept for other runs: %s", error)
