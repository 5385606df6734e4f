"""The best items for given histories, whatever their length, from any ID model.

Letters: B histories, K list length, N items (row 0 is padding).
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from idmodels.batches import padded_histories
from idmodels.contract import IDModel
from idmodels.errors import IDModelError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recommended:
    """K items for each of B histories, best first."""

    items: Tensor
    """[B, K] rows of items; 0 where no item is left."""
    scores: Tensor
    """[B, K] the model's scores, or how often the item is in the train part; -inf where no item is left."""
    by_popularity: Tensor
    """[B] bool: the history is empty, so these are the most frequent items of the train part."""


@torch.no_grad()
def recommend(
    model: IDModel,
    histories: Sequence[Sequence[int]],
    k: int = 10,
    known_too: bool = False,
    users: Tensor | None = None,
) -> Recommended:
    """The K best items after each history of item rows, oldest first; the last ``max_length`` of each are read.

    known_too: items of the history are recommended as well. users [B]: see `IDModel.scores`. An empty history is served
    by popularity, and a warning is logged. Raises IDModelError for an item or a K that is out of range, and for an
    empty history where the model has no popularity: neither trained here nor saved by a program that kept it.
    """
    _check(model, histories, k)
    if not len(histories):
        nothing = torch.zeros(0, k)
        return Recommended(nothing.long(), nothing, torch.zeros(0, dtype=torch.bool))
    flat = np.array([item for history in histories for item in history], dtype=np.int64)
    ends = np.cumsum([len(history) for history in histories])
    starts = ends - [len(history) for history in histories]
    items, lengths = padded_histories(flat, starts, ends, model.settings.max_length)
    device = next(model.parameters()).device
    scores = _scores(model, items.to(device), lengths.to(device), users)
    scores[:, 0] = -torch.inf
    if not known_too:
        owners = torch.from_numpy(np.repeat(np.arange(len(histories)), ends - starts))
        scores[owners.to(device), torch.from_numpy(flat).to(device)] = -torch.inf
    best = scores.topk(k, dim=1)
    return Recommended(best.indices * best.values.isfinite(), best.values, lengths.to(device) == 0)


def _scores(model: IDModel, items: Tensor, lengths: Tensor, users: Tensor | None) -> Tensor:
    """[B, N], in evaluation mode; popularity after an empty history."""
    was_training = model.training
    model.eval()
    try:
        scores = model.scores(items, lengths, users)
    finally:
        model.train(was_training)
    empty = lengths == 0
    if empty.any():
        if model.popularity is None:
            raise IDModelError(
                "an empty history is served by popularity, which this model does not have: train it first"
            )
        log.warning("%d of %d histories are empty: served by popularity", int(empty.sum()), len(empty))
        scores[empty] = model.popularity.to(scores)
    return scores


def _check(model: IDModel, histories: Sequence[Sequence[int]], k: int) -> None:
    if not 1 <= k < model.n_items:
        raise IDModelError(f"k must be 1 to {model.n_items - 1}, the number of items, got {k}")
    for number, history in enumerate(histories):
        for item in history:
            if item != int(item) or not 1 <= item < model.n_items:
                known = model.n_items - 1
                raise IDModelError(f"item id {item} in history {number}; this model knows items 1 to {known}")
