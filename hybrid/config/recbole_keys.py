"""RecBole's own names for data, model and training settings, so that an existing RecBole yaml can be used.

A yaml of RecBole's names alone that gives a ``model`` means here what it means there: the ID model is trained alone
(arm id_only), and what the yaml leaves out has RecBole's default. Beside a preset or settings of ours that say how to
train, RecBole's names set what they name, and no more. A setting that can't be followed is an error: what is ignored
has no say in what is learnt or measured.
"""

import logging
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hybrid.config.recbole_values import MODEL_DEFAULTS, RUN_DEFAULTS, WITHOUT_EFFECT, check_values
from hybrid.errors import UserError

log = logging.getLogger(__name__)

RENAMED = {
    "USER_ID_FIELD": "data.user_field",
    "ITEM_ID_FIELD": "data.item_field",
    "TIME_FIELD": "data.time_field",
    "RATING_FIELD": "data.rating_field",
    "learning_rate": "train.id.learning_rate",
    "train_batch_size": "train.id.batch_targets",
    "eval_batch_size": "evaluation.batch_users",
    "checkpoint_dir": "output_dir",
}
"""RecBole key -> our dotted key, value unchanged."""

SIZES = {
    "MAX_ITEM_LIST_LENGTH": "max_length",
    "hidden_size": "width",
    "embedding_size": "width",
    "n_layers": "layers",
    "num_layers": "layers",
    "n_heads": "heads",
    "inner_size": "inner_width",
    "hidden_dropout_prob": "dropout",
    "dropout_prob": "dropout",
    "attn_dropout_prob": "attention_dropout",
    "mask_ratio": "mask_ratio",
}
"""RecBole key -> setting of the ID model where the yaml names no ``model``; with one, its own names count."""

READ = {
    "dataset", "data_path", "model", "epochs", "valid_metric", "user_inter_num_interval", "item_inter_num_interval",
    "val_interval", "eval_args", "clip_grad_norm", "use_gpu", "normalize_all", "metrics", "topk", "loss_type",
    "train_neg_sample_args", "stopping_step",
    *(key for defaults in MODEL_DEFAULTS.values() for key in defaults),
}  # fmt: skip
"""Keys that are read one by one below."""

RECBOLE = {*RENAMED, *SIZES, *READ, *WITHOUT_EFFECT}
WHERE = {"seed", "threads", "name", "output_dir", "device"}
"""Our settings that say where and how often, not what: beside them a yaml of RecBole's names is one still."""
METRICS = {"hit": "hr", "recall": "hr", "ndcg": "ndcg", "mrr": "mrr"}
"""With one relevant item, as here, recall is hit."""


def translate_recbole_keys(
    tree: Mapping[str, Any], overrides: Mapping[str, Any] | None = None, alone: bool = True
) -> dict[str, Any]:
    """The same settings with RecBole's top-level names replaced by ours; other keys pass through.

    In ``tree`` our own names win, but ``overrides``, all of RecBole's names, win over both. ``alone``: no preset says
    how to train. Raises UserError for a value that would mean something else here.
    """
    later = overrides or {}
    given = {**tree, **later}
    own = _zoo_keys(given)
    others = set(given) - RECBOLE - WHERE - own
    pure = alone and "model" in given and not others
    if "model" in given and not pure:
        why = f"settings of other names ({', '.join(sorted(others))})" if others else "a preset"
        log.info("RecBole's names beside %s: what is left out has the defaults of hybridrec, not RecBole's", why)
    check_values(given, own)
    ours = _translated(given, own, pure, alone)
    if later:
        for dotted, value in _set_by(later, given, own, alone).items():
            _put(ours, dotted, value, wins=True)
    _say_what_is_not_reported(given)
    return ours


