"""Batches of instruction examples; those of similar length stand together.

Letters: B examples, T tokens, A answer tokens of the whole batch.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hybrid.instruct.examples import Example
from idmodels.buckets import bucket


@dataclass(frozen=True, eq=False)
class InstructionBatch:
    """B examples, right-padded."""

    tokens: Tensor
    """[B, T]."""
    places: tuple[Tensor, Tensor]
    """(example, time), each [A]: the states that predict answer tokens."""
    targets: Tensor
    """[A] these tokens."""

    def to(self, device: torch.device) -> "InstructionBatch":
        """The same batch on another device."""
        example, time = self.places
        return InstructionBatch(self.tokens.to(device), (example.to(device), time.to(device)), self.targets.to(device))


class InstructionBatches:
    """The batches of all examples; their order depends on (seed, epoch) alone."""

    def __init__(self, examples: Sequence[Example], batch_prompts: int, seed: int) -> None:
        self.examples, self.batch_prompts, self.seed = examples, batch_prompts, seed
        self._lengths = np.array([len(example.prompt) + len(example.answer) for example in examples])

    def __len__(self) -> int:
        return -(-len(self.examples) // self.batch_prompts)

    def epoch(self, epoch: int, skip: int = 0) -> Iterator[InstructionBatch]:
        """The batches of an epoch but the first ``skip``."""
        batches = bucket(self._lengths, self.batch_prompts, np.random.default_rng((self.seed, epoch)))
        for batch in batches[skip:]:
            yield collate([self.examples[number] for number in batch])


def collate(examples: Sequence[Example]) -> InstructionBatch:
    """Answers are read too, but for their last token, which nothing follows."""
    rows = [[*example.prompt, *example.answer[:-1]] for example in examples]
    tokens = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    for number, row in enumerate(rows):
        tokens[number, : len(row)] = torch.tensor(row)
    places = [
        (number, len(example.prompt) - 1 + step)
        for number, example in enumerate(examples)
        for step in range(len(example.answer))
    ]
    example, time = torch.tensor(places).T
    return InstructionBatch(tokens, (example, time), torch.tensor([one for each in examples for one in each.answer]))
