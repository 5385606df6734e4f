"""How likely a model finds titles after a prompt. The prompt is read once; titles stand side by side after it.

Title c of tokens y_1 .. y_n (the last is the end) scores ``sum_t log P(y_t | prompt, y_<t)``, divided by n where
`normalise`. The titles of a chunk are one sequence in which each sees the prompt and itself alone, at the positions it
would have had by itself, so nothing is padded and the prompt's keys and values are not copied. Models that cannot be
told what each token sees, or look no further back than a short window, read each title by itself.

Letters: C titles, S tokens of a chunk, T tokens of the prompt.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from hybrid.instruct.speaker import Speaker

if TYPE_CHECKING:
    from transformers import DynamicCache

CHUNK_TOKENS = 1024
ALONE = ("bloom", "falcon", "gpt_neo", "mpt")
"""Architectures that take distances from the place in the sequence, whatever positions and mask they are given."""


@torch.no_grad()
def title_likelihoods(
    speaker: Speaker, prompt: Sequence[int], titles: Sequence[Sequence[int]], normalise: bool
) -> Tensor:
    """Scores [C] float32 of titles (with their ends) after one prompt; the caller has put the model in evaluation."""
    lengths = torch.tensor([len(title) for title in titles], device=speaker.device)
    score = _side_by_side if _sees_all(speaker, len(prompt) + int(lengths.max())) else _one_by_one
    return score(speaker, prompt, titles) / (lengths if normalise else 1)


def _sees_all(speaker: Speaker, tokens: int) -> bool:
    """Whether the model sees that many tokens back, and what each token sees can be told by a mask."""
    config = cast(Any, speaker.lm).config.get_text_config()
    window = getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
    return config.model_type not in ALONE and (not window or tokens <= window)


def _one_by_one(speaker: Speaker, prompt: Sequence[int], titles: Sequence[Sequence[int]]) -> Tensor:
    """Log-probability of each title, [C], by a pass over prompt and title."""
    scores = []
    for title in titles:
        tokens = torch.tensor([[*prompt, *title[:-1]]], device=speaker.device)
        found = speaker.logits(speaker.states(tokens)[0, len(prompt) - 1 :]).log_softmax(dim=-1)
        scores.append(found.gather(1, torch.tensor(title, device=speaker.device)[:, None]).sum())
    return torch.stack(scores)


def _side_by_side(speaker: Speaker, prompt: Sequence[int], titles: Sequence[Sequence[int]]) -> Tensor:
    """Log-probability of each title, [C], by one pass over the prompt and one over each chunk of titles."""
    from transformers import DynamicCache

    device = speaker.device
    cache = DynamicCache()
    tokens = torch.tensor([prompt], device=device)
    state = speaker.lm(input_ids=tokens, past_key_values=cache, use_cache=True).last_hidden_state[0, -1]
    first = speaker.logits(state).log_softmax(dim=-1)  # [V] of every title's first token
    scores = []
    for chunk in _chunks(titles):
        parts = first[torch.tensor([title[0] for title in chunk], device=device)]
        scores.append(parts + _following(speaker, chunk, cache, len(prompt)))
    return torch.cat(scores)


def _following(speaker: Speaker, titles: Sequence[Sequence[int]], cache: "DynamicCache", n_prompt: int) -> Tensor:
    """Log-probability of all tokens of each title but the first, [C]."""
    device = speaker.device
    counts = torch.tensor([len(title) - 1 for title in titles], device=device)
    total = torch.zeros(len(titles), device=device)
    if not counts.any():
        return total
    owner = torch.repeat_interleave(torch.arange(len(titles), device=device), counts)  # [S]
    read = torch.tensor([token for title in titles for token in title[:-1]], device=device)
    targets = torch.tensor([token for title in titles for token in title[1:]], device=device)
    step = torch.arange(len(read), device=device) - (counts.cumsum(0) - counts)[owner]  # [S] place within the title
    hidden = speaker.lm(
        input_ids=read[None],
        position_ids=(n_prompt + step)[None],
        attention_mask=_mask(owner, n_prompt, next(speaker.lm.parameters()).dtype),
        past_key_values=cache,
        use_cache=True,
    ).last_hidden_state[0]
    cache.crop(-len(read))  # the next titles follow the prompt, too
    found = speaker.logits(hidden).log_softmax(dim=-1).gather(1, targets[:, None])[:, 0]
    return total.index_add(0, owner, found)


def _mask(owner: Tensor, n_prompt: int, dtype: torch.dtype) -> Tensor:
    """[1, 1, S, T + S] additive: a token sees the prompt and what is before it in its own title."""
    order = torch.arange(len(owner), device=owner.device)
    own = (owner[:, None] == owner[None]) & (order[:, None] >= order[None])
    seen = torch.cat([own.new_ones(len(owner), n_prompt), own], dim=1)
    return torch.zeros(seen.shape, dtype=dtype, device=owner.device).masked_fill(~seen, torch.finfo(dtype).min)[
        None, None
    ]


def _chunks(titles: Sequence[Sequence[int]]) -> Iterator[list[Sequence[int]]]:
    """Titles in their order, about CHUNK_TOKENS tokens at a time."""
    chunk: list[Sequence[int]] = []
    size = 0
    for title in titles:
        if chunk and size + len(title) > CHUNK_TOKENS:
            yield chunk
            chunk, size = [], 0
        chunk.append(title)
        size += len(title)
    if chunk:
        yield chunk
