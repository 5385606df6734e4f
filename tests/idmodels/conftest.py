"""Small models and histories shared by the tests."""

from collections.abc import Callable

import pytest
import torch

from idmodels.contract import IDModel
from idmodels.registry import create_id_model, id_model_names
from idmodels.settings import IDSettings

N_ITEMS = 13


@pytest.fixture
def small_settings() -> Callable[..., IDSettings]:
    """Settings by model name, with changes; everything that could hide behind equal sizes has a size of its own."""

    def make(name: str, **changes: object) -> IDSettings:
        sizes = {"width": 8, "max_length": 6, "layers": 2, "heads": 2, "inner_width": 12}
        return IDSettings(model=name, **(sizes | {"dropout": 0.0, "attention_dropout": 0.0} | changes))

    return make


@pytest.fixture(params=id_model_names())
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def model(name: str, small_settings: Callable[..., IDSettings]) -> IDModel:
    torch.manual_seed(0)
    return create_id_model(N_ITEMS, small_settings(name)).eval()


@pytest.fixture
def histories() -> torch.Tensor:
    return torch.tensor([[1, 2, 3, 4, 5, 6], [7, 8, 9, 0, 0, 0], [12, 0, 0, 0, 0, 0]])
