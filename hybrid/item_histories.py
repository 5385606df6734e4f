"""Item vectors from items as one-item histories: the same prompt, prefix and suffix for items and users.

Laser (arXiv 2409.01605 §2.1): user-item similarity becomes user-user similarity. Letters: N items (row 0 is padding),
H LLM width.
"""

import numpy as np
import torch
from torch import Tensor

from hybrid.exchange import Exchange
from hybrid.llm.prompt_batches import PromptBatches
from hybrid.llm.recommender import LLMRecommender
from hybrid.modes import inference
from hybrid.progress import progress


def encode_histories(recommender: LLMRecommender, exchange: Exchange, prompts: PromptBatches, n_items: int) -> Tensor:
    """[N, H] float32 on the CPU, by all weights as they are now; row 0 is the mean of the others."""
    device = recommender.suffix.device
    items = np.arange(1, n_items)
    vectors = torch.zeros(n_items, recommender.backbone.width)
    with inference(recommender, *exchange.bridges.values()):
        for batch in progress(prompts.item_batches(items), "items as histories"):
            batch = batch.to(device)
            filled = exchange.fill(batch)
            states = recommender.states(batch, filled.tokens, filled.users)  # one suffix slot for each prompt
            vectors[1 + batch.numbers.cpu()] = states.cpu()
    vectors[0] = vectors[1:].mean(dim=0)
    return vectors
