"""Supervised tuning of an adapter on instructions: cross-entropy of the answers' tokens (MoLoRec, eqs 1-3)."""

from collections.abc import Iterator, Sequence

from torch import Tensor
from torch.nn.functional import cross_entropy

from hybrid.config.schema import Config
from hybrid.instruct.batches import InstructionBatch, InstructionBatches
from hybrid.instruct.examples import Example
from hybrid.instruct.speaker import Speaker
from hybrid.llm.adapter import adapter_weights
from hybrid.training.learner import Learner


class InstructionLearner(Learner[InstructionBatch]):
    """Trains the adapter of a language model on examples."""

    side = "llm"

    def __init__(self, config: Config, speaker: Speaker, examples: Sequence[Example], epochs: int) -> None:
        self.speaker = speaker
        self.data = InstructionBatches(examples, config.train.llm.batch_prompts, config.seed)
        parameters = list(adapter_weights(speaker.lm).values())
        super().__init__([speaker], parameters, config.train.llm, epochs * len(self.data))

    def batches_per_epoch(self) -> int:
        """See `Learner`."""
        return len(self.data)

    def batches(self, epoch: int, skip: int) -> Iterator[InstructionBatch]:
        """See `Learner`."""
        return self.data.epoch(epoch, skip)

    def losses(self, batch: InstructionBatch) -> dict[str, Tensor]:
        """``answers``: mean over the answers' tokens; no other token is projected on the vocabulary."""
        batch = batch.to(self.speaker.device)
        states = self.speaker.states(batch.tokens)[batch.places]  # [A, H]
        return {"answers": cross_entropy(self.speaker.logits(states), batch.targets)}

    def write_store(self, step: int) -> None:
        """Nothing is exchanged."""