def _set_by(later: Mapping[str, Any], given: Mapping[str, Any], own: set[str], alone: bool) -> dict[str, Any]:
    """What the keys of ``later`` set, by dotted key of ours; some of them need others of RecBole's to be understood."""
    recboles = {key: value for key, value in given.items() if key in RECBOLE | own}
    without = {key: value for key, value in recboles.items() if key not in later}
    before = dict(_leaves(_translated(without, _zoo_keys(without), pure=False, alone=alone)))
    now = dict(_leaves(_translated(recboles, own, pure=False, alone=alone)))
    return {key: value for key, value in now.items() if key not in before or before[key] != value}


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values."""
    for key, value in tree.items():
        if isinstance(value, Mapping) and f"{prefix}{key}" != "id.recbole":  # which is one setting
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _translated(tree: Mapping[str, Any], own: set[str], pure: bool, alone: bool) -> dict[str, Any]:
    given = {**RUN_DEFAULTS, **tree} if pure else dict(tree)
    ours: dict[str, Any] = {}
    for key, value in given.items():
        if key in RENAMED:
            _put(ours, RENAMED[key], value)
        elif key not in RECBOLE | own:
            _keep(ours, key, value)
    for read in (_dataset, _model, _cores, _rating, _split, _training):
        read(given, ours)
    if "epochs" in given and alone:  # RecBole trains one model: all epochs in one ID phase
        _put(ours, "train.schedule.rounds", 1)
    if pure:
        _as_in_recbole(given, ours)
    return ours


def _zoo_keys(tree: Mapping[str, Any]) -> set[str]:
    """The model's own settings in RecBole, where the yaml names one that is RecBole's alone; RecBole follows them."""
    from idmodels.errors import IDModelError
    from idmodels.recbole_names import model_keys, zoo_names

    try:
        name = str(tree.get("model"))
        return set(model_keys(name)) if name not in MODEL_DEFAULTS and name in zoo_names() else set()
    except IDModelError:
        return set()  # RecBole is not installed


def _as_in_recbole(given: Mapping[str, Any], ours: dict[str, Any]) -> None:
    """What RecBole does for sequential models and no key of its own says."""
    _put(ours, "arm", "id_only")
    _put(ours, "evaluation.mask_history", False)
    scaled = given.get("normalize_all", given.get("dataset") == "ml-100k")  # its own yaml of ml-100k says so
    _put(ours, "data.time_precision", "scaled_float32" if scaled else "float32")


def _keep(ours: dict[str, Any], key: str, value: Any) -> None:
    if isinstance(value, Mapping) and isinstance(ours.get(key), dict):
        ours[key] = {**ours[key], **value}
    else:
        ours[key] = dict(value) if isinstance(value, Mapping) else value


def _put(ours: dict[str, Any], dotted: str, value: Any, wins: bool = False) -> None:
    """A value that is there already, given by our own name, stays unless this one ``wins``."""
    *path, last = dotted.split(".")
    for part in path:
        if ours.get(part) is None:
            ours[part] = {}
        if not isinstance(ours[part], dict):
            raise UserError(f"{part}: expected keys and values, got {ours[part]!r}")
        ours = ours[part]
    if wins or last not in ours:
        ours[last] = value


def _dataset(given: Mapping[str, Any], ours: dict[str, Any]) -> None:
    """RecBole's ``data_path`` and ``dataset`` name a folder; a bare known name stays a name."""
    if "dataset" not in given:
        return
    name, path = str(given["dataset"]), given.get("data_path")
    folder = Path(str(path or "dataset")).expanduser() / name
    if path and not folder.is_dir():
        if name != "ml-100k":  # RecBole reads the one that it brings, whatever the path
            raise UserError(f"data_path, dataset: no such folder: {folder}")
        log.warning(
            "data_path: no such folder: %s; the %s that comes with RecBole is read, as RecBole does", folder, name
        )
    _put(ours, "data.dataset", str(folder) if folder.is_dir() else name)


def _model(given: Mapping[str, Any], ours: dict[str, Any]) -> None:
    """The whole shape of the ID model where a ``model`` is named, else the sizes that are given."""
    if "model" not in given:
        for key in SIZES.keys() & given.keys():
            _put(ours, f"id.{SIZES[key]}", given[key])
        return
    from dataclasses import asdict

    from idmodels.errors import IDModelError
    from idmodels.recbole_compat import from_recbole
    from idmodels.recbole_names import zoo_name

    name = str(given["model"])
    numbers = {key: _number(value) for key, value in given.items()}
    if own := _zoo_keys(given):
        _put(ours, "id.model", f"recbole:{name}")
        _put(ours, "id.max_length", given.get("MAX_ITEM_LIST_LENGTH", 50))
        _put(ours, "id.recbole", {key: numbers[key] for key in sorted(own & numbers.keys())})
        return
    try:
        if name not in MODEL_DEFAULTS:
            zoo_name(name)  # says which name is near
        settings = from_recbole({"MAX_ITEM_LIST_LENGTH": 50, **MODEL_DEFAULTS.get(name, {}), **numbers})
    except IDModelError as error:
        raise UserError(str(error)) from None
    for key, value in asdict(settings).items():
        _put(ours, f"id.{key}", value)


def _number(value: Any) -> Any:
    """``1e-12`` is text in yaml 1.1."""
    return float(value) if isinstance(value, str) and re.fullmatch(r"\d+(\.\d*)?e[-+]?\d+", value) else value


def _cores(given: Mapping[str, Any], ours: dict[str, Any]) -> None:
    """``user_inter_num_interval: "[5,inf)"`` as a k-core."""
    for key, field in (("user_inter_num_interval", "data.user_core"), ("item_inter_num_interval", "data.item_core")):
        if given.get(key) is not None:
            low, closed = _from(key, given[key], "[5,inf)")
            _put(ours, field, math.ceil(low) if closed else math.floor(low) + 1)


