"""Item vectors that count words, in the place of the language model's: what a text says without anybody who reads it.

Letters: N items (row 0 is padding), H width of the language model.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from hybrid.errors import UserError

BAG_OF_WORDS = "bag-of-words"
"""What ``llm.item_encoder`` and ``llm.shared_encoder`` call them."""

SETTINGS = "llm.item_encoder or llm.shared_encoder"
"""What may have named an encoder, for messages."""
UNSPACED = "\u0e00-\u0eff\u3005\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9d\U00020000-\U0003ffff"
WORD = rf"(?=\w)[{UNSPACED}]|[^\W{UNSPACED}]+"
"""Letters and digits in a row; in scripts without spaces between words (Thai, Lao, Chinese, Japanese) a character."""


def count_words(texts: Sequence[str], width: int) -> Tensor:
    """Vectors of ``texts`` [N], [N, H] float32; row 0 and items without a word get the mean of the others.

    Latent semantic analysis (Deerwester et al., 1990): the largest H = ``width`` singular directions of the words'
    tf-idf with logarithmic counts; where there are fewer, zeros follow. Raises UserError where no text has a word.
    """
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = TfidfVectorizer(sublinear_tf=True, token_pattern=WORD)
    try:
        words.fit([text for text in texts[1:] if text.strip()])
    except ValueError:  # an empty vocabulary
        raise UserError(f"{SETTINGS}: {BAG_OF_WORDS}: no item text has a word; see data.text_fields") from None
    weights = words.transform(["", *texts[1:]])
    rank = min(width, *weights.shape)
    vectors = torch.zeros(len(texts), width)
    one_word = weights.shape[1] == 1
    reduced = weights.toarray() if one_word else TruncatedSVD(rank, random_state=0).fit_transform(weights)
    vectors[:, :rank] = torch.from_numpy(reduced).float()
    told = torch.from_numpy(np.asarray(weights.sum(axis=1)).ravel() > 0)
    vectors[~told] = vectors[told].mean(dim=0)
    return vectors
