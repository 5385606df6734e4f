"""Both sides of task ctr as one thing: a logit of a click for each sample.

Letters: M samples, K behaviours read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from bridges.protocols import PromptContext
from hybrid.ctr.prompts import ClickPromptBatch, ClickPrompts, Selected
from hybrid.ctr.recommender import ClickRecommender
from hybrid.ctr.selectors import BehaviourSelector
from hybrid.data.clicks import Samples
from hybrid.exchange import Exchange
from hybrid.modes import inference
from hybrid.progress import progress
from idmodels.click import ClickModel
from idmodels.click_batches import ClickRows


class ClickScorer(Protocol):
    """A side that judges clicks."""

    def logits(self, samples: Samples) -> np.ndarray:
        """Logit of a click on each sample, [M] float64."""


@dataclass
class IDClicks:
    """Judges with the click model."""

    model: ClickModel
    batch_samples: int
    device: torch.device
    bridges: Sequence[nn.Module] = ()
    """What gives the model features; at rest they are looked up, not computed."""

    def logits(self, samples: Samples) -> np.ndarray:
        """See `ClickScorer`."""
        rows, found = click_rows(samples), np.zeros(len(samples))
        with inference(self.model, *self.bridges):
            for which in rows.in_order_of_length(self.batch_samples):
                batch = rows.batch(which, self.model.settings.max_length).to(self.device)
                found[which] = _numpy(self.model.logits(batch))
        return found


@dataclass
class LLMClicks:
    """Judges with the language model, which reads the behaviours that the selector chooses."""

    recommender: ClickRecommender
    prompts: ClickPrompts
    selector: BehaviourSelector
    behaviours: int
    """K."""
    device: torch.device
    gate: "UserGate"

    def logits(self, samples: Samples) -> np.ndarray:
        """See `ClickScorer`."""
        selected, found = self.selected(samples), np.zeros(len(samples))
        n_batches = -(-len(samples) // self.prompts.eval_prompts)
        with inference(self.recommender):
            for batch in progress(self.prompts.in_order_of_length(selected), "judging clicks", n_batches):
                found[batch.numbers.numpy()] = _numpy(self.log_odds(selected, batch))
        return found

    def selected(self, samples: Samples) -> Selected:
        """The samples with the behaviours that are read of each."""
        return Selected.by(self.selector, samples, self.behaviours)

    def log_odds(self, selected: Selected, batch: ClickPromptBatch) -> Tensor:
        """Logit of a click on each of a batch's prompts, [B], with gradient; ``selected`` is what it was made of."""
        users = self.gate.users(selected.samples.take(batch.numbers.numpy()))
        return self.recommender.log_odds(batch.to(self.device), users)


@dataclass
class UserGate:
    """What the language model's adapter may know of the user: the frozen click model's state (RecLoRA)."""

    exchange: Exchange
    model: ClickModel | None
    device: torch.device

    def users(self, samples: Samples) -> Tensor | None:
        """[B, S] without gradient, zero for an empty history; None where no bridge hands it over."""
        return self.exchange.fill_from(lambda: self._context(samples)).users

    def _context(self, samples: Samples) -> PromptContext:
        """The state before each sample, as that of a history of one item."""
        assert self.model is not None  # bridges exist only in arms with both sides
        batch = click_rows(samples).batch(np.arange(len(samples)), self.model.settings.max_length).to(self.device)
        with inference(self.model, *self.exchange.modules("id")):
            states = self.model.user_state(batch)  # [B, S]
        nothing = torch.full_like(batch.lengths, -1)
        return PromptContext(states[:, None], (batch.lengths > 0)[:, None], nothing, nothing[:0])


def click_rows(samples: Samples) -> ClickRows:
    """The samples as a click model's batches are made of them."""
    behaviours = samples.behaviours
    return ClickRows(
        items=behaviours.items,
        marks=behaviours.liked + 1,  # unknown, disliked, liked
        users=samples.users,
        starts=samples.starts,
        ends=samples.ends,
        targets=samples.items,
        labels=samples.labels,
    )


def _numpy(values: Tensor) -> np.ndarray:
    return values.double().cpu().numpy()
