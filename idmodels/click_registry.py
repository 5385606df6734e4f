"""Click models by name. A new model is one file and one line here; sequential ID models and RecBole's serve too."""

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from idmodels.click import ClickModel
from idmodels.click_settings import ClickSettings
from idmodels.dcnv2 import DCNv2
from idmodels.deepfm import DeepFM
from idmodels.din import DIN
from idmodels.recbole_names import PREFIX
from idmodels.registry import check_name, create_id_model, id_model_names
from idmodels.sequence_clicks import SequenceClicks
from idmodels.settings import IDSettings
from idmodels.sim import SIM

_MODELS: dict[str, Callable[[int, ClickSettings, Tensor | None], ClickModel]] = {
    "dcnv2": lambda n_items, settings, _: DCNv2(n_items, settings),
    "deepfm": lambda n_items, settings, _: DeepFM(n_items, settings),
    "din": lambda n_items, settings, _: DIN(n_items, settings),
    "sim": SIM,
}


def click_model_names() -> tuple[str, ...]:
    """Models made for clicks, sorted; those of `id_model_names` and ``recbole:NAME`` are accepted too."""
    return tuple(sorted(_MODELS))


def create_click_model(
    n_items: int,
    settings: ClickSettings,
    n_users: int = 1,
    item_categories: Tensor | None = None,
    sequence: IDSettings | None = None,
) -> ClickModel:
    """A freshly initialised click model over N = ``n_items`` rows, row 0 (padding) included.

    Args:
        n_items: rows N of the item table.
        settings: its model and shape.
        n_users: rows of the user table, where a model has one.
        item_categories: [N, C] int64, 0 for none: what a hard search looks for; other models ignore it.
        sequence: shape of a sequential ID model; its history length counts, not that of ``settings``.

    Raises:
        IDModelError: an unknown ``settings.model``, fewer than two rows, a hard search without categories, or a
            model of RecBole that is to read features.
    """
    if settings.model.lower().startswith(PREFIX):
        from idmodels.recbole_clicks import create_recbole_clicks

        return create_recbole_clicks(n_items, n_users, settings)
    check_name("click", settings.model, (*click_model_names(), *id_model_names()), n_items)
    if settings.model in _MODELS:
        return _MODELS[settings.model](n_items, settings, item_categories)
    shape = replace(sequence or IDSettings(), model=settings.model)
    return SequenceClicks(create_id_model(n_items, shape), replace(settings, max_length=shape.max_length))
