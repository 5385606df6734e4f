"""Settings of the training of both sides."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from hybrid.config.kinds import Decay, NotNegative, NotNegativeFloat, Positive, PositiveFloat, Side
from idmodels.loss_settings import LossSettings
from idmodels.settings import Precision


@dataclass(frozen=True)
class ScheduleConfig:
    """Who trains when."""

    rounds: Positive = 3
    """Rounds; in each both sides have one phase."""
    unit: Literal["epochs", "steps"] = "epochs"
    """Unit of the two phase lengths below."""
    id_length: Positive = 5
    """Length of an ID phase."""
    llm_length: NotNegative = 1
    """Length of an LLM phase; 0: the LLM is validated and kept as it is (zero-shot)."""
    llm_only_length: NotNegative = 0
    """That length in the arm llm_only, if neither is 0: without a teacher the LLM may need longer to be done."""
    first: Side = "id"
    """The side that begins each round."""
    exchange_from_round: Positive = 1
    """Round from which knowledge crosses; in those before it each side trains as it would alone, but for learned tokens
    in the empty slots of bridges. What is kept as the best of a side that trains is from this round or later. (Task
    ranking; not with bridges that have the ID model at work in the LLM: mformer, lora_gate; an id_head then starts as
    it was drawn.)"""

    @property
    def lengths(self) -> dict[Side, int]:
        """Length of a phase, by side."""
        return {"id": self.id_length, "llm": self.llm_length}

    def length(self, side: Side, sides: Sequence[Side]) -> int:
        """Length of a phase of ``side`` in a run in which these sides train."""
        longer = tuple(sides) == ("llm",) and self.llm_length > 0 and self.llm_only_length > 0
        return self.llm_only_length if longer else self.lengths[side]


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW, linear warm-up, then a constant or cosine learning rate, counted in the side's own steps."""

    learning_rate: PositiveFloat = 1e-3
    """Peak learning rate."""
    weight_decay: NotNegativeFloat = 0.0
    """Decoupled weight decay."""
    warmup_steps: NotNegative = 0
    """Steps over which the learning rate rises from zero."""
    decay: Literal["constant", "cosine"] = "constant"
    """What follows the warm-up."""
    clip_norm: NotNegativeFloat = 5.0
    """Largest gradient norm; 0: no clipping."""
    average: Decay = 0.0
    """Decay, per step, of the running mean of the weights, which is what is validated, exchanged and kept; 0: the
    weights themselves are."""
    patience: NotNegative = 10
    """Validations without improvement after which the side's phase ends; the second time in vain the side stops.
    0: never."""
    samples: NotNegative = 0
    """Task ctr: train on so many samples, drawn by the seed, more of them include fewer; 0: all."""
    phase_end: Literal["last", "best"] = "last"
    """Weights that the side ends a phase with: those of its last step, or its best so far by validation."""


@dataclass(frozen=True)
class IDTrainConfig(OptimizerConfig):
    """Training of the ID model."""

    batch_targets: Positive = 2048
    """Targets (next items) in a batch, not rows."""
    precision: Precision = "auto"
    """Of the ID model's products while it trains; auto: bfloat16 where the device has it, else float32."""
    loss: LossSettings = field(default_factory=LossSettings)


@dataclass(frozen=True)
class LLMTrainConfig(OptimizerConfig):
    """Training of the language model."""

    learning_rate: PositiveFloat = 5e-4
    """Peak learning rate."""
    batch_prompts: Positive = 16
    """Prompts in a batch."""
    encode_items: Literal["phase", "epoch"] = "phase"
    """Items are encoded again with the weights of the moment: after each LLM phase, or before each LLM epoch too."""
    fixed_epochs: NotNegative = 0
    """The run's last LLM epochs that start from the best weights before them, and whose item vectors stay as they were
    with those (Laser's second stage); stopping early leaves them out."""


@dataclass(frozen=True)
class TrainConfig:
    """Training of both sides."""

    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    id: IDTrainConfig = field(default_factory=IDTrainConfig)
    llm: LLMTrainConfig = field(default_factory=LLMTrainConfig)
    safeguard: bool = True
    """Rankings where the LLM teaches the ID side: a plain ID model is trained first, and kept as the best where the ID
    side never beats it on validation. It also takes the place of an ID side that is behind it after its last phase, and
    of one that is not ahead by two standard errors after its first, where the vectors of texts stay the same.
    (From the round on in which knowledge begins to cross: train.schedule.exchange_from_round.)"""
    safeguard_patience: NotNegative = 5
    """Validations in a row, once the LLM has trained, in which the ID side's best so far is below what the plain one
    had reached by the same epoch; after them the LLM's losses reach it no more. 0: never."""
    checkpoint_steps: NotNegative = 200
    """Steps between checkpoints inside a phase; phases end with one anyway. 0: only there."""
    log_steps: Positive = 10
    """Steps between training scalars in TensorBoard."""
