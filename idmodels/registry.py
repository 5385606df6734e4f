"""ID models by name. A new model is one file and one line here; click models are in `idmodels.click_registry`."""

from collections.abc import Callable
from difflib import get_close_matches

from idmodels.bert4rec import BERT4Rec
from idmodels.bsarec import BSARec
from idmodels.contract import IDModel
from idmodels.errors import IDModelError
from idmodels.gru4rec import GRU4Rec
from idmodels.lightgcn import LightGCN
from idmodels.recbole_names import PREFIX, zoo_names
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


def create_id_model(n_items: int, settings: IDSettings, n_users: int = 0) -> IDModel:
    """A freshly initialised model over N = ``n_items`` rows, row 0 (padding) included.

    ``settings.model`` is one of ours, or ``recbole:`` and the name of one of RecBole's sequential models. n_users: U,
    for those of them that have a vector per user. Raises IDModelError for an unknown model or fewer than two rows.
    """
    if settings.model.lower().startswith(PREFIX):
        from idmodels.zoo_id_model import ZooIDModel

        return ZooIDModel(n_items, settings, n_users)
    check_name("ID", settings.model, id_model_names(), n_items)
    return _MODELS[settings.model](n_items, settings)


def check_name(kind: str, name: str, names: tuple[str, ...], n_items: int) -> None:
    """Raise IDModelError where ``name`` is not among ``names``, or there are fewer than two rows."""
    if name not in names:
        theirs = _recbole_names() if kind == "ID" else {}
        offered = {**theirs, **{own: own for own in names}}
        close = get_close_matches(name.lower(), offered, n=1)
        more = ", or recbole: and the name of one of RecBole's sequential models" if theirs else ""
        hint = f"did you mean {offered[close[0]]!r}?" if close else f"accepted: {', '.join(names)}{more}"
        raise IDModelError(f"unknown {kind} model {name!r}; {hint}")
    if n_items < 2:
        raise IDModelError(f"an ID model needs a padding row and at least one item: n_items >= 2, got {n_items}")


def _recbole_names() -> dict[str, str]:
    """RecBole's models by plain name in small letters; none where RecBole is absent."""
    try:
        return {name.lower(): f"{PREFIX}{name}" for name in zoo_names()}
    except IDModelError:
        return {}
