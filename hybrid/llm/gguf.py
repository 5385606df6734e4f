"""A GGUF file, converted once into an ordinary model directory (safetensors and tokenizer)."""

import io
import logging
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from hybrid.errors import UserError
from hybrid.llm.own_code import refuse_code
from hybrid.llm.quiet import quiet_transformers
from hybrid.whole_files import first_folder

_log = logging.getLogger("hybrid.llm")
FINAL_FILE = "config.json"


def convert_gguf(source: Path, target: Path) -> Path:
    """Dequantise ``source`` into the directory ``target``, unless that is there; returns ``target``.

    Weights are stored in bfloat16: its rounding (2^-9) is far below that of the 4 to 8 bits they come from, and it
    loads as fast as it is read. Raises UserError where transformers cannot read the file or the disk is full.
    """
    if (target / FINAL_FILE).is_file():
        return target
    _log.info("converting %s once to %s", source.name, target)
    model, tokenizer = _read(source)
    try:
        with first_folder(target, FINAL_FILE) as fresh:
            _write(model, tokenizer, fresh)
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"cannot write the converted model to {target}: {error}; free some space or set data.cache_dir"
        ) from None
    return target


def _read(source: Path) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    refuse_code(source.parent)
    place: dict[str, Any] = {"pretrained_model_name_or_path": str(source.parent), "gguf_file": source.name}
    place["trust_remote_code"] = False
    try:
        with quiet_transformers(), redirect_stderr(io.StringIO()):  # this reader's bar has no switch
            whole = AutoModelForCausalLM.from_pretrained(**place, dtype=torch.float32, **_dequantize())
            # A head that is the input embeddings is not written a second time.
            model = whole.base_model if whole.config.tie_word_embeddings else whole
            return model, AutoTokenizer.from_pretrained(**place)
    except Exception as error:  # transformers and gguf raise nearly every type for a broken or unknown file
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"llm.name: {source} cannot be read as a GGUF model: {reason}") from None


def _dequantize() -> dict[str, Any]:
    import transformers

    config = getattr(transformers, "GgufConfig", None)  # versions without it always dequantise
    return {} if config is None else {"quantization_config": config(dequantize=True)}


def _write(model: Any, tokenizer: Any, directory: Path) -> None:
    # save_pretrained refuses a model that came from a GGUF file, even a dequantised one.
    weights = {name: tensor.to(torch.bfloat16).contiguous() for name, tensor in model.state_dict().items()}
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    tokenizer.save_pretrained(directory)
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.config.dtype = torch.bfloat16
    model.config.save_pretrained(directory)
