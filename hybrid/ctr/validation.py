"""Validation of a side of task ctr, and what it shows in TensorBoard."""

import logging
import time
from collections.abc import Mapping

import numpy as np

from hybrid.config.schema import Config, Side
from hybrid.ctr.scoring import ClickScorer, LLMClicks
from hybrid.ctr.system import ClickSystem
from hybrid.data.clicks import Samples, draw_both_classes
from hybrid.errors import UserError
from hybrid.evaluation.click_metrics import METRICS, average_ranks, click_metrics, per_user_auc, sigmoid
from hybrid.training.monitor import Monitor
from hybrid.training.validation import flat_settings

log = logging.getLogger(__name__)
SHOWN = 4
"""Prompts that are shown with the answer."""


class ClickValidator:
    """Judges the valid samples with one side at a time; the test part is not known here."""

    def __init__(self, system: ClickSystem, scorers: Mapping[Side, ClickScorer], monitor: Monitor) -> None:
        self.system, self.scorers, self.monitor = system, scorers, monitor
        self.samples = evaluated(system.data.valid, system.config)

    def validate(self, side: Side, own_step: int, epoch: int, step: int) -> dict[str, float]:
        """Metrics of one side on its validation samples; logged over its own steps."""
        started = time.perf_counter()
        logits = self.scorers[side].logits(self.samples)
        metrics = click_metrics(logits, self.samples.labels, self.samples.users)
        metrics["seconds"] = time.perf_counter() - started
        self.monitor.scalars(f"valid/{side}", metrics, own_step)
        self.monitor.record("valid", {"side": side, "own_step": own_step, "epoch": epoch, "step": step, **metrics})
        log.info("%s side, epoch %d: %s", side, epoch, short(metrics))
        scorer = self.scorers[side]
        if isinstance(scorer, LLMClicks):
            self._show(scorer, logits, own_step)
            self._log_agreement(logits, step)
        return metrics

    def finish(self, results: Mapping[str, float]) -> None:
        """Hyper-parameters with the final metrics, and the click model's item embeddings with titles."""
        self.monitor.hyperparameters(flat_settings(self.system.config), results)
        self.monitor.record("finished", dict(results))
        if self.system.id_model is not None:
            table = self.system.id_model.item_table().detach()
            self.monitor.projector("items/id", table, self.system.data.item_text)

    def _log_agreement(self, llm_logits: np.ndarray, step: int) -> None:
        """Rank correlation of both sides' logits; there is none where a side says the same of all samples."""
        if "id" not in self.scorers:
            return
        both = [self.scorers["id"].logits(self.samples), llm_logits]
        if all(np.ptp(logits) > 0 for logits in both):
            correlation = float(np.corrcoef([average_ranks(logits) for logits in both])[0, 1])
            self.monitor.scalars("exchange", {"agreement": correlation}, step)

    def _show(self, scorer: LLMClicks, logits: np.ndarray, own_step: int) -> None:
        """A few prompts, how sure of a click the language model is, and the truth, as text."""
        which = np.arange(min(SHOWN, len(self.samples)))
        samples = self.samples.take(which)
        batch = scorer.prompts.builder.build(scorer.selected(samples), which)
        for number in which:
            tokens = batch.tokens[number, : batch.lengths[number]]
            text = scorer.recommender.backbone.tokenizer.decode(tokens)
            answer = f"**Yes** {sigmoid(logits[number]):.3f}, **truth** {'yes' if samples.labels[number] else 'no'}"
            user = self.system.data.user_ids[int(samples.users[number])]
            self.monitor.text(f"clicks/user_{user}_{number}", f"{text}\n\n{answer}", own_step)


def evaluated(samples: Samples, config: Config) -> Samples:
    """The samples of a part that are judged: the same ones for every run and both sides.

    Raises UserError where too few were drawn to hold both classes, or both of one user where that decides.
    """
    count = config.evaluation.ctr_samples
    drawn = draw_both_classes(samples, f"evaluation.ctr_samples={count}", count, config.data.sample_seed)
    by_user = per_user_auc(np.zeros(len(drawn)), drawn.labels, drawn.users)
    if config.evaluation.ctr_metric == "uauc" and not len(by_user):
        raise UserError(
            f"evaluation.ctr_metric=uauc: no user of the {len(drawn)} samples judged has both clicked and not clicked; "
            "take auc, or judge more samples (evaluation.ctr_samples)"
        )
    return drawn


def short(metrics: Mapping[str, float]) -> str:
    """The metrics in one line."""
    return ", ".join(f"{name} {metrics[name]:.4f}" for name in METRICS)
