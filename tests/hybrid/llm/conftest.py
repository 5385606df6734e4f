"""A tiny language model and tiny histories for the tests of this folder."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hybrid.config.schema import LLMConfig, LoRAConfig, PromptConfig, ScorerConfig
from hybrid.data.split import Histories
from hybrid.llm.backbone import Backbone, load_backbone
from hybrid.llm.recommender import LLMRecommender

CPU = torch.device("cpu")


@pytest.fixture
def titles() -> list[str]:
    """Items 1..11 with titles of different lengths; row 0 is padding."""
    return ["", *(f"F{'x' * (number % 4)}{number}" for number in range(1, 12))]


@pytest.fixture
def llm_config() -> LLMConfig:
    return LLMConfig(
        name="tiny-random",
        dtype="float32",
        whiten_width=4,
        lora=LoRAConfig(rank=2, dropout=0.0),
        scorer=ScorerConfig(width=6),
        prompt=PromptConfig(instruction="Seen:", history_items=4, item_tokens=6, targets_per_prompt=2),
    )


@pytest.fixture
def backbone(llm_config: LLMConfig, tmp_path: Path) -> Backbone:
    return load_backbone(llm_config, tmp_path, CPU)


@pytest.fixture
def make_recommender(llm_config: LLMConfig, tmp_path: Path) -> Callable[..., LLMRecommender]:
    """A recommender of 12 items; ``changes`` are fields of its LLMConfig."""

    def make(seed: int = 0, n_items: int = 12, weights: int = 0, **changes: object) -> LLMRecommender:
        config = replace(llm_config, **changes)
        torch.manual_seed(seed)
        return LLMRecommender(load_backbone(config, tmp_path, CPU, weights), config, n_items, id_width=3)

    return make


@pytest.fixture
def histories() -> Callable[..., Histories]:
    """Histories of the given rows, one after the other."""

    def make(*rows: list[int]) -> Histories:
        lengths = np.array([len(row) for row in rows])
        ends = np.cumsum(lengths)
        return Histories(np.array([item for row in rows for item in row], dtype=np.int32), ends - lengths, ends)

    return make
