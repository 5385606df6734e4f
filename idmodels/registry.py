"""ID models by name. A new model is one file and one line here; click models are in `idmodels.click_registry`."""

from collections.abc import Callable
from difflib import get_close_matches

from idmodels.bert4rec import BERT4Rec
from idmodels.bsarec import BSARec
from idmodels.contract import IDModel
from idmodels.errors import IDModelError
from idmodels.gru4rec import GRU4Rec
from idmodels.lightgcn import LightGCN
from idmodels.sasrec import SASRec
from idmodels.settings import IDSettings
from idmodels.srgnn import SRGNN

_MODELS: dict[str, Callable[[int, IDSettings], IDModel]] = {
    "bert4rec": BERT4Rec,
    "bsarec": BSARec,
    "gru4rec": GRU4Rec,
    "lightgcn": LightGCN,
    "sasrec": SASRec,
    "srgnn": SRGNN,
}


def id_model_names() -> tuple[str, ...]:
    """Accepted values of ``settings.model``, sorted."""
    return tuple(sorted(_MODELS))


def create_id_model(n_items: int, settings: IDSettings) -> IDModel:
    """A freshly initialised model over N = ``n_items`` rows, row 0 (padding) included.

    Raises IDModelError for an unknown ``settings.model`` or fewer than two rows.
    """
    check_name("ID", settings.model, id_model_names(), n_items)
    return _MODELS[settings.model](n_items, settings)


def check_name(kind: str, name: str, names: tuple[str, ...], n_items: int) -> None:
    """Raise IDModelError where ``name`` is not among ``names``, or there are fewer than two rows."""
    if name not in names:
        close = get_close_matches(name.lower(), names, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"accepted: {', '.join(names)}"
        raise IDModelError(f"unknown {kind} model {name!r}; {hint}")
    if n_items < 2:
        raise IDModelError(f"an ID model needs a padding row and at least one item: n_items >= 2, got {n_items}")
