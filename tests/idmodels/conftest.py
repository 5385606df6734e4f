"""Small models and histories shared by the tests.

``name`` and ``model`` stand for every registered model and a few of RecBole's, ``causal_model`` for those of which one
pass trains every position, ``ordered_name`` for those to which the order of a history matters.
"""

from collections.abc import Callable

import pytest
import torch

from idmodels.contract import IDModel
from idmodels.registry import create_id_model, id_model_names
from idmodels.settings import IDSettings

N_ITEMS = 13

ZOO = {
    "recbole:GRU4Rec": {"embedding_size": 8, "hidden_size": 12, "num_layers": 1, "dropout_prob": 0.0},
    "recbole:NARM": {"embedding_size": 8, "hidden_size": 12, "n_layers": 1, "dropout_probs": [0.0, 0.0]},
    "recbole:SASRec": {"hidden_size": 8, "inner_size": 12, "hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0},
}
"""RecBole's settings by model; those of its models that the contract is tried on."""


def small(name: str, **changes: object) -> IDSettings:
    """Settings by model name, with changes; everything that could hide behind equal sizes has a size of its own."""
    sizes: dict[str, object] = {"recbole": ZOO.get(name, {})}
    sizes |= {"width": 8, "max_length": 6, "layers": 2, "heads": 2, "inner_width": 12}
    return IDSettings(model=name, **(sizes | {"dropout": 0.0, "attention_dropout": 0.0} | changes))


ALL = [*id_model_names(), *ZOO]


def names_where(trait: str) -> list[str]:
    """Registered models whose class has this trait."""
    return [name for name in ALL if getattr(create_id_model(N_ITEMS, small(name)), trait)]


def _model(name: str) -> IDModel:
    torch.manual_seed(0)
    return create_id_model(N_ITEMS, small(name)).eval()


@pytest.fixture
def small_settings() -> Callable[..., IDSettings]:
    return small


@pytest.fixture(params=ALL)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def model(name: str) -> IDModel:
    return _model(name)


@pytest.fixture(params=[name for name in ALL if name != "lightgcn"])
def ordered_name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=names_where("causal"))
def causal_model(request: pytest.FixtureRequest) -> IDModel:
    return _model(request.param)


@pytest.fixture
def histories() -> torch.Tensor:
    return torch.tensor([[1, 2, 3, 4, 5, 6], [7, 8, 9, 0, 0, 0], [12, 0, 0, 0, 0, 0]])
