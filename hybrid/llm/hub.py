"""A model of the Hugging Face hub as a local directory."""

from pathlib import Path

from hybrid.errors import UserError

ANSWER_S = 10
OFFLINE_WAYS = "without a network use smollm2-135m (bundled), a local model directory or a .gguf file"


def hub_directory(name: str, revision: str, setting: str = "llm.name", otherwise: str = OFFLINE_WAYS) -> Path:
    """Download hub model ``name`` (or find it in the hub's cache) and return its directory.

    Messages name ``setting``, which names the model, and ``otherwise``, what may stand there instead. One request with
    a short time limit asks whether the hub has it, so that a wrong name or a missing network is said within seconds.
    HF_HUB_OFFLINE is respected. Raises UserError with the reason otherwise.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.constants import HF_HUB_OFFLINE
    from huggingface_hub.errors import HFValidationError

    try:
        files = None if HF_HUB_OFFLINE else _listing(name, revision)
        problem = "HF_HUB_OFFLINE is set" if files is None else ""
    except HFValidationError:
        raise UserError(f"{setting}: {name!r} is neither a file, a directory nor a hub id; {otherwise}") from None
    except Exception as error:  # the HTTP library's error types change between releases of the hub client
        _refuse_if_answered(error, name, revision, setting, otherwise)
        files, problem = None, f"the hub cannot be reached ({' '.join(str(error).split())[:120]})"
    try:
        return Path(
            snapshot_download(name, revision=revision, local_files_only=files is None, allow_patterns=_wanted(files))
        )
    except Exception as error:  # as above; also a connection that breaks, or a full disk
        problem = problem or f"the download failed ({' '.join(str(error).split())[:200]})"
        raise UserError(f"{setting}: {name!r} is not in the hub's local cache and {problem}; {otherwise}") from None


def _listing(name: str, revision: str) -> list[str]:
    from huggingface_hub import HfApi

    siblings = HfApi().model_info(name, revision=revision, timeout=ANSWER_S).siblings or []
    return [sibling.rfilename for sibling in siblings]


def _refuse_if_answered(error: Exception, name: str, revision: str, setting: str, otherwise: str) -> None:
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    if isinstance(error, GatedRepoError):
        raise UserError(
            f"{setting}: {name!r} is gated; ask for access on the hub and log in with `hf auth login`"
        ) from None
    if isinstance(error, RevisionNotFoundError):
        where = "llm.revision" if setting == "llm.name" else setting
        raise UserError(f"{where}: {name!r} has no revision {revision!r}") from None
    if isinstance(error, RepositoryNotFoundError):
        raise UserError(f"{setting}: the hub has no model {name!r} (or it is private); {otherwise}") from None


def _wanted(files: list[str] | None) -> list[str]:
    """Weights in one format only, safetensors where there is a choice."""
    text = ["*.json", "*.model", "*.txt", "*.jinja"]
    if files is not None and not any(name.endswith(".safetensors") for name in files):
        return [*text, "*.bin"]
    return [*text, "*.safetensors"]
