"""Greedy generation with a backbone that has no head of its own.

Letters: B prompts, T tokens, V vocabulary, H width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from hybrid.llm.backbone import Backbone
from hybrid.llm.vocabulary import Vocabulary


@torch.no_grad()
def greedy(
    backbone: Backbone, vocabulary: Vocabulary, prompts: Sequence[Sequence[int]], new_tokens: int
) -> list[list[int]]:
    """The most likely continuation of each of B prompts (token ids, none empty), at most ``new_tokens`` long.

    It ends before the tokenizer's end-of-text token. Prompts are padded on the left, so that all grow at once.
    """
    device, stop = backbone.embeddings.device, backbone.tokenizer.eos_token_id
    tokens, real = _left_padded(prompts)
    tokens, real, cache = tokens.to(device), real.to(device), None
    places = (real.cumsum(dim=1) - 1).clamp(min=0)  # [B, T]
    written, going = [], torch.ones(len(prompts), dtype=torch.bool, device=device)
    for _ in range(new_tokens):
        out = backbone.model(
            input_ids=tokens, attention_mask=real, position_ids=places, past_key_values=cache, use_cache=True
        )
        best = vocabulary.logits(out.last_hidden_state[:, -1]).argmax(dim=1)  # [B]
        going = going & (best != stop) if stop is not None else going
        if not going.any():
            break
        written.append(torch.where(going, best, -1))
        tokens, cache, places = best.unsqueeze(1), out.past_key_values, places[:, -1:] + 1
        real = torch.cat([real, torch.ones_like(real[:, :1])], dim=1)
    if not written:
        return [[] for _ in prompts]
    rows: list[list[int]] = torch.stack(written, dim=1).tolist()
    return [[token for token in row if token >= 0] for row in rows]


def _left_padded(prompts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Token ids [B, T] and which of them are real, [B, T] int64."""
    longest = max(len(prompt) for prompt in prompts)
    tokens, real = torch.zeros(len(prompts), longest, dtype=torch.long), torch.zeros(len(prompts), longest).long()
    for row, prompt in enumerate(prompts):
        tokens[row, longest - len(prompt) :] = torch.tensor(prompt)
        real[row, longest - len(prompt) :] = 1
    return tokens, real
