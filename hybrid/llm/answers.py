"""The two answer words of a question: their tokens, and their rows of the vocabulary projection.

An answer is told from the other by the first token in which they differ; what both begin with is read as part of the
question. Letters: H width.
"""

import logging
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from hybrid.errors import UserError
from hybrid.llm.backbone import Backbone

HEADS = ("lm_head.weight", "embed_out.weight")
"""Names of the vocabulary projection in checkpoints."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answers:
    """A question that ends where its answers part."""

    question: list[int]
    """Token ids of the question and of what both answers begin with."""
    yes: int
    no: int


def answer_tokens(tokenizer: PreTrainedTokenizerBase, question: str, yes: str, no: str) -> Answers:
    """Tokenise the question with either answer and find the tokens in which they differ.

    Raises UserError where there is none: equal answers, or one that begins with the other.
    """
    with_yes, with_no = (tokenizer(question + word, add_special_tokens=False)["input_ids"] for word in (yes, no))
    shared = len(list(takewhile(lambda pair: pair[0] == pair[1], zip(with_yes, with_no, strict=False))))
    if shared in (len(with_yes), len(with_no)):
        raise UserError(
            f"llm.click_prompt: the answers {yes!r} and {no!r} cannot be told apart by a token: "
            "one is the beginning of the other"
        )
    for word, tokens in ((yes, with_yes), (no, with_no)):
        alone = tokenizer(word, add_special_tokens=False)["input_ids"]
        if len(tokens) - shared > 1 or len(alone) > 1:
            first = tokenizer.decode([tokens[shared]])
            log.info("llm.click_prompt: the answer %r is %d tokens, judged by its %r", word, len(alone), first)
    return Answers(with_yes[:shared], with_yes[shared], with_no[shared])


def answer_rows(backbone: Backbone, tokens: list[int]) -> tuple[Tensor, Tensor]:
    """Rows [tokens, H] and biases [tokens] of the vocabulary projection, float32 on the CPU.

    They are those of the input embeddings where the model shares both, else they are read from its files, and nothing
    else of them. Raises UserError where no projection is found.
    """
    if backbone.model.config.tie_word_embeddings:
        return backbone.embeddings[tokens].detach().float().cpu(), torch.zeros(len(tokens))
    directory = backbone.directory
    for file in sorted(directory.glob("*.safetensors")) if directory is not None else ():
        found = _rows(file, tokens)
        if found is not None:
            return found
    raise UserError(
        f"llm.name: {backbone.name} has no vocabulary projection in a .safetensors file of {directory} "
        f"({' or '.join(HEADS)}); task=ctr needs the rows of its answers"
    )


def logit_scale(backbone: Backbone) -> float:
    """What the model multiplies its logits by (Cohere, Granite)."""
    config = backbone.model.config
    return float(getattr(config, "logit_scale", None) or 1.0) / float(getattr(config, "logits_scaling", None) or 1.0)


def _rows(file: Path, tokens: list[int]) -> tuple[Tensor, Tensor] | None:
    try:
        with safe_open(file, framework="pt") as opened:
            name = next((name for name in HEADS if name in opened.keys()), None)  # noqa: SIM118 - not a dict
            if name is None:
                return None
            weight = opened.get_slice(name)
            rows = torch.cat([weight[token : token + 1] for token in tokens])
            bias = name.replace("weight", "bias")
            biases = opened.get_tensor(bias)[tokens] if bias in opened.keys() else torch.zeros(len(tokens))  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise UserError(f"llm.name: {file} cannot be read: {error}") from None
    return rows.float(), biases.float()
