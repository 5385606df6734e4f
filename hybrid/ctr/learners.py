"""Both phases of task ctr: binary cross-entropy of the click model, and of the language model's two words."""

from collections.abc import Iterator

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from hybrid.ctr.prompts import ClickPromptBatch, Selected
from hybrid.ctr.scoring import IDClicks, click_rows
from hybrid.ctr.selectors import RecentBehaviours
from hybrid.ctr.system import ClickSystem
from hybrid.data.clicks import Samples, draw_both_classes
from hybrid.modes import inference
from hybrid.training.learner import Learner
from idmodels.click import ClickBatch
from idmodels.click_batches import ClickBatches
from idmodels.precision import choose_dtype, multiplies_in


class ClickIDLearner(Learner[ClickBatch]):
    """Trains the click model and the bridges that bring it knowledge."""

    side = "id"

    def __init__(self, system: ClickSystem, phases: int) -> None:
        config, model = system.config, system.need_id()
        self.system, self.model, self.device = system, model, system.device
        settings = config.train.id
        self.dtype = choose_dtype(settings.precision, system.device)
        count = settings.samples
        samples = draw_both_classes(system.data.train, f"train.id.samples={count}", count, config.seed)
        self.data = ClickBatches(click_rows(samples), model.settings.max_length, settings.batch_targets, config.seed)
        self.scorer = IDClicks(model, settings.batch_targets, system.device, system.exchange.modules("id"))
        unit_steps = len(self.data) if config.train.schedule.unit == "epochs" else 1
        super().__init__(
            [model, *system.exchange.modules("id")],
            [*model.parameters(), *system.exchange.parameters("id")],
            settings,
            phases * unit_steps,
        )

    def batches_per_epoch(self) -> int:
        """See `Learner`."""
        return len(self.data)

    def batches(self, epoch: int, skip: int) -> Iterator[ClickBatch]:
        """See `Learner`."""
        return self.data.epoch(epoch, skip)

    def losses(self, batch: ClickBatch) -> dict[str, Tensor]:
        """``bce``, with what else the model trains with."""
        with multiplies_in(self.dtype, self.device):
            return {"bce": self.model.loss(batch.to(self.device))}

    def write_store(self, step: int) -> None:
        """Write the item table where a bridge reads it."""
        exchange = self.system.exchange
        if exchange.reads("id", "item"):
            with inference(self.model, *exchange.modules("id")):
                exchange.store.write("id", "item", self.model.item_table(), step=step, fingerprint=exchange.fingerprint)


class ClickLLMLearner(Learner[ClickPromptBatch]):
    """Trains the adapter, and the bridges that bring the language model knowledge."""

    side = "llm"

    def __init__(self, system: ClickSystem, phases: int) -> None:
        config = system.config
        self.system, self.recommender, self.device = system, system.need_llm(), system.device
        self.scorer = system.llm_scorer()
        count = config.train.llm.samples
        samples = draw_both_classes(system.data.train, f"train.llm.samples={count}", count, config.seed)
        self.selected = _selected(system, samples)
        unit_steps = self.batches_per_epoch() if config.train.schedule.unit == "epochs" else 1
        super().__init__(
            [self.recommender, *system.exchange.modules("llm")],
            [*self.recommender.trainable_parameters(), *system.exchange.parameters("llm")],
            config.train.llm,
            phases * unit_steps,
        )

    def batches_per_epoch(self) -> int:
        """See `Learner`."""
        return self.scorer.prompts.n_batches(self.selected)

    def batches(self, epoch: int, skip: int) -> Iterator[ClickPromptBatch]:
        """See `Learner`."""
        return self.scorer.prompts.epoch(self.selected, epoch, skip)

    def losses(self, batch: ClickPromptBatch) -> dict[str, Tensor]:
        """``bce`` of the two-word softmax."""
        log_odds = self.scorer.log_odds(self.selected, batch)
        return {"bce": binary_cross_entropy_with_logits(log_odds, batch.labels.float().to(log_odds.device))}

    def write_store(self, step: int) -> None:
        """Nothing: no bridge reads the language model's judgement of single items."""


def _selected(system: ClickSystem, samples: Samples) -> Selected:
    """The samples with their behaviours; twice where both versions of each are learned from."""
    prompt = system.config.llm.click_prompt
    if prompt.mixed:
        return Selected.both(RecentBehaviours(), system.selector, samples, prompt.behaviours)
    return Selected.by(system.selector, samples, prompt.behaviours)
