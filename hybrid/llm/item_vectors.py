"""One vector per item from its text, by the LLM; those of the untuned LLM are kept on disk by content.

The text follows a short opening, so that the first token's outsized state, which every causal LM has, falls on the
opening and not on the text. Letters: N items (row 0 is padding), H width, T tokens, B batch.
"""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from hybrid.errors import UserError
from hybrid.llm.adapter import is_untuned, without_adapter
from hybrid.llm.fingerprint import short_hash
from hybrid.llm.recommender import LLMRecommender
from hybrid.llm.tokens import text_tokens
from hybrid.modes import inference
from hybrid.progress import progress
from hybrid.whole_files import written_beside

OPENING = "Item:"
BATCH_TOKENS = 4096


@dataclass(frozen=True)
class Encoding:
    """How a text becomes a vector."""

    pooling: Literal["mean", "suffix"] = "mean"
    """mean of the text's token states, or the state of the suffix token after the text."""
    tokens: int = 32
    """Tokens kept of a text."""


def encode_items(
    recommender: LLMRecommender, texts: Sequence[str], encoding: Encoding, cache_dir: Path | None = None
) -> Tensor:
    """Vectors of ``texts`` [N], [N, H] float32 on the CPU; row 0 and items without text get the mean of the others.

    With ``cache_dir`` those of an untuned LLM are read from ``cache_dir/vectors`` if the same texts were encoded by it
    before. A tuned LLM has its vectors in the checkpoint; here hardly anybody would ask for them again. An adapter that
    has learned to read items as vectors knows nothing of texts and is set aside.
    """
    with without_adapter(recommender.lm) if recommender.reader is not None else nullcontext():
        return _encode_or_read(recommender, texts, encoding, cache_dir)


def _encode_or_read(
    recommender: LLMRecommender, texts: Sequence[str], encoding: Encoding, cache_dir: Path | None
) -> Tensor:
    if recommender.reader is None and not is_untuned(recommender.lm):
        return _encode(recommender, texts, encoding)
    file = cache_dir / "vectors" / f"{_key(recommender, texts, encoding)}.safetensors" if cache_dir else None
    vectors = read_vectors(file, (len(texts), recommender.backbone.width)) if file else None
    if vectors is None:
        vectors = _encode(recommender, texts, encoding)
        if file:
            write_vectors(file, vectors)
    return vectors


def _encode(recommender: LLMRecommender, texts: Sequence[str], encoding: Encoding) -> Tensor:
    known = np.array([number for number, text in enumerate(texts) if number and text.strip()], dtype=np.int64)
    if not len(known):
        raise UserError("no item has a text, so the LLM has nothing to make item vectors from; see data.text_fields")
    opening, rows = _tokens(recommender, [texts[number] for number in known], encoding.tokens)
    vectors = torch.zeros(len(texts), recommender.backbone.width)
    batches = list(_batches(np.array([len(row) for row in rows]) + len(opening)))
    with inference(recommender):
        for batch in progress(batches, "item vectors", len(batches)):
            vectors[known[batch]] = _pool(recommender, opening, [rows[number] for number in batch], encoding).cpu()
    missing = np.setdiff1d(np.arange(len(texts)), known)
    vectors[missing] = vectors[known].mean(dim=0)
    return vectors


def _pool(recommender: LLMRecommender, opening: list[int], rows: list[list[int]], encoding: Encoding) -> Tensor:
    device = recommender.suffix.device
    ends = torch.tensor([len(opening) + len(row) for row in rows], device=device)  # [B]
    tokens = torch.full((len(rows), int(ends.max()) + 1), opening[0])  # the last column is room for the suffix
    for number, row in enumerate(rows):
        tokens[number, : len(opening) + len(row)] = torch.tensor([*opening, *row])
    embeddings = recommender.embed(tokens.to(device))
    every = torch.arange(len(rows), device=device)
    if encoding.pooling == "suffix":
        embeddings[every, ends] = recommender.suffix.to(embeddings.dtype)
    states = recommender.hidden(embeddings).float()  # [B, T, H]
    if encoding.pooling == "suffix":
        return states[every, ends]
    time = torch.arange(tokens.shape[1], device=device)
    is_text = (time >= len(opening)) & (time < ends[:, None])  # [B, T]
    return (states * is_text[:, :, None]).sum(dim=1) / (ends - len(opening))[:, None]


def _tokens(recommender: LLMRecommender, texts: list[str], most: int) -> tuple[list[int], list[list[int]]]:
    tokenizer = recommender.backbone.tokenizer
    return tokenizer(OPENING)["input_ids"], text_tokens(tokenizer, texts, most)


def _batches(lengths: np.ndarray) -> Iterator[np.ndarray]:
    """Texts of similar length, about BATCH_TOKENS tokens at a time, the longest first."""
    order = np.argsort(-lengths, kind="stable")
    begin = 0
    while begin < len(order):
        size = max(1, BATCH_TOKENS // int(lengths[order[begin]]))
        yield order[begin : begin + size]
        begin += size


def _key(recommender: LLMRecommender, texts: Sequence[str], encoding: Encoding) -> str:
    backbone = recommender.backbone
    suffix = recommender.suffix.tolist() if encoding.pooling == "suffix" else ""
    how = (encoding.pooling, encoding.tokens, suffix)
    return short_hash(OPENING, *texts, backbone.fingerprint, backbone.model.dtype, *how)


def read_vectors(file: Path, shape: tuple[int, int]) -> Tensor | None:
    """Vectors kept in ``file``; None where there are none of this shape."""
    try:
        vectors = load_file(file)["vectors"]
    except (OSError, SafetensorError, KeyError):
        return None  # absent or damaged: computed again and overwritten
    return vectors if vectors.shape == shape else None


def write_vectors(file: Path, vectors: Tensor) -> None:
    """Keep vectors in ``file``, whole or not at all; UserError where that fails."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with written_beside(file) as beside:
            save_file({"vectors": vectors.contiguous()}, beside)
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"cannot write item vectors to {file}: {error}; free some space or set data.cache_dir"
        ) from None
