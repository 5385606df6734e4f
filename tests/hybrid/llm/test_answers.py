"""Answer words: the tokens that tell them apart."""

import logging

import pytest

from hybrid.errors import UserError
from hybrid.llm.answers import answer_tokens
from hybrid.llm.tiny import tiny_tokenizer


def text(tokenizer, tokens):
    return tokenizer.decode(tokens)


def test_words_of_many_tokens_are_told_apart_by_the_first_that_differs_and_that_is_said(caplog):
    tokenizer = tiny_tokenizer()  # a token is a byte
    with caplog.at_level(logging.INFO):
        answers = answer_tokens(tokenizer, "Q:", " Unlikely", " Unsure")
    assert text(tokenizer, answers.question) == "Q: Un"
    assert text(tokenizer, [answers.yes]) == "l"
    assert text(tokenizer, [answers.no]) == "s"
    assert "the answer ' Unlikely' is 9 tokens, judged by its 'l'" in caplog.text


def test_words_of_one_token_need_no_word(caplog):
    with caplog.at_level(logging.INFO):
        answers = answer_tokens(tiny_tokenizer(), "Q:", "y", "n")
    assert text(tiny_tokenizer(), answers.question) == "Q:"
    assert caplog.text == ""


@pytest.mark.parametrize(("yes", "no"), [("Yes", "Yes"), ("No", "Not"), ("Yes", "")])
def test_answers_that_cannot_be_told_apart(yes, no):
    with pytest.raises(UserError, match="cannot be told apart by a token"):
        answer_tokens(tiny_tokenizer(), "Q:", yes, no)
