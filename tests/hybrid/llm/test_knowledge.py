"""What the LLM is asked, what it answers, and what is remembered."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaForCausalLM

from hybrid.config.schema import LLMConfig
from hybrid.errors import UserError
from hybrid.llm import knowledge
from hybrid.llm.backbone import Backbone, load_backbone
from hybrid.llm.generate import greedy
from hybrid.llm.knowledge import room_for_prompt, write_knowledge
from hybrid.llm.requests import Requests, chat_tokens, history_text, item_prompts, user_prompts
from hybrid.llm.tiny import tiny_config, tiny_tokenizer
from hybrid.llm.vocabulary import load_vocabulary

REQUESTS = Requests("They {history}. Taste?", "Tell of {item}.", history_items=3)
TEXTS = ["", "Alpha", "Bravo", "Charlie", "Delta"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model with a head that is not its input embeddings."""
    torch.manual_seed(0)
    config = tiny_config(2)
    config.tie_word_embeddings = False
    LlamaForCausalLM(config).save_pretrained(tmp_path / "model")
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def load(folder: Path, tmp_path: Path) -> Backbone:
    return load_backbone(LLMConfig(name=str(folder), dtype="float32"), tmp_path / "cache", torch.device("cpu"))


def text_of(backbone: Backbone, prompts: list[list[int]]) -> list[str]:
    return backbone.tokenizer.batch_decode(prompts)


def test_greedy_equals_transformers_one_prompt_at_a_time(folder: Path, tmp_path: Path) -> None:
    backbone, whole = load(folder, tmp_path), AutoModelForCausalLM.from_pretrained(folder)
    prompts = [[3, 4, 5, 6, 7], [9], [11, 12, 13]]
    found = greedy(backbone, load_vocabulary(backbone), prompts, 6)
    for prompt, answer in zip(prompts, found, strict=True):
        expected = whole.generate(torch.tensor([prompt]), do_sample=False, max_new_tokens=6, eos_token_id=0)
        assert answer == [token for token in expected[0, len(prompt) :].tolist() if token]
        assert len(answer) <= 6


def test_generation_ends_before_the_end_token(backbone: Backbone) -> None:
    class Scripted:
        """Says a, b, then the end; then c, which must not be seen."""

        def __init__(self, *rows: list[int]) -> None:
            self.rows, self.step = rows, 0

        def logits(self, states: torch.Tensor) -> torch.Tensor:
            best = torch.tensor([row[self.step] for row in self.rows])
            self.step += 1
            return torch.nn.functional.one_hot(best, 257).float()

    assert greedy(backbone, Scripted([65, 66, 0, 67], [70, 0, 71, 72]), [[1], [2, 3]], 4) == [[65, 66], [70]]
    assert greedy(backbone, Scripted([0]), [[1]], 4) == [[]]


def test_history_by_what_the_user_thought() -> None:
    assert history_text(["A", "B", "C"], [1, 0, 1]) == "liked: A; C. did not like: B"
    assert history_text(["A", "", "C"], [-1, -1, -1]) == "had: A; C"


def test_user_requests_name_the_last_behaviours_only(backbone: Backbone) -> None:
    items, liked = np.array([1, 2, 3, 4]), np.array([1, 1, 1, 0])
    prompts, n_cut = user_prompts(backbone.tokenizer, REQUESTS, TEXTS, [(items, liked), (items[:0], liked[:0])], 500)
    assert text_of(backbone, prompts) == ["They liked: Bravo; Charlie. did not like: Delta. Taste?\n", ""]
    assert n_cut == 0


def test_a_request_longer_than_the_context_loses_its_oldest_items(backbone: Backbone) -> None:
    history = (np.array([1, 2, 3]), np.array([1, 1, 1]))
    prompts, n_cut = user_prompts(backbone.tokenizer, REQUESTS, TEXTS, [history], 35)
    assert text_of(backbone, prompts) == ["They liked: Bravo; Charlie. Taste?\n"]
    assert n_cut == 1


