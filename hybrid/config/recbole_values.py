"""RecBole 1.2.1's defaults, the values that can't be followed, and the keys that change nothing."""

from collections.abc import Collection, Mapping
from typing import Any

from hybrid.errors import UserError

RUN_DEFAULTS: dict[str, Any] = {
    "epochs": 300,
    "train_batch_size": 2048,
    "learning_rate": 0.001,
    "stopping_step": 10,
    "clip_grad_norm": None,
    "valid_metric": "MRR@10",
}
"""RecBole's defaults where ours are others, or might become so."""

MODEL_DEFAULTS: dict[str, dict[str, Any]] = {
    "SASRec": {
        "n_layers": 2,
        "n_heads": 2,
        "hidden_size": 64,
        "inner_size": 256,
        "hidden_dropout_prob": 0.5,
        "attn_dropout_prob": 0.5,
    },
    "GRU4Rec": {"embedding_size": 64, "hidden_size": 128, "num_layers": 1, "dropout_prob": 0.3},
    "BERT4Rec": {
        "n_layers": 2,
        "n_heads": 2,
        "hidden_size": 64,
        "inner_size": 256,
        "hidden_dropout_prob": 0.2,
        "attn_dropout_prob": 0.2,
        "mask_ratio": 0.2,
    },
    "SRGNN": {"embedding_size": 64, "step": 1},
}
"""RecBole's defaults of the models that have a counterpart here."""

NOTHING: tuple[Any, ...] = (None, [], {}, "")

ACCEPTED: dict[str, tuple[Any, ...]] = {
    "learner": ("adam",),
    "loss_type": ("CE", "BPR"),
    "weight_decay": (0,),
    "eval_step": (1,),
    "shuffle": (True,),
    "valid_metric_bigger": (True,),
    "enable_amp": (False,),
    "enable_scaler": (False,),
    "transform": (None, "mask_itemseq"),
    "ft_ratio": (0.5,),
    "field_separator": ("\t",),
    "rm_dup_inter": NOTHING,
    "benchmark_filename": NOTHING,
    "preload_weight": NOTHING,
    "discretization": NOTHING,
    "threshold": NOTHING,
    "alias_of_user_id": NOTHING,
    "alias_of_item_id": NOTHING,
    "hidden_act": ("gelu",),
    "layer_norm_eps": (1e-12, "1e-12"),
    "initializer_range": (0.02,),
}
"""Keys of which only these values mean the same here."""

REASONS = {
    "weight_decay": "RecBole's is an L2 penalty inside Adam; train.id.weight_decay is decoupled from the gradient",
    "rm_dup_inter": "repeated interactions are kept",
    "benchmark_filename": "a dataset is split here, not read in parts",
    "eval_step": "every epoch is validated",
}

WITHOUT_EFFECT = {
    *ACCEPTED,
    # where things are written and shown
    "gpu_id", "worker", "state", "reproducibility", "show_progress", "save_dataset", "dataset_save_path",
    "save_dataloaders", "dataloaders_save_path", "log_wandb", "wandb_project", "loss_decimal_place",
    "metric_decimal_place",
    # columns and names that an ID model over items alone does not read; columns are loaded as they are needed
    "load_col", "unload_col", "unused_col", "additional_feat_suffix", "numerical_features", "seq_separator", "seq_len",
    "LABEL_FIELD", "NEG_PREFIX", "ITEM_LIST_LENGTH_FIELD", "LIST_SUFFIX", "POSITION_FIELD", "HEAD_ENTITY_ID_FIELD",
    "TAIL_ENTITY_ID_FIELD", "RELATION_ID_FIELD", "ENTITY_ID_FIELD", "normalize_field", "require_pow",
    # RecBole's sequential evaluation ranks the history too, whatever `repeatable` says; the .item file of a dataset
    # has a row for every item, or the filter would drop interactions
    "repeatable", "filter_inter_by_user_or_item",
}  # fmt: skip
"""Keys that change neither what is learnt nor what is measured, once their values are accepted."""


def check_values(tree: Mapping[str, Any], own: Collection[str] = ()) -> None:
    """Raise UserError for the first key whose value would mean something else here.

    own: settings of a model that is RecBole's alone, which RecBole follows whatever their values.
    """
    for key, accepted in ACCEPTED.items():
        if key in tree and key not in own and tree[key] not in accepted:
            shown = "nothing" if accepted is NOTHING else ", ".join(repr(value) for value in accepted)
            reason = f" ({REASONS[key]})" if key in REASONS else ""
            raise UserError(f"RecBole's {key}={tree[key]!r} can't be followed here; accepted: {shown}{reason}")
    _check_negatives(tree.get("train_neg_sample_args"), tree.get("loss_type", "BPR" if own else "CE"))


def _check_negatives(arguments: Any, loss: str) -> None:
    """BPR has one uniform negative, RecBole's default; CE has none."""
    if arguments in NOTHING or (isinstance(arguments, Mapping) and arguments.get("distribution") == "none"):
        return
    one = isinstance(arguments, Mapping) and not arguments.get("dynamic") and arguments.get("sample_num", 1) == 1
    if loss == "CE" or not one or arguments.get("distribution", "uniform") != "uniform":
        wanted = "nothing" if loss == "CE" else "{distribution: uniform, sample_num: 1}"
        raise UserError(
            f"RecBole's train_neg_sample_args={arguments!r} with loss_type {loss} can't be followed here; "
            f"accepted: {wanted}, or our own train.id.loss"
        )
