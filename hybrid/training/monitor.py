"""What a run shows: TensorBoard, ``metrics.jsonl`` and the log.

Tags: ``train/id/*``, ``train/llm/*`` and ``valid/id/*``, ``valid/llm/*`` over each side's own steps, ``exchange/*``
over the steps of both together. TensorBoard keeps the wall time of every point too.
"""

import json
import os
import shutil
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from hybrid.training.run_directory import disk_errors

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PROJECTOR_ITEMS = 5000
"""Items shown in the projector; more make the page slow."""
PROJECTOR_STEP = 0
"""The projector shows one state of a run, its last."""


class Monitor:
    """Writes scalars, texts, embeddings and hyper-parameters of one run.

    Args:
        directory: the run directory.
        sizes: file sizes of a checkpoint (`sizes`); what was written after it is cut off, so that a resumed run
            has no point twice.
    """

    def __init__(self, directory: Path, sizes: Mapping[str, int] | None = None) -> None:
        self.directory = directory
        self.metrics = directory / "metrics.jsonl"
        cut_back(directory, sizes or {})
        threading.excepthook = _thread_failed
        with disk_errors(directory):
            self.writer = SummaryWriter(str(directory), flush_secs=20)

    def scalars(self, prefix: str, values: Mapping[str, float], step: int) -> None:
        """One point of each curve ``prefix/name``."""
        with disk_errors(self.directory):
            for name, value in values.items():
                self.writer.add_scalar(f"{prefix}/{name}", value, step)

    def record(self, event: str, values: Mapping[str, Any]) -> None:
        """One line of ``metrics.jsonl``."""
        with disk_errors(self.metrics), self.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"event": event, **values}, ensure_ascii=False) + "\n")

    def text(self, tag: str, text: str, step: int) -> None:
        """A markdown text."""
        with disk_errors(self.directory):
            self.writer.add_text(tag, text, step)

    def figure(self, tag: str, figure: "Figure", step: int) -> None:
        """A drawing by matplotlib."""
        with disk_errors(self.directory):
            self.writer.add_figure(tag, figure, step)

    def projector(self, tag: str, vectors: Tensor, titles: list[str]) -> None:
        """Item vectors [N, D] with titles; the padding row is left out."""
        labels = [
            title.replace("\n", " ").replace("\t", " ") or "(no text)" for title in titles[1 : PROJECTOR_ITEMS + 1]
        ]
        shown = vectors[1 : PROJECTOR_ITEMS + 1].float().cpu()
        with disk_errors(self.directory):
            self.writer.add_embedding(shown, labels, tag=tag, global_step=PROJECTOR_STEP)

    def hyperparameters(self, settings: Mapping[str, Any], results: Mapping[str, float]) -> None:
        """Settings and final metrics for the HPARAMS tab; `add_hparams` would open another run directory for them."""
        plain = {key: value if isinstance(value, bool | int | float) else str(value) for key, value in settings.items()}
        with disk_errors(self.directory):
            for summary in hparams(plain, dict(results)):
                self.writer._get_file_writer().add_summary(summary)
            for name, value in results.items():
                self.writer.add_scalar(name, value)

    def sizes(self) -> dict[str, int]:
        """Bytes written so far, by file name; part of a checkpoint."""
        with disk_errors(self.directory):
            self.writer.flush()
        return {path.name: path.stat().st_size for path in _logs(self.directory)}

    def close(self) -> None:
        """Flush and close."""
        with disk_errors(self.directory):
            self.writer.close()


def _thread_failed(failure: threading.ExceptHookArgs) -> None:
    """TensorBoard's thread hands its OSError to the next call of the writer; Python would print it as well."""
    if not isinstance(failure.exc_value, OSError):
        threading.__excepthook__(failure)


def cut_back(directory: Path, sizes: Mapping[str, int]) -> None:
    """Cut the logs in ``directory`` to the given sizes; logs that are not named go, and so do item embeddings."""
    for path in _logs(directory):
        if path.name in sizes:
            os.truncate(path, min(sizes[path.name], path.stat().st_size))
        else:
            path.unlink()

    _remove_projector(directory)


def _remove_projector(directory: Path) -> None:
    """Item embeddings are written by a run's last lines only; TensorBoard's writer would add to older ones."""
    shutil.rmtree(directory / f"{PROJECTOR_STEP:05d}", ignore_errors=True)  # the name is the writer's
    (directory / "projector_config.pbtxt").unlink(missing_ok=True)


def _logs(directory: Path) -> list[Path]:
    return [*directory.glob("events.out.tfevents.*"), *directory.glob("metrics.jsonl")]
