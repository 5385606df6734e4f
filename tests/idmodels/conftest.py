"""Small models and histories shared by the tests.

``name`` and ``model`` stand for every registered model, ``causal_model`` for those of which one pass trains every
position, ``ordered_name`` for those to which the order of a history matters.
"""

from collections.abc import Callable

import pytest
import torch

from idmodels.contract import IDModel
from idmodels.registry import create_id_model, id_model_names
from idmodels.settings import IDSettings

N_ITEMS = 13


def small(name: str, **changes: object) -> IDSettings:
    """Settings by model name, with changes; everything that could hide behind equal sizes has a size of its own."""
    sizes = {"width": 8, "max_length": 6, "layers": 2, "heads": 2, "inner_width": 12}
    return IDSettings(model=name, **(sizes | {"dropout": 0.0, "attention_dropout": 0.0} | changes))


def names_where(trait: str) -> list[str]:
    """Registered models whose class has this trait."""
    return [name for name in id_model_names() if getattr(create_id_model(N_ITEMS, small(name)), trait)]


def _model(name: str) -> IDModel:
    torch.manual_seed(0)
    return create_id_model(N_ITEMS, small(name)).eval()


@pytest.fixture
def small_settings() -> Callable[..., IDSettings]:
    return small


@pytest.fixture(params=id_model_names())
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def model(name: str) -> IDModel:
    return _model(name)


@pytest.fixture(params=names_where("ordered"))
def ordered_name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=names_where("causal"))
def causal_model(request: pytest.FixtureRequest) -> IDModel:
    return _model(request.param)


@pytest.fixture
def histories() -> torch.Tensor:
    return torch.tensor([[1, 2, 3, 4, 5, 6], [7, 8, 9, 0, 0, 0], [12, 0, 0, 0, 0, 0]])
