"""Knowledge that the LLM writes about users and items, kept on disk by content.

Each text is remembered under the hash of its request, in one file per language model and length, so that a broken-off
run goes on where it was and other runs, seeds and fractions of the data share what they have in common.
"""

import json
import logging
from collections.abc import Sequence
from pathlib import Path

from filelock import FileLock

from hybrid.errors import UserError
from hybrid.llm.backbone import Backbone
from hybrid.llm.fingerprint import short_hash
from hybrid.llm.generate import greedy
from hybrid.llm.vocabulary import load_vocabulary
from hybrid.progress import progress
from hybrid.whole_files import written_beside

BATCH_TOKENS = 8192
"""Tokens, those to be written included, that are read at once."""
KEPT_BATCHES = 20
"""Batches between two writes of the file."""
log = logging.getLogger(__name__)


def write_knowledge(
    backbone: Backbone, prompts: Sequence[Sequence[int]], new_tokens: int, cache_dir: Path, what: str
) -> list[str]:
    """The LLM's answer to each prompt (token ids) by greedy generation; an empty prompt has an empty answer.

    The backbone must be untuned. Raises UserError where the answers cannot be written down.
    """
    file = cache_dir / "knowledge" / f"{short_hash(backbone.fingerprint, backbone.model.dtype, new_tokens)}.json"
    known = _read(file)
    keys = [short_hash(list(prompt)) for prompt in prompts]
    missing = {key: prompt for key, prompt in zip(keys, prompts, strict=True) if len(prompt) and key not in known}
    if missing:
        log.info("the LLM writes about %d %s (%d known already)", len(missing), what, len(set(keys) & known.keys()))
        _generate(backbone, missing, new_tokens, file, known, what)
    return [known[key] if len(prompt) else "" for key, prompt in zip(keys, prompts, strict=True)]


def room_for_prompt(backbone: Backbone, new_tokens: int) -> int:
    """Tokens of the model's context that are left for a prompt. Raises UserError where there are none."""
    context = backbone.context
    if new_tokens >= context:
        raise UserError(
            f"bridges.knowledge_adapter.new_tokens is {new_tokens}, but {backbone.name} reads {context} tokens in all"
        )
    return context - new_tokens


def _generate(
    backbone: Backbone, missing: dict[str, Sequence[int]], new_tokens: int, file: Path, known: dict[str, str], what: str
) -> None:
    vocabulary = load_vocabulary(backbone)
    batches = _batches(missing, new_tokens)
    for number, batch in enumerate(progress(batches, f"knowledge of {what}", len(batches)), 1):
        answers = greedy(backbone, vocabulary, [missing[key] for key in batch], new_tokens)
        texts = backbone.tokenizer.batch_decode(answers, skip_special_tokens=True)
        known |= {key: " ".join(text.split()) for key, text in zip(batch, texts, strict=True)}
        if number % KEPT_BATCHES == 0 or number == len(batches):
            _write(file, known)


def _batches(prompts: dict[str, Sequence[int]], new_tokens: int) -> list[list[str]]:
    """Keys of prompts of similar length, the longest first."""
    order = sorted(prompts, key=lambda key: -len(prompts[key]))
    batches: list[list[str]] = []
    while order:
        size = max(1, BATCH_TOKENS // (len(prompts[order[0]]) + new_tokens))
        batches.append(order[:size])
        order = order[size:]
    return batches


def _read(file: Path) -> dict[str, str]:
    try:
        return {str(key): str(text) for key, text in json.loads(file.read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, AttributeError):
        return {}  # absent or damaged: written again


def _write(file: Path, known: dict[str, str]) -> None:
    """Write ``known`` and what other processes have written to the file since it was read."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(file.with_suffix(".lock")), written_beside(file) as beside:
            known |= _read(file)
            beside.write_text(json.dumps(known, ensure_ascii=False), encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write knowledge to {file}: {error}; free some space or set data.cache_dir") from None
