"""ID models and click models by name. A new model is one file and one line here."""

from collections.abc import Callable
from difflib import get_close_matches

from torch import Tensor

from idmodels.bert4rec import BERT4Rec
from idmodels.bsarec import BSARec
from idmodels.click import ClickModel
from idmodels.click_settings import ClickSettings
from idmodels.contract import IDModel
from idmodels.din import DIN
from idmodels.errors import IDModelError
from idmodels.gru4rec import GRU4Rec
from idmodels.lightgcn import LightGCN
from idmodels.sasrec import SASRec
from idmodels.settings import IDSettings
from idmodels.sim import SIM
from idmodels.srgnn import SRGNN

_MODELS: dict[str, Callable[[int, IDSettings], IDModel]] = {
    "bert4rec": BERT4Rec,
    "bsarec": BSARec,
    "gru4rec": GRU4Rec,
    "lightgcn": LightGCN,
    "sasrec": SASRec,
    "srgnn": SRGNN,
}

_CLICK_MODELS: dict[str, Callable[[int, ClickSettings, Tensor | None], ClickModel]] = {
    "din": lambda n_items, settings, _: DIN(n_items, settings),
    "sim": SIM,
}


def id_model_names() -> tuple[str, ...]:
    """Accepted values of ``settings.model``, sorted."""
    return tuple(sorted(_MODELS))


def click_model_names() -> tuple[str, ...]:
    """Accepted values of ``ClickSettings.model``, sorted."""
    return tuple(sorted(_CLICK_MODELS))


def create_id_model(n_items: int, settings: IDSettings) -> IDModel:
    """A freshly initialised model over N = ``n_items`` rows, row 0 (padding) included.

    Raises IDModelError for an unknown ``settings.model`` or fewer than two rows.
    """
    _check("ID", settings.model, id_model_names(), n_items)
    return _MODELS[settings.model](n_items, settings)


def create_click_model(n_items: int, settings: ClickSettings, item_categories: Tensor | None = None) -> ClickModel:
    """A freshly initialised click model over N = ``n_items`` rows, row 0 (padding) included.

    item_categories [N] int64: what a hard search looks for, other models ignore it. Raises IDModelError for an unknown
    ``settings.model``, fewer than two rows, or a hard search without categories.
    """
    _check("click", settings.model, click_model_names(), n_items)
    return _CLICK_MODELS[settings.model](n_items, settings, item_categories)


def _check(kind: str, name: str, names: tuple[str, ...], n_items: int) -> None:
    if name not in names:
        close = get_close_matches(name.lower(), names, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"accepted: {', '.join(names)}"
        raise IDModelError(f"unknown {kind} model {name!r}; {hint}")
    if n_items < 2:
        raise IDModelError(f"an ID model needs a padding row and at least one item: n_items >= 2, got {n_items}")
