"""Every setting of a run, as frozen dataclasses; those of a part stand in the module of that part.

The docstring under each field is its help text: ``hybridrec train --help`` and ``docs/configuration.md`` are made from
it. Values are checked when a config is loaded (`hybrid.config.load`), before data or a model is touched.
"""

from dataclasses import dataclass, field
from pathlib import Path

from hybrid.config.bridge_settings import (
    BridgesConfig,
    CollaborativeConfig,
    DistillConfig,
    HardNegativesConfig,
    KnowledgeAdapterConfig,
    KnowledgeConfig,
    LoraGateConfig,
    MFormerConfig,
    NeighboursConfig,
    ReadBackConfig,
    SmoothingConfig,
    StoreConfig,
    SubstitutionConfig,
)
from hybrid.config.controls import ControlsConfig, check_controls
from hybrid.config.data_settings import DataConfig
from hybrid.config.evaluation_settings import EvaluationConfig
from hybrid.config.instruct_settings import InstructConfig, InstructTask, MixtureConfig
from hybrid.config.kinds import Arm, NotNegative, Side, Task
from hybrid.config.llm_settings import ClickPromptConfig, LLMConfig, LoRAConfig, PromptConfig, ScorerConfig
from hybrid.config.train_settings import IDTrainConfig, LLMTrainConfig, OptimizerConfig, ScheduleConfig, TrainConfig
from idmodels.click_settings import ClickShape
from idmodels.loss_settings import SOFTMAX_KINDS, LossSettings
from idmodels.settings import IDSettings

__all__ = [
    "Arm",
    "BridgesConfig",
    "ClickPromptConfig",
    "CollaborativeConfig",
    "Config",
    "ControlsConfig",
    "DataConfig",
    "DistillConfig",
    "EvaluationConfig",
    "HardNegativesConfig",
    "IDTrainConfig",
    "InstructConfig",
    "InstructTask",
    "KnowledgeAdapterConfig",
    "KnowledgeConfig",
    "LLMConfig",
    "LLMTrainConfig",
    "LoRAConfig",
    "LoraGateConfig",
    "MFormerConfig",
    "MixtureConfig",
    "NeighboursConfig",
    "OptimizerConfig",
    "PromptConfig",
    "ReadBackConfig",
    "ScheduleConfig",
    "ScorerConfig",
    "Side",
    "SmoothingConfig",
    "StoreConfig",
    "SubstitutionConfig",
    "Task",
    "TrainConfig",
]


