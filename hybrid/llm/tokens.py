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
    titles = [f" {' '.join(text.split()) or UNTITLED}" for text in texts]
    encoded = tokenizer(titles, add_special_tokens=False)["input_ids"]
    rows = [separator + ids[:item_tokens] for ids in encoded]
    counts = np.array([len(row) for row in rows], dtype=np.int64)
    return np.fromiter((token for row in rows for token in row), dtype=np.int64, count=int(counts.sum())), counts
