"""The run of task ctr: the same turns, checkpoints and early stopping, by the validation AUC."""

from collections.abc import Mapping
from typing import Any, cast

from hybrid.config.schema import Side
from hybrid.ctr.learners import ClickIDLearner, ClickLLMLearner
from hybrid.ctr.system import ClickSystem
from hybrid.ctr.validation import ClickValidator, evaluated
from hybrid.exchange import judged_sides
from hybrid.training.learner import Learner
from hybrid.training.run_directory import replace_directory
from hybrid.training.trainer import BaseTrainer
from hybrid.training.validation import SideValidator


class ClickTrainer(BaseTrainer[ClickSystem]):
    """Trains the sides to judge clicks.

    Raises UserError where a prompt of the train or valid part is longer than the language model's context.
    """

    def __init__(self, system: ClickSystem) -> None:
        super().__init__(system)
        if "llm" in judged_sides(self.config):
            learner = cast(ClickLLMLearner, self.learners["llm"])
            valid = evaluated(system.data.valid, self.config)
            for selected in (learner.selected, learner.scorer.selected(valid)):
                learner.scorer.prompts.check(selected)

    @property
    def metric(self) -> str:
        """See `BaseTrainer`."""
        return self.config.evaluation.ctr_metric

    def _learner(self, side: Side) -> Learner[Any]:
        made = ClickIDLearner if side == "id" else ClickLLMLearner
        return made(self.system, self.schedule.total(side))

    def _validator(self) -> SideValidator:
        learners = {side: cast(ClickIDLearner | ClickLLMLearner, one) for side, one in self.learners.items()}
        return ClickValidator(self.system, {side: one.scorer for side, one in learners.items()}, self.monitor)

    def _keep_id(self, metrics: Mapping[str, float]) -> None:
        """The model with all that its item table is made of."""
        replace_directory(self.run.best_id, self.system.save)
