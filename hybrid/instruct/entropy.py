"""Mixture weights by least entropy of the answers to unlabelled prompts (MoLoRec, arXiv 2502.03041, sec. 3.3).

``min_l sum_x H(F(x))``: H is the mean entropy of the first tokens of the answer that the model itself would give. Only
the weights of the mixture learn.
"""

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from hybrid.config.schema import MixtureConfig
from hybrid.instruct.speaker import Speaker


def minimise_entropy(
    speaker: Speaker, weights: Iterable[nn.Parameter], prompts: Sequence[Sequence[int]], config: MixtureConfig
) -> list[float]:
    """Let ``weights`` go down the entropy by Adam; the mean entropy in nats before each step."""
    parameters = list(weights)
    optimizer = torch.optim.Adam(parameters, lr=config.learning_rate)
    speaker.eval()
    found = []
    for step in range(config.steps):
        begin = step * config.batch_prompts
        chosen = [prompts[(begin + number) % len(prompts)] for number in range(min(config.batch_prompts, len(prompts)))]
        optimizer.zero_grad(set_to_none=True)
        entropy = torch.stack([answer_entropy(speaker, prompt, config.answer_tokens) for prompt in chosen]).mean()
        entropy.backward()
        optimizer.step()
        found.append(entropy.item())
    return found


def answer_entropy(speaker: Speaker, prompt: Sequence[int], tokens: int) -> Tensor:
    """Mean entropy in nats of the first ``tokens`` tokens of the greedy answer to a prompt; a scalar with gradient."""
    read = [*prompt, *greedy_answer(speaker, prompt, tokens - 1)]
    states = speaker.states(torch.tensor([read], device=speaker.device))[0, len(prompt) - 1 :]  # [tokens, H]
    logarithms = speaker.logits(states).log_softmax(dim=-1)  # [tokens, V]
    return -(logarithms.exp() * logarithms).sum(dim=-1).mean()


@torch.no_grad()
def greedy_answer(speaker: Speaker, prompt: Sequence[int], tokens: int) -> list[int]:
    """The ``tokens`` likeliest tokens after a prompt, one after the other."""
    from transformers import DynamicCache

    cache, answer, read = DynamicCache(), list[int](), list(prompt)
    for _ in range(tokens):
        ids = torch.tensor([read], device=speaker.device)
        state = speaker.lm(input_ids=ids, past_key_values=cache, use_cache=True).last_hidden_state[0, -1]
        read = [int(speaker.logits(state).argmax())]
        answer += read
    return answer
