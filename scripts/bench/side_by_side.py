"""What the benches share: RecBole's data and Trainer without a trace in the working directory, clocks and memory."""

import argparse
import logging
import os
import resource
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from hybrid.config.schema import DataConfig
from hybrid.data.known import known_folder
from hybrid.data.prepare import prepare
from hybrid.data.split import TrainingData, split_training
from idmodels.recbole_compat import recbole_class_name, recbole_config, to_recbole
from idmodels.settings import IDSettings

DATASETS = ("ml-100k", "ml-1m")
COLUMNS = {"inter": ["user_id", "item_id", "timestamp"]}


def parser(about: str | None) -> argparse.ArgumentParser:
    """Options that every bench has."""
    made = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--threads", type=int, default=2, help="CPU threads, on both sides")
    made.add_argument("--seed", type=int, default=1)
    return made


def add_model(made: argparse.ArgumentParser) -> None:
    """Options of a bench over a model and a dataset."""
    made.add_argument("--model", choices=("sasrec", "gru4rec"), default="sasrec")
    made.add_argument("--dataset", choices=DATASETS, default="ml-100k")
    made.add_argument("--length", type=int, default=50, help="history length L")


def start(args: argparse.Namespace) -> None:
    """Set the threads, silence RecBole, and say how busy the machine is."""
    torch.set_num_threads(args.threads)
    warnings.simplefilter("ignore")  # RecBole's own, on a current pandas and torch
    logging.disable(logging.WARNING)
    print(f"{args.threads} threads, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start", flush=True)


def recbole_sizes(model: str, length: int) -> IDSettings:
    """RecBole's default sizes of the model."""
    if model == "sasrec":
        return IDSettings("sasrec", max_length=length)
    return IDSettings("gru4rec", max_length=length, layers=1, inner_width=128, dropout=0.3)


def our_data(dataset: str, cache: str) -> TrainingData:
    """Prepared and split as RecBole does it, so that both sides have the same targets."""
    precision = "scaled_float32" if dataset == "ml-100k" else "float32"
    config = DataConfig(dataset=dataset, cache_dir=cache, time_precision=precision)
    return split_training(prepare(config, log=lambda line: None), config, lambda line: None)


def recbole_settings(settings: IDSettings, dataset: str, scratch: str, **overrides: Any) -> Any:
    """RecBole's Config, with full softmax, leave-one-out and its folders in ``scratch``."""
    fixed = {
        "data_path": str(known_folder(dataset).parent),
        "load_col": COLUMNS,
        "checkpoint_dir": str(Path(scratch, "saved")),
        "show_progress": False,
        "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"},
    }
    return recbole_config(recbole_class_name(settings), dataset, to_recbole(settings) | fixed | overrides)


def recbole_trainer(config: Any, scratch: str) -> tuple[Any, Any, Any]:
    """RecBole's Trainer and its train and valid loaders; building them takes minutes on ml-1m."""
    from recbole.data import create_dataset, data_preparation
    from recbole.trainer import Trainer

    with inside(scratch):  # it writes logs where it stands
        train, valid, _ = data_preparation(config, create_dataset(config))
        torch.manual_seed(config["seed"])
        return Trainer(config, config.model_class(config, train.dataset)), train, valid


@contextmanager
def inside(folder: str) -> Iterator[None]:
    """Work in a folder."""
    here = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(here)


def scratch() -> "tempfile.TemporaryDirectory[str]":
    """A folder that goes when the bench is over."""
    return tempfile.TemporaryDirectory(prefix="bench-")


@dataclass
class Clock:
    """Wall-clock and processor seconds of repeated work; on a busy machine the second tells more."""

    wall: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)

    def run(self, work: Callable[[], object]) -> None:
        """Do the work once and note what it took."""
        wall, processor = time.perf_counter(), time.process_time()
        work()
        self.wall.append(time.perf_counter() - wall)
        self.processor.append(time.process_time() - processor)

    def rates(self, amount: float) -> tuple[float, float]:
        """Amount per wall-clock second and per processor second, from the median times."""
        return amount / statistics.median(self.wall), amount / statistics.median(self.processor)


def ratio_line(ours: tuple[float, float], theirs: tuple[float, float]) -> str:
    """Our rates over theirs."""
    return f"ratio {ours[0] / theirs[0]:.1f} (by processor time {ours[1] / theirs[1]:.1f})"


def resident_mb() -> float:
    """Resident memory of this process now, in MB."""
    import psutil

    return float(psutil.Process().memory_info().rss) / 2**20


def peak_mb() -> float:
    """Largest resident memory of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
