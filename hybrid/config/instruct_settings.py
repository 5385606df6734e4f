"""Settings of instruction tuning over several domains."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from hybrid.config.kinds import NotNegative, Positive, PositiveFloat, Share

InstructTask = Literal["choice", "next_item", "preference", "rating", "category"]


@dataclass(frozen=True)
class MixtureConfig:
    """How the domain-general and the domain-specific adapter become one (MoLoRec)."""

    merge: Literal["ab", "delta"] = "ab"
    """ab: the A's and the B's are mixed apart (the paper's equations); delta: the products are (its code)."""
    granularity: Literal["model", "layer", "module"] = "model"
    """What shares one pair of weights: the whole model (the paper), a layer, or each module has its own (its code)."""
    weights: Literal["entropy", "grid", "fixed"] = "entropy"
    """entropy: least entropy of the answers to unlabelled prompts; grid: best validation, for granularity=model only;
    fixed: as given."""
    general_weight: Share = 0.5
    """Weight of the general adapter where fixed; the specific one has the rest."""
    source: Literal["valid", "test"] = "valid"
    """Whose prompts, without their answers, the entropy is taken over; test: at evaluation (transductive)."""
    prompts: Positive = 50
    """Unlabelled prompts."""
    answer_tokens: Positive = 3
    """First answer tokens whose entropy counts."""
    steps: Positive = 20
    """Adam steps on the mixture's weights; each takes `batch_prompts` of the prompts in turn."""
    batch_prompts: Positive = 10
    """Prompts in such a step."""
    learning_rate: PositiveFloat = 0.1
    """Learning rate of these steps."""
    grid_points: Annotated[int, Field(ge=2)] = 11
    """Weights tried by grid, from 0 to 1."""

    def __post_init__(self) -> None:
        if self.weights == "grid" and self.granularity != "model":
            raise ValueError(
                f"weights=grid tries one pair of weights for the whole model, so granularity={self.granularity} has no "
                "effect; set granularity=model or weights=entropy"
            )


@dataclass(frozen=True)
class InstructConfig:
    """Instruction tuning on several domains; used with llm.scorer.kind=candidate_likelihood."""

    general_datasets: tuple[str, ...] = ()
    """Datasets that the domain-general adapter is trained on, named as in data.dataset."""
    general_dir: str = ""
    """PEFT directory of the domain-general adapter: loaded if it is there, else trained and written there; empty:
    in the run directory."""
    tasks: tuple[InstructTask, ...] = ("choice", "next_item", "preference", "rating", "category")
    """Kinds of questions: next item among candidates, next item without, which of two, its rating, its category."""
    general_examples: Positive = 2000
    """Examples drawn from each general domain."""
    specific_examples: Positive = 2000
    """Examples drawn from the run's own domain."""
    general_epochs: Positive = 2
    """Epochs of the domain-general adapter."""
    specific_epochs: Positive = 4
    """Epochs of the domain-specific adapter."""
    candidates: Annotated[int, Field(ge=2)] = 30
    """Candidates of a choice: the true next item and random others."""
    list_candidates: bool = True
    """Candidates stand in the prompt when they are ranked (the paper); no: only the history does."""
    normalise: bool = True
    """Likelihood of a title per token; no: of the whole title, which prefers short ones."""
    valid_users: Positive = 200
    """Users ranked at validation, drawn once by the seed."""
    test_users: NotNegative = 0
    """Users ranked by `evaluate`, drawn once by the seed; 0: all."""
    catalogue_users: NotNegative = 20
    """Users whose whole catalogue `evaluate` ranks too, by title likelihood after the history alone; 0: none."""
    references: tuple[str, ...] = ()
    """Folders of runs or exported ID models that `evaluate` ranks the same candidates with, for comparison."""
    mixture: MixtureConfig = field(default_factory=MixtureConfig)
