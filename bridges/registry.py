"""All bridges by name. A new one is a file, a line here and a place in the contract test."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from bridges.attended_history import AttendedHistory
from bridges.collaborative import CollaborativeFeatures
from bridges.distill import MutualDistillation
from bridges.errors import BridgeError, nearest
from bridges.hard_negatives import HardNegatives
from bridges.knowledge import KnowledgeFeatures
from bridges.knowledge_adapter import KnowledgeAdapter
from bridges.lora_gate import LoraGate
from bridges.mformer import MFormer
from bridges.neighbours import SharedOffsets
from bridges.protocols import Bridge
from bridges.readback import ReadBack
from bridges.sequence_smoothing import SequenceSmoothing
from bridges.sharing import ExchangeStore
from bridges.smoothing import SmoothedTargets
from bridges.store_tokens import StoreTokens
from bridges.substitution import Substitutions

BRIDGES: dict[str, type[Bridge]] = {
    bridge.name: bridge
    for bridge in (
        StoreTokens,
        MFormer,
        LoraGate,
        AttendedHistory,
        CollaborativeFeatures,
        KnowledgeFeatures,
        SharedOffsets,
        KnowledgeAdapter,
        ReadBack,
        Substitutions,
        SmoothedTargets,
        SequenceSmoothing,
        MutualDistillation,
        HardNegatives,
    )
}


def create_bridges(
    settings: Mapping[str, Mapping[str, Any]],
    store: ExchangeStore,
    id_width: int,
    llm_width: int,
    embedding_norm: float,
    n_items: int,
    other_widths: tuple[int, ...] = (),
    n_users: int = 0,
    score_width: int = 0,
    own_items: Callable[[], Tensor] = lambda: torch.empty(0),
    popularity: Callable[[], Tensor | None] = lambda: None,
    next_items: Callable[[], Tensor] = lambda: torch.empty(0, dtype=torch.long),
) -> dict[str, Bridge]:
    """The bridges named in ``settings``, in the registry's order whatever the order there.

    ``settings[name]`` holds the bridge's own arguments; what all bridges may share is handed over by name where a
    constructor asks for it. Raises BridgeError for an unknown bridge or setting, naming the nearest, or a missing one.
    """
    for name in settings:
        if name not in BRIDGES:
            raise BridgeError(f"unknown bridge {name!r}{nearest(name, BRIDGES)}")
    shared = {
        "store": store,
        "id_width": id_width,
        "llm_width": llm_width,
        "embedding_norm": embedding_norm,
        "n_items": n_items,
        "other_widths": other_widths,
        "n_users": n_users,
        "score_width": score_width,
        "own_items": own_items,
        "popularity": popularity,
        "next_items": next_items,
    }
    return {name: _create(name, settings[name], shared) for name in BRIDGES if name in settings}


def _create(name: str, settings: Mapping[str, Any], shared: Mapping[str, Any]) -> Bridge:
    asked = inspect.signature(BRIDGES[name]).parameters
    own = [argument for argument in asked if argument not in shared]
    for setting in settings:
        if setting not in own:
            raise BridgeError(f"bridge {name!r} has no setting {setting!r}{nearest(setting, own)}")
    missing = [argument for argument in own if argument not in settings]
    if missing:
        raise BridgeError(f"bridge {name!r} misses the setting {missing[0]!r}")
    return BRIDGES[name](**{argument: shared[argument] for argument in asked if argument in shared}, **settings)