def _rating(given: Mapping[str, Any], ours: dict[str, Any]) -> None:
    """``val_interval: {rating: "[3,inf)"}`` as the lowest rating that is kept."""
    intervals = given.get("val_interval") or {}
    rating = given.get("RATING_FIELD", "rating")
    if not isinstance(intervals, Mapping) or set(intervals) - {rating}:
        raise UserError(f"val_interval: only an interval of {rating} is understood, got {intervals!r}")
    if rating in intervals:
        low, closed = _from("val_interval", intervals[rating], "[3,inf)")
        if not closed:
            raise UserError(
                f"val_interval: open below, {intervals[rating]!r}; write the lowest rating, such as '[3,inf)'"
            )
        _put(ours, "data.min_rating", low)


def _from(key: str, interval: Any, example: str) -> tuple[float, bool]:
    """Lower end of an interval without upper end, and whether it belongs to it."""
    found = re.fullmatch(r"([\[(])\s*(\d+(?:\.\d*)?)\s*,\s*(?:inf)?\s*[\])]", str(interval).strip())
    if not found:
        raise UserError(f"{key}: only intervals such as '{example}' are understood, got {interval!r}")
    return float(found[2]), found[1] == "["


def _split(given: Mapping[str, Any], ours: dict[str, Any]) -> None:
    """``eval_args`` must ask for leave-one-out in time order with full ranking, the sequential default."""
    arguments = given.get("eval_args")
    if arguments is None:
        return
    if not isinstance(arguments, Mapping):
        raise UserError(f"eval_args: expected keys such as split, got {arguments!r}; is it in quotes?")
    split = arguments.get("split", {"LS": "valid_and_test"})
    orders = (arguments.get("order", "TO"), arguments.get("group_by", "user"))
    if split != {"LS": "valid_and_test"} or orders not in (("TO", "user"), ("TO", None)):
        raise UserError(f"eval_args: only split {{LS: valid_and_test}} with order TO is understood, got {arguments!r}")
    mode = arguments.get("mode", "full")
    modes = set(mode.values()) if isinstance(mode, Mapping) else {mode}
    if modes != {"full"}:
        raise UserError(f"eval_args.mode: only full ranking is done here, got {mode!r}")
    _put(ours, "data.split", "leave_one_out")


def _training(given: Mapping[str, Any], ours: dict[str, Any]) -> None:
    if "epochs" in given:
        _put(ours, "train.schedule.id_length", given["epochs"])
    if "stopping_step" in given:  # RecBole goes on for so many epochs in vain and stops at the next
        _put(ours, "train.id.patience", _one_more(given["stopping_step"]))
    if given.get("loss_type") == "BPR" and not _zoo_keys(given):  # one negative of each position's own
        _put(ours, "train.id.loss", {"kind": "bpr", "negatives": 1, "shared_negatives": False})
    if "clip_grad_norm" in given:
        _put(ours, "train.id.clip_norm", _clip_norm(given["clip_grad_norm"]))
    if "valid_metric" in given:
        _put(ours, "evaluation.metric", _metric(given["valid_metric"]))
    if given.get("use_gpu") is False:
        _put(ours, "device", "cpu")


def _one_more(count: Any) -> Any:
    return count + 1 if isinstance(count, int) else count  # what is no number is found wrong later


def _clip_norm(value: Any) -> Any:
    """``{max_norm: 5, norm_type: 2}`` as 5; none: no clipping, which is 0 here."""
    if not value:
        return 0.0
    if not isinstance(value, Mapping) or set(value) - {"max_norm", "norm_type"} or value.get("norm_type", 2) != 2:
        raise UserError(f"clip_grad_norm: only {{max_norm: NUMBER, norm_type: 2}} is understood, got {value!r}")
    return value.get("max_norm")


def _metric(value: Any) -> str:
    name, _, cutoff = str(value).lower().partition("@")
    if name not in METRICS or cutoff not in ("5", "10", "20"):
        raise UserError(f"valid_metric: Hit, Recall, NDCG and MRR at 5, 10 and 20 are known here, got {value!r}")
    return f"{METRICS[name]}@{cutoff}"


def _say_what_is_not_reported(given: Mapping[str, Any]) -> None:
    metrics, cutoffs = given.get("metrics") or [], given.get("topk") or []
    metrics = metrics if isinstance(metrics, list) else [metrics]
    cutoffs = cutoffs if isinstance(cutoffs, list) else [cutoffs]
    missing = [str(name) for name in metrics if str(name).lower() not in METRICS]
    missing += [f"top {cutoff}" for cutoff in cutoffs if cutoff not in (5, 10, 20)]
    if missing:
        log.warning("not reported here: %s; Hit, NDCG and MRR at 5, 10 and 20 are", ", ".join(missing))
