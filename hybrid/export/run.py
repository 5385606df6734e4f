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
    run.recover_unless_held()
    run.check()
    from hybrid.system import ID, LLM

    config = run.read_config()
    if config.task == "ctr":
        places = {"click model is in": run.best_id / ID, "adapter is a PEFT directory already:": run.best_llm / LLM}
        there = [f"its {what} {place}" for what, place in places.items() if place.exists()]
        raise UserError(
            f"{path}: {form} is a form of models that rank the catalogue, this run judges clicks; "
            f"{', '.join(there) or 'it has not been validated yet'}"
        )
    if config.arm == "llm_only":
        mixed = config.llm.scorer.kind == "candidate_likelihood"
        raise UserError(
            f"{path}: the arm llm_only trains no ID model, and {form} is a form of one; "
            f"its adapter is a PEFT directory already: {run.best_llm if mixed else run.best_llm / LLM}"
        )
    if not run.best_id.exists():
        raise UserError(f"{path}: no ID model has been validated yet; there is one after the run's first ID epoch")
    target = out or path / "export" / form
    with disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        {"safetensors": safetensors, "recbole": recbole, "faiss": faiss}[form].export_id_model(run.best_id, target)
    return target
