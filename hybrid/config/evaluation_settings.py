"""Settings of the evaluation."""

from dataclasses import dataclass
from typing import Literal

from hybrid.config.kinds import NotNegative, Positive

RankMetric = Literal[
    "hr@5", "hr@10", "hr@20", "ndcg@5", "ndcg@10", "ndcg@20", "mrr@5", "mrr@10", "mrr@20"
]  # fmt: skip


@dataclass(frozen=True)
class EvaluationConfig:
    """How rankings are measured."""

    metric: RankMetric = "ndcg@10"
    """Validation metric that picks the best model of each side."""
    mask_history: bool = True
    """Leave out the items the user already has (RecBole's sequential evaluation does not)."""
    batch_users: Positive = 256
    """Users ranked at once."""
    batch_items: Positive = 16384
    """Items scored at once; bounds the memory whatever the catalogue's size."""
    llm_valid_users: NotNegative = 0
    """The LLM side validates on this many users, drawn once by the seed; 0: all."""
    llm_batch_prompts: Positive = 32
    """Prompts encoded at once outside training."""
    ctr_metric: Literal["auc", "uauc"] = "auc"
    """Task ctr: validation metric that picks the best model of each side."""
    ctr_samples: NotNegative = 0
    """Task ctr: both sides are evaluated on so many samples of a part, drawn by `data.sample_seed`; 0: all."""
    untrained: bool = True
    """Validate and evaluate a side that is not trained (zero-shot); off: it only gives the other side knowledge."""
    bootstrap: NotNegative = 1000
    """Redraws behind the 95 % intervals of `evaluate` (task ctr) and `compare` (rankings); 0: no intervals."""
