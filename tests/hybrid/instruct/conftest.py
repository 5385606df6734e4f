"""A tiny language model, a domain of titles, and small configs."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from hybrid.config.schema import (
    Config,
    InstructConfig,
    LLMConfig,
    LoRAConfig,
    MixtureConfig,
    PromptConfig,
    ScorerConfig,
)
from hybrid.data.split import Histories
from hybrid.instruct.domains import Domain
from hybrid.instruct.examples import Examiner
from hybrid.instruct.speaker import Speaker
from hybrid.llm.adapter import attach_adapter
from hybrid.llm.backbone import Backbone, load_backbone
from hybrid.llm.vocabulary import load_vocabulary

TITLES = ["", "Alpha", "Bravo", "Charlie", "Delta", "Echo", "Fox", "", "Hotel"]


@pytest.fixture
def config() -> Config:
    """A run of candidate likelihood on the tiny model."""
    return Config(
        arm="llm_only",
        llm=LLMConfig(
            name="tiny-random",
            dtype="float32",
            lora=LoRAConfig(rank=2, dropout=0.0),
            prompt=PromptConfig(history_items=3, item_tokens=9, targets_per_prompt=1),
            scorer=ScorerConfig(kind="candidate_likelihood"),
        ),
        instruct=InstructConfig(candidates=4, mixture=MixtureConfig(steps=3, prompts=4, batch_prompts=2)),
    )


@pytest.fixture
def backbone(config: Config, tmp_path) -> Backbone:
    return load_backbone(config.llm, tmp_path, torch.device("cpu"))


@pytest.fixture
def speaker(backbone: Backbone, config: Config) -> Speaker:
    """With a plain adapter that changes something."""
    lm = attach_adapter(backbone, config.llm.lora)
    generator = torch.Generator().manual_seed(0)
    for name, weight in lm.named_parameters():
        if "lora_" in name:
            weight.data = 0.3 * torch.randn(weight.shape, generator=generator)
    return Speaker(lm, load_vocabulary(backbone)).eval()


@pytest.fixture
def domain() -> Domain:
    """Three users; item 7 has no title, rating and category follow the item."""
    items = np.array([1, 2, 3, 4, 5, 6, 7, 8, 3], dtype=np.int32)
    starts, ends = np.array([0, 4, 6]), np.array([4, 6, 9])
    categories = [f"kind {item % 2}" if item else "" for item in range(len(TITLES))]
    return Domain("d", Histories(items, starts, ends), TITLES, categories, (items % 5 + 1).astype(np.float32))


@pytest.fixture
def examiner(domain: Domain, backbone: Backbone, config: Config) -> Examiner:
    return Examiner(domain, backbone.tokenizer, config)


@pytest.fixture
def read(backbone: Backbone) -> Callable[..., str]:
    """Token ids as text."""
    return lambda ids: backbone.tokenizer.decode(list(ids))
