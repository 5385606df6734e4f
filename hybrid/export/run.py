"""Export of a run's improved ID model."""

from pathlib import Path
from typing import Literal

from hybrid.errors import UserError
from hybrid.training.run_directory import RunDirectory, disk_errors

Format = Literal["safetensors", "recbole", "faiss"]


def export_run(path: Path, form: Format, out: Path | None = None) -> Path:
    """Write the best ID model of the run at ``path`` to ``out`` (``path/export/form``); returns where it is.

    Raises:
        UserError: not a run directory, a run without an ID side, one that is not validated yet, or a full disk.
    """
    from hybrid.export import faiss, recbole, safetensors

    run = RunDirectory(path)
    run.recover()
    if not run.config.exists():
        raise UserError(f"{path}: not a run directory (no config.yaml)")
    if not run.best_id.exists():
        raise UserError(f"{path}: no validated ID model is there; the arm llm_only has none, other runs after an epoch")
    target = out or path / "export" / form
    with disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        {"safetensors": safetensors, "recbole": recbole, "faiss": faiss}[form].export_id_model(run.best_id, target)
    return target
