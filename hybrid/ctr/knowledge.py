"""What the untuned language model knows of the users and items of task ctr, as vectors.

A user's knowledge is written from the first behaviours of its train part, no more than `data.min_history` of them:
those are nobody's targets, so no label can reach the click model through it (KAR's rule, arXiv 2306.10933).

Letters: U users, N items (row 0 is padding), H width.
"""

import logging
from pathlib import Path

import numpy as np
from torch import Tensor

from hybrid.config.schema import Config
from hybrid.data.clicks import ClickData
from hybrid.llm.adapter import without_adapter
from hybrid.llm.backbone import Backbone
from hybrid.llm.item_vectors import OPENING, Encoding, encode_items
from hybrid.llm.knowledge import room_for_prompt, write_knowledge
from hybrid.llm.recommender import LLMRecommender
from hybrid.llm.requests import Requests, item_prompts, user_prompts

log = logging.getLogger(__name__)


def click_knowledge(config: Config, recommender: LLMRecommender, data: ClickData) -> tuple[Tensor, Tensor]:
    """Vectors of what the model writes about users [U, H] and items [N, H], float32; texts and vectors are cached.

    Who has no train part, and what has no text, gets the mean of the others. Raises UserError where a request does not
    fit into the model's context.
    """
    users, items = knowledge_texts(config, recommender, data)
    return _vectors(config, recommender, ["", *users], "user")[1:], _vectors(config, recommender, items, "item")


def knowledge_texts(config: Config, recommender: LLMRecommender, data: ClickData) -> tuple[list[str], list[str]]:
    """What the model writes about each user [U], and each item's text with what it writes about it [N]."""
    with without_adapter(recommender.lm):
        return _written(config, recommender.backbone, data)


def _written(config: Config, backbone: Backbone, data: ClickData) -> tuple[list[str], list[str]]:
    settings = config.bridges.knowledge_adapter
    cache_dir, new_tokens = Path(config.data.cache_dir), settings.new_tokens
    requests = Requests(settings.user_request, settings.item_request, settings.history_items)
    room = room_for_prompt(backbone, new_tokens)
    asked, n_cut = user_prompts(backbone.tokenizer, requests, data.item_text, _first_behaviours(data, requests), room)
    _say_cut(n_cut, "users' requests", room)
    users = write_knowledge(backbone, asked, new_tokens, cache_dir, "users")
    log.info("%d of %d users have train behaviours to write about", sum(map(bool, asked)), len(asked))
    asked, n_cut = item_prompts(backbone.tokenizer, requests, data.item_text, room)
    _say_cut(n_cut, "items' requests", room)
    written = write_knowledge(backbone, asked, new_tokens, cache_dir, "items")
    return users, [f"{text} {answer}".strip() for text, answer in zip(data.item_text, written, strict=True)]


def _first_behaviours(data: ClickData, requests: Requests) -> list[tuple[np.ndarray, np.ndarray]]:
    """(items, liked) of each user's first train behaviours."""
    behaviours, starts = data.train.behaviours, data.train.behaviours.offsets[:-1]
    ends = np.minimum(data.train_ends, starts + requests.history_items)
    return [(behaviours.items[start:end], behaviours.liked[start:end]) for start, end in zip(starts, ends, strict=True)]


def _vectors(config: Config, recommender: LLMRecommender, texts: list[str], what: str) -> Tensor:
    tokenizer = recommender.backbone.tokenizer
    context = recommender.backbone.context - len(tokenizer(OPENING)["input_ids"]) - 1
    kept = min(config.bridges.knowledge_adapter.encode_tokens, context)
    n_longer = sum(len(ids) > kept for ids in tokenizer(texts, add_special_tokens=False)["input_ids"])
    _say_cut(n_longer, f"{what} texts", kept)
    return encode_items(recommender, texts, Encoding("mean", kept), Path(config.data.cache_dir))


def _say_cut(count: int, what: str, kept: int) -> None:
    if count:
        log.info("knowledge: %d %s are cut to %d tokens", count, what, kept)
