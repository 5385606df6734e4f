"""What the LLM is asked for: a few sentences about a user's taste, and about an item.

The requests follow the two of KAR (arXiv 2306.10933) in kind, in words of our own. A user's request names behaviours
of the train part only.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from transformers import PreTrainedTokenizerBase

from hybrid.errors import UserError

LIKED, DISLIKED = 1, 0


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
    groups = {"liked": LIKED, "did not like": DISLIKED, "had": -1}
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

    ``histories`` are (items, liked), oldest first. A request of more than ``room`` tokens loses its oldest items.
    Raises UserError where even a single item does not fit.
    """
    prompts, n_cut = [], 0
    for items, liked in histories:
        items, liked = items[-requests.history_items :], liked[-requests.history_items :]
        first, prompt = 0, []
        while first < len(items):
            texts = [item_text[item] for item in items[first:]]
            prompt = chat_tokens(
                tokenizer, requests.user.replace("{history}", history_text(texts, liked[first:].tolist()))
            )
            if len(prompt) <= room:
                break
            first += 1
        if len(prompt) > room:
            raise UserError(
                f"a request of {len(prompt)} tokens about a single item does not fit into the {room} tokens that "
                "llm.name leaves beside bridges.knowledge_adapter.new_tokens; shorten bridges.knowledge_adapter."
                "user_request"
            )
        prompts.append(prompt)
        n_cut += first > 0
    return prompts, n_cut


def item_prompts(
    tokenizer: PreTrainedTokenizerBase, requests: Requests, item_text: Sequence[str], room: int
) -> tuple[list[list[int]], int]:
    """Token ids of each item's request (empty where it has no text), and how many texts were cut to fit ``room``."""
    prompts, n_cut = [], 0
    for text in item_text:
        words, cut = text.split(), False
        prompt = chat_tokens(tokenizer, requests.item.replace("{item}", " ".join(words))) if words else []
        while len(prompt) > room and len(words) > 1:
            words, cut = words[: len(words) // 2], True
            prompt = chat_tokens(tokenizer, requests.item.replace("{item}", " ".join(words)))
        prompts.append(prompt if len(prompt) <= room else [])
        n_cut += cut
    return prompts, n_cut


def chat_tokens(tokenizer: PreTrainedTokenizerBase, request: str) -> list[int]:
    """Token ids of a request in the model's chat format, or, for a model without one, as a plain text."""
    if not tokenizer.chat_template:
        return list(tokenizer(f"{request}\n")["input_ids"])
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": request}], add_generation_prompt=True, tokenize=False
    )
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])
