"""What the LLM is asked for: a few sentences about a user's taste, and about an item.

The requests follow the two of KAR (arXiv 2306.10933) in kind, in words of our own. A user's request names behaviours
of the train part only.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerBase

from hybrid.errors import UserError

SAME_DAY = "1 January 2024"
"""What chat formats that name today's date are told, so that a request is the same tomorrow."""


@dataclass(frozen=True)
class Requests:
    """How the LLM is asked; ``{...}`` is filled in."""

    user: str
    """``{history}``: the user's last items, the ones liked and the ones not liked apart where that is known."""
    item: str
    """``{item}``: the item's text."""
    history_items: int
    """Behaviours that are named at most, the last ones."""


def history_text(texts: Sequence[str], liked: Sequence[int]) -> str:
    """The items [n] of a user as one text; ``liked`` is 1, 0 or, where nobody knows, -1."""
    groups = {"liked": 1, "did not like": 0, "had": -1}
    parts = []
    for verb, mark in groups.items():
        named = [text for text, own in zip(texts, liked, strict=True) if own == mark and text]
        if named:
            parts.append(f"{verb}: {'; '.join(named)}")
    return ". ".join(parts)


def user_prompts(
    tokenizer: PreTrainedTokenizerBase,
    requests: Requests,
    item_text: Sequence[str],
    histories: Sequence[tuple[np.ndarray, np.ndarray]],
    room: int,
) -> tuple[list[list[int]], int]:
    """Token ids of each user's request (empty for a user without history), and how many histories were cut.

    ``histories`` are (items, liked), oldest first. A request of more than ``room`` tokens loses its oldest items,
    then words of the last one. Raises UserError where it does not fit without any item.
    """
    prompts, n_cut = [], 0
    for items, liked in histories:
        texts = [item_text[item] for item in items[-requests.history_items :]]
        prompt, cut = _user_prompt(tokenizer, requests.user, texts, liked[-requests.history_items :].tolist(), room)
        prompts.append(prompt)
        n_cut += cut
    return prompts, n_cut


def _user_prompt(
    tokenizer: PreTrainedTokenizerBase, request: str, texts: Sequence[str], liked: Sequence[int], room: int
) -> tuple[list[int], bool]:
    """The request about a user and whether anything of its history was left out."""

    def ask(texts: Sequence[str], liked: Sequence[int]) -> list[int]:
        return chat_tokens(tokenizer, request.replace("{history}", history_text(texts, liked)))

    for first in range(len(texts)):
        prompt = ask(texts[first:], liked[first:])
        if len(prompt) <= room:
            return prompt, first > 0
    if texts:
        _check_bare("user_request", len(ask([], [])), room)
    return _with_words_that_fit(lambda text: ask([text], liked[-1:]), texts[-1] if texts else "", room)


def item_prompts(
    tokenizer: PreTrainedTokenizerBase, requests: Requests, item_text: Sequence[str], room: int
) -> tuple[list[list[int]], int]:
    """Token ids of each item's request (empty where it has no text), and how many texts were cut to fit ``room``.

    Raises UserError where the request does not fit without the item.
    """

    def ask(text: str) -> list[int]:
        return chat_tokens(tokenizer, requests.item.replace("{item}", text))

    if any(item_text):
        _check_bare("item_request", len(ask("")), room)
    found = [_with_words_that_fit(ask, text, room) for text in item_text]
    return [prompt for prompt, _ in found], sum(cut for _, cut in found)


def _check_bare(setting: str, count: int, room: int) -> None:
    """Raise UserError where a request has no room for any item."""
    if count > room:
        raise UserError(
            f"bridges.knowledge_adapter.{setting} has {count} tokens without any item, but llm.name leaves {room} "
            "beside bridges.knowledge_adapter.new_tokens; shorten one of them"
        )


def _with_words_that_fit(ask: Callable[[str], list[int]], text: str, room: int) -> tuple[list[int], bool]:
    """The request about a text whose words are halved until it fits, and whether any was left out.

    Empty where the text has no word, or its first one is too long already.
    """
    words = text.split()
    count = len(words)
    while count:
        prompt = ask(" ".join(words[:count]))
        if len(prompt) <= room:
            return prompt, count < len(words)
        count //= 2
    return [], bool(words)


def chat_tokens(tokenizer: PreTrainedTokenizerBase, request: str) -> list[int]:
    """Token ids of a request in the model's chat format, or, for a model without one, as a plain text."""
    if not tokenizer.chat_template:
        return list(tokenizer(f"{request}\n")["input_ids"])
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": request}], add_generation_prompt=True, tokenize=False, date_string=SAME_DAY
    )
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])
