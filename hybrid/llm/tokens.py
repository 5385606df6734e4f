"""Token ids of the fixed parts of a prompt and of item titles."""

from collections.abc import Sequence

import numpy as np
from transformers import PreTrainedTokenizerBase

from hybrid.errors import UserError

SEPARATOR = "\n-"
UNTITLED = "(untitled)"


def leading_tokens(tokenizer: PreTrainedTokenizerBase, text: str, setting: str) -> tuple[list[int], list[int]]:
    """Token ids that the tokenizer puts before any text (BOS, mostly none), and those of ``text``.

    Raises UserError that names ``setting``, where the text comes from, if there are none.
    """
    plain = tokenizer(text, add_special_tokens=False)["input_ids"]
    if not plain:
        raise UserError(f"{setting} is empty; the prompt needs some text before the history")
    dressed = tokenizer(text)["input_ids"]
    return dressed[: dressed.index(plain[0])], plain


def title_tokens(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], item_tokens: int
) -> tuple[np.ndarray, np.ndarray]:
    """Ids of ``\\n- title`` for every item, end to end, and their counts [N]; a title keeps ``item_tokens`` tokens."""
    separator = tokenizer(SEPARATOR, add_special_tokens=False)["input_ids"]
    titles = [text if text.strip() else UNTITLED for text in texts]
    rows = [separator + ids for ids in text_tokens(tokenizer, titles, item_tokens)]
    counts = np.array([len(row) for row in rows], dtype=np.int64)
    return np.fromiter((token for row in rows for token in row), dtype=np.int64, count=int(counts.sum())), counts


def text_tokens(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], most: int) -> list[list[int]]:
    """Ids of the first ``most`` tokens of each text, read as one line with single blanks after a first one.

    Only the beginning of a long text is tokenised: so many words that its end is far from the tokens that are kept.
    """
    n_words = 2 * most + 2
    begun = [_words(text, n_words) for text in texts]
    rows = _encode(tokenizer, begun)
    # A word may have no token of its own: where too few came of the beginning, the whole text is read.
    short = [number for number, row in enumerate(rows) if len(row) < most and begun[number] != _words(texts[number])]
    for number, row in zip(short, _encode(tokenizer, [_words(texts[number]) for number in short]), strict=True):
        rows[number] = row
    return [row[:most] for row in rows]


def _words(text: str, most: int | None = None) -> str:
    words = text.split() if most is None else text.split(maxsplit=most)[:most]
    return f" {' '.join(words)}"


def _encode(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[list[int]]:
    return list(tokenizer(texts, add_special_tokens=False)["input_ids"]) if texts else []
