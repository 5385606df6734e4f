"""Item texts of which only the beginning is tokenised have the tokens of the whole text."""

import random

import pytest
from transformers import PreTrainedTokenizerFast

from hybrid.llm.tiny import tiny_tokenizer
from hybrid.llm.tokens import text_tokens, title_tokens

PIECES = [
    "the",
    "Straße",
    "e\u0301",
    "\u0301",
    "naïve",
    "東京",
    "\u200b",
    "a-b",
    "12,5",
    "don't",
    "…",
    "🙂",
    "\x00",
    "x" * 40,
]
BLANKS = [" ", "  ", "\n", "\t", "\u00a0", "\u3000"]


def learned_tokenizer(model, trainer, pre_tokenizer, normalizer=None):
    """A tokenizer trained on a few texts of the pieces, in which several letters make a token."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizer
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.train_from_iterator(texts(50, seed=5), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def tokenizers():
    from tokenizers import models, normalizers, pre_tokenizers, trainers

    yield tiny_tokenizer()
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe = trainers.BpeTrainer(vocab_size=500, initial_alphabet=byte_level.alphabet(), show_progress=False)
    yield learned_tokenizer(models.BPE(), bpe, byte_level, normalizers.NFKC())
    unigram = trainers.UnigramTrainer(vocab_size=120, unk_token="?", special_tokens=["?"], show_progress=False)
    yield learned_tokenizer(models.Unigram(), unigram, pre_tokenizers.Metaspace())
    pieces = trainers.WordPieceTrainer(vocab_size=200, special_tokens=["[UNK]"], show_progress=False)
    word_piece = models.WordPiece(unk_token="[UNK]")
    yield learned_tokenizer(word_piece, pieces, pre_tokenizers.BertPreTokenizer(), normalizers.BertNormalizer())


def texts(count, seed):
    draw = random.Random(seed)
    lengths = [draw.choice([0, 1, 5, 30, 200]) for _ in range(count)]
    return ["".join(draw.choice(PIECES) + draw.choice(BLANKS) for _ in range(length)) for length in lengths]


@pytest.mark.parametrize("tokenizer", tokenizers(), ids=["bytes", "bpe", "unigram", "wordpiece"])
@pytest.mark.parametrize("most", [1, 4, 12, 64])
def test_the_first_tokens_of_a_text_are_those_of_the_whole_text(tokenizer, most):
    read = [*texts(60, seed=most), "\x00 " * 500 + "end", "word", ""]
    whole = tokenizer([" " + " ".join(text.split()) for text in read], add_special_tokens=False)["input_ids"]
    assert text_tokens(tokenizer, read, most) == [row[:most] for row in whole]


def test_only_the_beginning_of_a_long_text_is_tokenised():
    tokenizer, seen = tiny_tokenizer(), []

    def spy(texts, **how):
        seen.extend(texts)
        return tokenizer(texts, **how)

    rows = text_tokens(spy, ["many words " * 10_000, "few words"], 12)
    assert [tokenizer.decode(row) for row in rows] == [" many words ", " few words"]
    assert max(map(len, seen)) < 200


def test_titles_without_text_are_untitled():
    tokenizer = tiny_tokenizer()
    tokens, counts = title_tokens(tokenizer, [" \n", "Ant"], 4)
    assert tokenizer.decode(tokens) == "\n- (un\n- Ant"
    assert counts.tolist() == [6, 6]
