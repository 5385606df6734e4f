"""The two answer words of a question, and the tokens that tell them apart.

An answer is told from the other by the first token in which they differ; what both begin with is read as part of the
question.
"""

import logging
from dataclasses import dataclass
from itertools import takewhile

from transformers import PreTrainedTokenizerBase

from hybrid.errors import UserError

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
