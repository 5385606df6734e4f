import inspect

import pytest

from idmodels.errors import IDModelError
from idmodels.registry import create_id_model, id_model_names
from idmodels.settings import IDSettings


def test_names() -> None:
    assert {"bert4rec", "gru4rec", "lightgcn", "sasrec", "srgnn"} <= set(id_model_names())
    assert list(id_model_names()) == sorted(id_model_names())


def test_the_help_of_the_setting_names_every_model() -> None:
    source = inspect.getsource(IDSettings)
    assert f"Name in the registry: {', '.join(id_model_names())}, recbole:NAME" in source


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ("sasrek", "did you mean 'sasrec'"),
        ("GRU4Rec", "did you mean 'gru4rec'"),
        ("x", "accepted: "),
        ("nram", "recbole:NARM"),
    ],
)
def test_unknown_name_offers_the_nearest(wrong: str, hint: str) -> None:
    with pytest.raises(IDModelError, match=hint):
        create_id_model(5, IDSettings(model=wrong))


@pytest.mark.parametrize("n_items", [-1, 0, 1])
def test_a_catalogue_needs_an_item(name: str, n_items: int) -> None:
    with pytest.raises(IDModelError, match="n_items >= 2"):
        create_id_model(n_items, IDSettings(model=name))