def test_a_request_about_one_item_longer_than_the_context_loses_words_of_it(backbone: Backbone) -> None:
    texts, mark = ["", "Alpha", "one two three four", "x" * 40], np.array([1, 0])
    asked = [(np.array([1, 2]), mark), (np.array([2]), mark[:1]), (np.array([3]), mark[:1])]
    prompts, n_cut = user_prompts(backbone.tokenizer, REQUESTS, texts, asked, 36)
    assert text_of(backbone, prompts) == ["They did not like: one two. Taste?\n", "They liked: one two. Taste?\n", ""]
    assert n_cut == 3
    nobody = (np.array([], dtype=int), np.array([], dtype=int))
    assert user_prompts(backbone.tokenizer, REQUESTS, texts, [nobody], 10) == ([[]], 0)
    with pytest.raises(UserError, match=r"user_request has 14 tokens without any item, but llm.name leaves 13"):
        user_prompts(backbone.tokenizer, REQUESTS, texts, asked, 13)


def test_an_item_text_longer_than_the_context_is_cut(backbone: Backbone) -> None:
    prompts, n_cut = item_prompts(backbone.tokenizer, REQUESTS, ["", "one two three four", "one"], 20)
    assert text_of(backbone, prompts) == ["", "Tell of one two.\n", "Tell of one.\n"]
    assert n_cut == 1
    with pytest.raises(UserError, match=r"item_request has 10 tokens without any item, but llm.name leaves 9"):
        item_prompts(backbone.tokenizer, REQUESTS, ["", "one"], 9)
    assert item_prompts(backbone.tokenizer, REQUESTS, ["", ""], 9) == ([[], []], 0)


def test_a_request_is_the_same_on_another_day(backbone: Backbone, monkeypatch) -> None:
    template = "{% set day = date_string or strftime_now('%d %b %Y') %}{{ day }}: {{ messages[0]['content'] }}"
    monkeypatch.setattr(backbone.tokenizer, "chat_template", template)
    asked = backbone.tokenizer.decode(chat_tokens(backbone.tokenizer, "Who"))
    assert asked == "1 January 2024: Who"


def test_what_was_written_once_is_not_generated_again(backbone: Backbone, tmp_path: Path, monkeypatch) -> None:
    asked = []

    def answer(_, __, prompts, new_tokens):
        asked.extend(prompts)
        return [[*prompt, 33] for prompt in prompts]

    monkeypatch.setattr(knowledge, "greedy", answer)
    first = write_knowledge(backbone, [[65, 66], [], [67]], 8, tmp_path, "users")
    assert first == text_of(backbone, [[65, 66, 33], [], [67, 33]])
    again = write_knowledge(backbone, [[67], [68], [65, 66]], 8, tmp_path, "users")
    assert asked == [[65, 66], [67], [68]]
    assert (again[0], again[2]) == (first[2], first[0])
    write_knowledge(backbone, [[67]], 9, tmp_path, "users")  # another length is another text
    assert asked[3:] == [[67]]


def test_texts_are_kept_while_generation_goes_on(backbone: Backbone, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(knowledge, "KEPT_BATCHES", 1)
    monkeypatch.setattr(knowledge, "BATCH_TOKENS", 1)

    def answer(_, __, prompts, new_tokens):
        if prompts == [[67]]:
            raise KeyboardInterrupt
        return prompts

    monkeypatch.setattr(knowledge, "greedy", answer)
    with pytest.raises(KeyboardInterrupt):
        write_knowledge(backbone, [[65, 66], [67]], 4, tmp_path, "users")
    (file,) = (tmp_path / "knowledge").glob("*.json")
    assert list(json.loads(file.read_text()).values()) == text_of(backbone, [[65, 66]])


def test_a_damaged_file_is_written_again(backbone: Backbone, tmp_path: Path) -> None:
    first = write_knowledge(backbone, [[65, 66]], 4, tmp_path, "users")
    (file,) = (tmp_path / "knowledge").glob("*.json")
    file.write_text("{broken")
    assert write_knowledge(backbone, [[65, 66]], 4, tmp_path, "users") == first


def test_room_for_a_prompt(backbone: Backbone) -> None:
    context = backbone.model.config.max_position_embeddings
    assert room_for_prompt(backbone, 48) == context - 48
    with pytest.raises(UserError, match=f"reads {context} tokens in all"):
        room_for_prompt(backbone, context)


def test_what_another_process_has_written_meanwhile_stays(tmp_path: Path) -> None:
    file = tmp_path / "knowledge" / "k.json"
    knowledge._write(file, {"a": "of this one"})
    knowledge._write(file, {"b": "of the other"})
    assert json.loads(file.read_text()) == {"a": "of this one", "b": "of the other"}
