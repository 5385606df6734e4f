"""Likelihood of titles against one forward pass for each, and ranking by it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import BloomConfig, BloomModel, MistralConfig, MistralModel

import hybrid.instruct.likelihood as likelihood
from hybrid.data.split import Histories, Targets
from hybrid.errors import UserError
from hybrid.instruct.likelihood import title_likelihoods
from hybrid.instruct.ranking import Question, Questions, grouped_metrics, question_ranks
from hybrid.instruct.speaker import Speaker
from hybrid.llm.vocabulary import Vocabulary

PROMPT = [5, 9, 30, 2, 7, 7, 41]
TITLES = [[3, 8, 20, 1], [4, 1], [3, 8, 21, 6, 1], [1], [50, 60, 70, 1]]


def by_itself(speaker, title) -> torch.Tensor:
    with torch.no_grad():
        tokens = torch.tensor([[*PROMPT, *title[:-1]]])
        logits = speaker.logits(speaker.states(tokens)[0, len(PROMPT) - 1 :])
    return logits.log_softmax(dim=-1)[torch.arange(len(title)), torch.tensor(title)].sum()


@pytest.mark.parametrize("chunk", [1000, 5, 1])
def test_titles_side_by_side_score_as_each_by_itself(speaker, monkeypatch, chunk: int) -> None:
    monkeypatch.setattr(likelihood, "CHUNK_TOKENS", chunk)
    expected = torch.stack([by_itself(speaker, title) for title in TITLES])
    torch.testing.assert_close(title_likelihoods(speaker, PROMPT, TITLES, False), expected, rtol=1e-4, atol=1e-4)
    lengths = torch.tensor([4, 2, 5, 1, 4])
    torch.testing.assert_close(
        title_likelihoods(speaker, PROMPT, TITLES, True), expected / lengths, rtol=1e-4, atol=1e-4
    )


def mistral(window: int | None):
    settings = MistralConfig(
        vocab_size=80, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, sliding_window=window, initializer_range=0.5,
    )  # fmt: skip
    return MistralModel(settings)


def bloom():
    return BloomModel(BloomConfig(vocab_size=80, hidden_size=16, n_layer=2, n_head=2, initializer_range=0.5))


def alone_speaker(lm) -> Speaker:
    return Speaker(lm, Vocabulary(torch.randn(80, 16), None)).eval()


@pytest.mark.parametrize("make", [lambda: mistral(4), lambda: mistral(10), lambda: mistral(None), bloom])
def test_models_with_a_short_window_or_distances_of_their_own_score_alike(make) -> None:
    torch.manual_seed(0)
    speaker = alone_speaker(make())
    expected = torch.stack([by_itself(speaker, title) for title in TITLES])
    torch.testing.assert_close(title_likelihoods(speaker, PROMPT, TITLES, False), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("window", "passes"), [(None, 2), (12, 2), (11, 5)])
def test_only_a_window_shorter_than_prompt_and_title_costs_a_pass_for_each(window, passes: int) -> None:
    speaker, counted = alone_speaker(mistral(window)), []
    speaker.lm.register_forward_hook(lambda *_: counted.append(1))
    title_likelihoods(speaker, PROMPT, TITLES, False)  # 7 and at most 5 tokens
    assert len(counted) == passes


def test_order_of_the_titles_does_not_matter(speaker) -> None:
    forward, backward = (title_likelihoods(speaker, PROMPT, titles, False) for titles in (TITLES, TITLES[::-1]))
    torch.testing.assert_close(forward, backward.flip(0), rtol=1e-4, atol=1e-4)


@pytest.fixture
def questions(examiner, config) -> Questions:
    seen = np.ones(9, dtype=bool)
    seen[6] = False
    return Questions(examiner.wording, examiner.titled, seen, 3, config.instruct, seed=1, name="d")


@pytest.fixture
def targets() -> Targets:
    """Three users; the last one's target has no title."""
    items = np.array([1, 2, 3, 4, 8, 1], dtype=np.int32)
    histories = Histories(items, np.array([0, 3, 5]), np.array([3, 5, 6]))
    return Targets(np.arange(3), np.array([5, 6, 7]), histories)


