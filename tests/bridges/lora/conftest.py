"""A model small enough to compute by hand what its adapters do."""

from collections.abc import Callable

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn

from bridges.lora.tuner import CoreLoraConfig

WIDTH, RANK, TARGETS = 6, 2, ["q_proj", "v_proj"]


class Block(nn.Module):
    """Two linear layers with an adapter, one without."""

    def __init__(self) -> None:
        super().__init__()
        self.q_proj, self.v_proj = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 5)
        self.out = nn.Linear(5, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """[..., WIDTH] -> [..., WIDTH]."""
        return x + self.out(torch.tanh(self.v_proj(torch.tanh(self.q_proj(x)))))


class Stack(nn.Module):
    """Two blocks, named as in a transformer."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([Block(), Block()])

    def forward(self, x: Tensor) -> Tensor:
        """[..., WIDTH] -> [..., WIDTH]."""
        for layer in self.layers:
            x = layer(x)
        return x


@pytest.fixture
def stack() -> Callable[[], Stack]:
    """The same weights every time."""

    def make() -> Stack:
        torch.manual_seed(0)
        return Stack()

    return make


@pytest.fixture
def core_lora(stack) -> Callable[..., PeftModel]:
    """The stack with our adapter, whose B is not zero."""

    def make(seed: int = 1, **settings: object) -> PeftModel:
        model = get_peft_model(
            stack(), CoreLoraConfig(**{"r": RANK, "lora_alpha": 6.0, "target_modules": TARGETS, **settings})
        )
        return fill(model, seed)

    return make


@pytest.fixture
def plain_lora(stack) -> Callable[..., PeftModel]:
    """The stack with PEFT's own LoRA, whose B is not zero."""

    def make(seed: int = 1, **settings: object) -> PeftModel:
        model = get_peft_model(
            stack(), LoraConfig(**{"r": RANK, "lora_alpha": 6.0, "target_modules": TARGETS, **settings})
        )
        return fill(model, seed)

    return make


@pytest.fixture
def inputs() -> Tensor:
    """[3 samples, 4 tokens, WIDTH]."""
    return torch.randn(3, 4, WIDTH, generator=torch.Generator().manual_seed(5))


def fill(model: PeftModel, seed: int) -> PeftModel:
    """Give all A and B, in the order of the layers, values from the seed."""
    generator = torch.Generator().manual_seed(seed)
    for name, weight in model.named_parameters():
        if "lora_A" in name or "lora_B" in name:
            weight.data = 0.5 * torch.randn(weight.shape, generator=generator)
    return model
