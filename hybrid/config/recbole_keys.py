"""RecBole's own names for data, model and training settings, so that an existing RecBole yaml can be used."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hybrid.errors import UserError

RENAMED = {
    "USER_ID_FIELD": "data.user_field",
    "ITEM_ID_FIELD": "data.item_field",
    "TIME_FIELD": "data.time_field",
    "RATING_FIELD": "data.rating_field",
    "MAX_ITEM_LIST_LENGTH": "id.max_length",
    "hidden_size": "id.width",
    "embedding_size": "id.width",
    "n_layers": "id.layers",
    "num_layers": "id.layers",
    "n_heads": "id.heads",
    "inner_size": "id.inner_width",
    "hidden_dropout_prob": "id.dropout",
    "dropout_prob": "id.dropout",
    "attn_dropout_prob": "id.attention_dropout",
    "learning_rate": "train.id.learning_rate",
    "weight_decay": "train.id.weight_decay",
    "train_batch_size": "train.id.batch_targets",
    "stopping_step": "train.id.patience",
    "valid_metric": "evaluation.metric",
    "eval_batch_size": "evaluation.batch_users",
    "checkpoint_dir": "output_dir",
}
"""RecBole key -> our dotted key, value unchanged (but for the case of a metric's name)."""

WITHOUT_EFFECT = {
    "load_col", "field_separator", "seq_separator", "metrics", "topk", "gpu_id", "use_gpu", "show_progress", "state",
    "reproducibility", "log_wandb", "loss_type", "train_neg_sample_args", "hidden_act", "layer_norm_eps",
    "initializer_range", "benchmark_filename", "ITEM_LIST_LENGTH_FIELD", "LIST_SUFFIX", "data_path", "eval_args",
    "user_inter_num_interval", "item_inter_num_interval", "val_interval", "model", "epochs",
}  # fmt: skip
"""Keys that are read below, or whose meaning is fixed here."""


def translate_recbole_keys(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The same settings with RecBole's top-level names replaced by ours; other keys pass through."""
    ours: dict[str, Any] = {}
    for key, value in tree.items():
        if key in RENAMED:
            _put(ours, RENAMED[key], str(value).lower() if key == "valid_metric" else value)
        elif key not in WITHOUT_EFFECT and key != "dataset":
            _keep(ours, key, value)
    _dataset(tree, ours)
    _model(tree, ours)
    _cores(tree, ours)
    _split(tree, ours)
    return ours


def _keep(ours: dict[str, Any], key: str, value: Any) -> None:
    if isinstance(value, Mapping) and isinstance(ours.get(key), dict):
        ours[key] = {**ours[key], **value}
    else:
        ours[key] = dict(value) if isinstance(value, Mapping) else value


def _put(ours: dict[str, Any], dotted: str, value: Any) -> None:
    *path, last = dotted.split(".")
    for part in path:
        ours = ours.setdefault(part, {})
    ours[last] = value


def _dataset(tree: Mapping[str, Any], ours: dict[str, Any]) -> None:
    """RecBole's ``data_path`` and ``dataset`` name a folder; a bare known name stays a name."""
    if "dataset" not in tree:
        return
    name = str(tree["dataset"])
    folder = Path(str(tree["data_path"])) / name if "data_path" in tree else None
    _put(ours, "data.dataset", str(folder) if folder is not None and folder.is_dir() else name)


def _model(tree: Mapping[str, Any], ours: dict[str, Any]) -> None:
    if "model" in tree:
        _put(ours, "id.model", str(tree["model"]).lower())
    if "epochs" in tree:  # RecBole trains one model: all epochs in one ID phase
        _put(ours, "train.schedule.id_length", tree["epochs"])
        _put(ours, "train.schedule.rounds", 1)


def _cores(tree: Mapping[str, Any], ours: dict[str, Any]) -> None:
    """``user_inter_num_interval: "[5,inf)"`` as a k-core."""
    for key, field in (("user_inter_num_interval", "data.user_core"), ("item_inter_num_interval", "data.item_core")):
        if tree.get(key) is None:
            continue
        low, comma, high = str(tree[key]).strip("[]() ").partition(",")
        if not comma or not low.strip().isdigit() or high.strip() not in ("inf", ""):
            raise UserError(f"{key}: only intervals such as '[5,inf)' are understood, got {tree[key]!r}")
        _put(ours, field, int(low) + (1 if str(tree[key]).strip().startswith("(") else 0))


def _split(tree: Mapping[str, Any], ours: dict[str, Any]) -> None:
    """``eval_args`` must ask for leave-one-out in time order with full ranking, the sequential default."""
    arguments = tree.get("eval_args")
    if not isinstance(arguments, Mapping):
        return
    split = arguments.get("split", {"LS": "valid_and_test"})
    if split != {"LS": "valid_and_test"} or arguments.get("order", "TO") != "TO":
        raise UserError(f"eval_args: only split {{LS: valid_and_test}} with order TO is understood, got {arguments!r}")
    mode = arguments.get("mode", "full")
    modes = set(mode.values()) if isinstance(mode, Mapping) else {mode}
    if modes != {"full"}:
        raise UserError(f"eval_args.mode: only full ranking is done here, got {mode!r}")
    _put(ours, "data.split", "leave_one_out")