@dataclass(frozen=True)
class Config:
    """A whole run."""

    name: str = "run"
    """Name of the run; its directory is `output_dir/name`."""
    output_dir: str = "runs"
    """Folder of the run directories."""
    task: Task = "ranking"
    """ranking: the next item among all; ctr: whether a user likes (clicks) one item. `id.model` may then
    also be dcnv2, deepfm, din, sim, or recbole:NAME of a context-aware or sequential model."""
    arm: Arm = "both"
    """id_only, llm_only: one side alone; id2llm, llm2id: one direction; both: the exchange goes both ways."""
    seed: NotNegative = 1
    """Seed of everything random."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    threads: NotNegative = 0
    """CPU threads; 0: torch's choice."""
    data: DataConfig = field(default_factory=DataConfig)
    id: IDSettings = field(default_factory=IDSettings)
    click: ClickShape = field(default_factory=ClickShape)
    llm: LLMConfig = field(default_factory=LLMConfig)
    instruct: InstructConfig = field(default_factory=InstructConfig)
    bridges: BridgesConfig = field(default_factory=BridgesConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    controls: ControlsConfig = field(default_factory=ControlsConfig)

    def __post_init__(self) -> None:
        fitting = ("global_time",) if self.task == "ctr" else ("leave_one_out", "gts_last")
        if self.data.split not in ("auto", *fitting):
            raise ValueError(
                f"task={self.task} cannot use data.split={self.data.split}; accepted: {', '.join(('auto', *fitting))}"
            )
        self._check_name()
        self._check_fixed_epochs()
        check_controls(self)
        self._check_knowledge()
        self._check_likelihood()
        self._check_smoothing()
        self._check_substitution()
        self._check_attended_history()
        self._check_exchange_start()
        if self.task == "ctr":
            self._check_clicks()

    def _check_name(self) -> None:
        name = Path(self.name)
        if not name.parts or name.is_absolute() or ".." in name.parts:
            raise ValueError(f"name: {self.name!r} must be a folder below output_dir, such as run or trials/first")

    def _check_fixed_epochs(self) -> None:
        schedule, fixed = self.train.schedule, self.train.llm.fixed_epochs
        sides: tuple[Side, ...] = ("llm",) if self.arm == "llm_only" else ("id", "llm")
        epochs = schedule.rounds * schedule.length("llm", sides)
        if fixed and (schedule.unit != "epochs" or fixed >= epochs):
            raise ValueError(
                f"train.llm.fixed_epochs {fixed} must be fewer than the LLM side's {epochs} epochs (rounds times its "
                "length, in a schedule whose unit is epochs): they go on from the best of those before"
            )

    def _check_smoothing(self) -> None:
        switches = {
            "smoothing": self.bridges.smoothing.enabled,
            "sequence_smoothing": self.bridges.sequence_smoothing.enabled,
        }
        on = [name for name, is_on in switches.items() if is_on]
        if self.task != "ranking" or self.arm not in ("llm2id", "both") or not on:
            return
        own, kind = self.id.recbole.get("loss_type", "CE"), self.train.id.loss.kind
        if own != "CE" or kind not in SOFTMAX_KINDS:
            found = f"train.id.loss.kind={kind}" if own == "CE" else f"id.recbole.loss_type={own}"
            raise ValueError(
                f"bridges.{on[0]} smooths the targets of a softmax, but the loss is {found}; accepted: "
                f"{', '.join(SOFTMAX_KINDS)}, or bridges.{on[0]}.enabled=false"
            )

    def _check_attended_history(self) -> None:
        reached = self.task == "ranking" and self.arm in ("id2llm", "both") and self.bridges.attended_history.enabled
        prompt = self.llm.prompt
        if reached and prompt.history_items <= prompt.targets_per_prompt:
            raise ValueError(
                "bridges.attended_history chooses among items that are older than the last "
                f"llm.prompt.targets_per_prompt {prompt.targets_per_prompt}, but llm.prompt.history_items "
                f"{prompt.history_items} has no room for them"
            )

    def _check_exchange_start(self) -> None:
        schedule, bridges = self.train.schedule, self.bridges
        start = f"train.schedule.exchange_from_round {schedule.exchange_from_round}"
        if schedule.exchange_from_round == 1 or self.arm in ("id_only", "llm_only"):
            return
        if schedule.exchange_from_round > schedule.rounds:
            raise ValueError(f"{start} must be at most train.schedule.rounds {schedule.rounds}, or nothing crosses")
        if self.task == "ctr":
            raise ValueError(f"{start} has no meaning with task=ctr; leave it out")
        switches = {"mformer": bridges.mformer.enabled, "lora_gate": bridges.lora_gate.enabled}
        if self.arm != "llm2id" and (on := [name for name, is_on in switches.items() if is_on]):
            raise ValueError(
                f"{start}: bridges.{on[0]} has the ID model at work in the LLM from its first step; set "
                f"bridges.{on[0]}.enabled=false, or leave the start at 1"
            )
        epochs = (schedule.rounds - schedule.exchange_from_round + 1) * schedule.llm_length
        if (fixed := self.train.llm.fixed_epochs) and fixed >= epochs:
            raise ValueError(
                f"train.llm.fixed_epochs {fixed} must be fewer than the LLM side's {epochs} epochs "
                f"from that round on ({start}): item vectors change when knowledge begins to cross"
            )

    def _check_substitution(self) -> None:
        reached = self.task == "ranking" and self.arm in ("llm2id", "both") and self.bridges.substitution.enabled
        states = self.llm.prompt.targets_per_prompt
        if reached and self.bridges.substitution.source == "ranking" and states < 3:
            raise ValueError(
                "bridges.substitution.source=ranking needs llm.prompt.targets_per_prompt of at least 3, this is "
                f"{states}: the last two of a user's states come before no item that the ID model reads in training"
            )
        schedule = self.train.schedule
        never = schedule.rounds == 1 and (schedule.first == "id" or not schedule.llm_length)
        if reached and self.bridges.substitution.source == "ranking" and never:
            raise ValueError(
                "bridges.substitution.source=ranking needs a turn of the LLM, or of the peer in its place, before one "
                "of the ID model; set train.schedule.rounds of at least 2"
                + (" or train.schedule.first=llm" if schedule.llm_length else "")
            )
        if reached and (self.id.model == "bert4rec" or self.id.model.startswith("recbole:")):
            raise ValueError(
                f"bridges.substitution replaces inputs, which id.model={self.id.model} cuts from the train part; "
                "take another of our own models or bridges.substitution.enabled=false"
            )

    def _check_knowledge(self) -> None:
        adapter = self.bridges.knowledge_adapter
        if adapter.enabled and self.task == "ctr" and adapter.history_items > self.data.min_history:
            raise ValueError(
                f"bridges.knowledge_adapter.history_items {adapter.history_items} must be at most data.min_history "
                f"{self.data.min_history}: later behaviours are targets, whose labels knowledge must not tell"
            )

    def _check_clicks(self) -> None:
        if self.train.id.loss != LossSettings():
            raise ValueError(
                "train.id.loss has no effect with task=ctr: click models learn by binary cross-entropy; leave it out"
            )
        if self.llm.tune == "none" and self.arm != "id_only" and self.train.schedule.llm_length:
            raise ValueError(
                "llm.tune=none leaves the LLM nothing to train with task=ctr; set train.schedule.llm_length=0 "
                "(the LLM as it came) or llm.tune=lora"
            )

    def _check_likelihood(self) -> None:
        if self.llm.scorer.kind == "candidate_likelihood":
            if self.arm != "llm_only" or self.task != "ranking":
                raise ValueError(
                    "llm.scorer.kind=candidate_likelihood ranks by text, so there are no states to exchange; "
                    "set arm=llm_only (and task=ranking)"
                )
            if self.llm.prompt.items != "titles":
                raise ValueError("llm.scorer.kind=candidate_likelihood is about titles; set llm.prompt.items=titles")
            if self.llm.tune != "lora" or self.llm.lora.kind != "plain":
                raise ValueError("llm.scorer.kind=candidate_likelihood needs llm.tune=lora and llm.lora.kind=plain")
