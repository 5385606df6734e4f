"""ID models by name. A new model is one file and one line here."""

from collections.abc import Callable
from difflib import get_close_matches

from idmodels.contract import IDModel
from idmodels.errors import IDModelError
from idmodels.gru4rec import GRU4Rec
from idmodels.sasrec import SASRec
from idmodels.settings import IDSettings

_MODELS: dict[str, Callable[[int, IDSettings], IDModel]] = {
    "gru4rec": GRU4Rec,
    "sasrec": SASRec,
}


def id_model_names() -> tuple[str, ...]:
    """Accepted values of ``settings.model``, sorted."""
    return tuple(sorted(_MODELS))


def create_id_model(n_items: int, settings: IDSettings) -> IDModel:
    """A freshly initialised model over N = ``n_items`` rows, row 0 (padding) included.

    Raises IDModelError for an unknown ``settings.model`` or fewer than two rows.
    """
    if settings.model not in _MODELS:
        raise IDModelError(f"unknown ID model {settings.model!r}{_hint(settings.model)}")
    if n_items < 2:
        raise IDModelError(f"an ID model needs a padding row and at least one item: n_items >= 2, got {n_items}")
    return _MODELS[settings.model](n_items, settings)


def _hint(name: str) -> str:
    close = get_close_matches(name.lower(), _MODELS, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; accepted: {', '.join(id_model_names())}"
