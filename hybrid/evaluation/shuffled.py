"""Histories in random order at test time: a recommender that reads their order must lose by it.

Only the order changes: every user keeps the same items. Letters: M targets, n interactions.
"""

from dataclasses import replace

import numpy as np
import torch

from hybrid.data.split import Histories, Targets, copy_ranges
from hybrid.modes import inference
from hybrid.system import System
from idmodels.batches import padded_histories


def shuffled(targets: Targets, seed: int) -> Targets:
    """The same targets, each after the same items in an order drawn by the seed."""
    old = targets.histories
    new = copy_ranges(old.items, old.starts, old.ends)
    owners = np.repeat(np.arange(len(new)), new.lengths)  # [n]
    order = np.lexsort((np.random.default_rng(seed).random(len(new.items)), owners))
    return replace(targets, histories=Histories(new.items[order], new.starts, new.ends))


def rewrite_user_states(system: System, targets: Targets) -> None:
    """Put the ID states after the shuffled histories into the store where prompts read a user's last one from it.

    As many items are read as the user has in the train part: the state at that row has seen no more.
    """
    exchange, model = system.exchange, system.id_model
    if model is None or not exchange.reads("id", "user"):
        return
    train, histories = system.data.train, targets.histories
    known = np.minimum(train.lengths[targets.users], histories.lengths)
    some, batch = np.flatnonzero(known), system.config.evaluation.batch_users
    for first in range(0, len(some), batch):
        chosen = some[first : first + batch]
        starts = histories.starts[chosen]
        items, lengths = padded_histories(histories.items, starts, starts + known[chosen], model.settings.max_length)
        with inference(model):
            states = model.last_states(items.to(system.device), lengths.to(system.device))
        rows = torch.from_numpy(train.ends[targets.users[chosen]] - 1)
        exchange.store.write("id", "user", states, step=0, fingerprint=exchange.fingerprint, index=rows, momentum=0.0)
    exchange.refresh()
