"""Answer words: the tokens that tell them apart, and their rows of the vocabulary projection."""

import logging
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from hybrid.errors import UserError
from hybrid.llm.answers import answer_rows, answer_tokens, logit_scale
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


def test_rows_of_a_shared_projection_are_the_input_embeddings(backbone):
    rows, bias = answer_rows(backbone, [7, 3])
    assert torch.equal(rows, backbone.embeddings[[7, 3]])
    assert not bias.any()


def test_rows_of_a_projection_of_its_own_are_read_from_the_files(backbone, tmp_path):
    weight, bias = torch.randn(257, 32), torch.randn(257)
    save_file({"model.norm.weight": torch.ones(32)}, tmp_path / "model-1.safetensors")
    save_file({"lm_head.weight": weight.bfloat16(), "lm_head.bias": bias}, tmp_path / "model-2.safetensors")
    backbone.model.config.tie_word_embeddings = False
    rows, biases = answer_rows(replace(backbone, directory=tmp_path), [7, 3])
    assert torch.equal(rows, weight.bfloat16()[[7, 3]].float())
    assert torch.equal(biases, bias[[7, 3]])


def test_a_projection_that_is_not_there(backbone, tmp_path):
    backbone.model.config.tie_word_embeddings = False
    with pytest.raises(UserError, match="tiny-random has no vocabulary projection"):
        answer_rows(replace(backbone, directory=tmp_path), [7, 3])


def test_scaled_logits(backbone):
    assert logit_scale(backbone) == 1.0
    backbone.model.config.logits_scaling = 8.0
    assert logit_scale(backbone) == 0.125
