"""Content hashes of model files, computed once per file and remembered."""

import hashlib
import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from torch import Tensor

from hybrid.whole_files import written_beside

CONTENT = ("*.safetensors", "*.bin", "*.json", "*.model")
MEMORY = "hashes.json"
CONFIGS = ("config.json", "generation_config.json")
WRITTEN_BY = "transformers_version"
"""Key of configs that says which release wrote them: the same model has another one on another machine."""


def file_sha256(path: Path) -> str:
    """Hex digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def directory_hash(directory: Path, cache_dir: Path) -> str:
    """Hash of the weights, config and tokenizer in ``directory``; each file is read again only after it has changed."""
    memory_file = cache_dir / "llm" / MEMORY
    known = _read(memory_file)
    digest, current = hashlib.sha256(), dict(known)
    for path in sorted({path for pattern in CONTENT for path in directory.glob(pattern)}):
        stat = path.stat()
        key = f"{path.resolve()}|{stat.st_size}|{stat.st_mtime_ns}{'|content' if path.name in CONFIGS else ''}"
        current[key] = current.get(key) or _content_sha256(path)
        digest.update(f"{path.name} {current[key]}\n".encode())
    if current != known:
        _write(memory_file, current)
    return digest.hexdigest()


def _content_sha256(path: Path) -> str:
    """`file_sha256`; of a config what it says of the model."""
    if path.name not in CONFIGS:
        return file_sha256(path)
    try:
        config = {key: value for key, value in json.loads(path.read_bytes()).items() if key != WRITTEN_BY}
    except (ValueError, AttributeError):
        return file_sha256(path)  # broken; whoever loads it says so
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def weights_hash(weights: Iterable[tuple[str, Tensor]]) -> str:
    """Hash of names and float32 values."""
    digest = hashlib.sha256()
    for name, tensor in weights:
        digest.update(name.encode())
        digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def short_hash(*parts: object) -> str:
    """16 hex digits that stand for ``parts`` together."""
    return hashlib.sha256(json.dumps([str(part) for part in parts]).encode()).hexdigest()[:16]


def _read(path: Path) -> dict[str, str]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}  # only a shortcut: without it the files are hashed again


def _write(path: Path, hashes: dict[str, str]) -> None:
    with suppress(OSError):  # as above
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_beside(path) as beside:
            beside.write_text(json.dumps(hashes, indent=1), encoding="utf-8")