def test_candidates_are_the_target_and_items_not_in_the_history(questions, targets) -> None:
    first, second, untitled = questions.among_candidates(targets)
    assert 5 in first.listed
    assert len(first.listed) == len(set(first.listed)) == 4
    assert not set(first.listed) & {1, 2, 3, 7}
    assert (first.unseen, second.unseen, untitled.unseen) == (False, True, False)
    assert (len(untitled.listed), untitled.others) == (3, 3)
    assert questions.among_candidates(targets)[0] == first
    histories = Histories(targets.histories.items, targets.histories.starts[1:], targets.histories.ends[1:])
    short = Targets(targets.users[1:], targets.items[1:], histories)
    assert questions.among_candidates(short)[0].listed == second.listed  # a user's candidates are the user's own


def test_the_catalogue_is_all_titles_but_the_history(questions, targets, read) -> None:
    first, _, untitled = questions.whole_catalogue(targets)
    assert first.listed == [4, 5, 6, 8]
    assert "Candidates" not in read(first.prompt)
    assert untitled.listed == [2, 3, 4, 5, 6, 8]


def test_lists_stand_in_the_prompt_only_if_wanted(examiner, config, targets, read) -> None:
    bare = replace(config.instruct, list_candidates=False)
    questions = Questions(examiner.wording, examiner.titled, np.ones(9, dtype=bool), 3, bare, seed=1, name="d")
    assert read(questions.among_candidates(targets)[0].prompt).endswith("- Charlie\nThe next item is:")


def test_the_rank_is_that_of_the_likelihoods(speaker, questions, targets, examiner) -> None:
    asked = questions.among_candidates(targets)
    ranks = question_ranks(speaker, asked, examiner.wording, normalise=True)
    for number, question in enumerate(asked[:2]):
        scores = title_likelihoods(
            speaker, question.prompt, [examiner.wording.answer(i) for i in question.listed], True
        )
        better = int((scores > scores[question.listed.index(question.target)]).sum())
        assert ranks[number] == better + 1
    assert ranks[2] == 4  # without a title it comes last


def test_equal_titles_tie_against_the_target(speaker, examiner) -> None:
    examiner.wording._titles[2] = examiner.wording._titles[1]
    question = Question(PROMPT, [1, 2], target=1, others=1, unseen=False)
    assert question_ranks(speaker, [question], examiner.wording, True).tolist() == [2]


def test_a_diverged_model_is_an_error(speaker, questions, targets, examiner) -> None:
    next(speaker.lm.parameters()).data.fill_(torch.nan)
    with pytest.raises(UserError, match="a score is not finite"):
        question_ranks(speaker, questions.among_candidates(targets), examiner.wording, True)


def test_metrics_by_hand() -> None:
    values = grouped_metrics(torch.tensor([1, 3, 11, 2]), [Question([], [], 0, 0, unseen=False)] * 4)
    assert (values["hr@1"], values["hr@3"], values["hr@10"]) == (0.25, 0.75, 0.75)
    assert values["ndcg@3"] == pytest.approx((1 + 0.5 + 1 / np.log2(3)) / 4)
    assert values["mrr@5"] == pytest.approx((1 + 1 / 3 + 0.5) / 4)


def test_unseen_items_are_measured_apart() -> None:
    asked = [Question([], [], 0, 0, unseen) for unseen in (True, False, False)]
    values = grouped_metrics(torch.tensor([1, 2, 30]), asked)
    assert (values["unseen/users"], values["warm/users"]) == (1, 2)
    assert (values["unseen/hr@1"], values["warm/hr@1"], values["warm/hr@3"]) == (1, 0, 0.5)
    assert "unseen/hr@1" not in grouped_metrics(torch.tensor([2, 30]), asked[1:])
