"""One side while it trains: its parameters, optimiser, learning rate, data position and step count.

The two sides never share a parameter, and each has its own optimiser and its own step count.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from hybrid.config.schema import OptimizerConfig, Side
from hybrid.errors import DivergedError, UserError
from hybrid.modes import set_learning
from hybrid.training.averaging import AveragedWeights

Batch = TypeVar("Batch")


class Learner(ABC, Generic[Batch]):
    """A side of the exchange with all that is needed to train it and to go on later.

    Args:
        modules: what learns in this side's phases (the model and the bridges that feed it).
        parameters: the parameters to train, listed once; frozen weights are not among them. None where the side never
            has a turn.
        config: optimiser settings.
        total_steps: steps the schedule gives this side; the end of a cosine decay.
    """

    side: Side

    def __init__(
        self,
        modules: Sequence[nn.Module],
        parameters: Sequence[nn.Parameter],
        config: OptimizerConfig,
        total_steps: int,
    ) -> None:
        if not parameters and total_steps:
            raise UserError(f"the {self.side} side has nothing to train")
        self.modules, self.parameters, self.config = list(modules), list(parameters), config
        self.optimizer = torch.optim.AdamW(
            [{"params": self.parameters}], lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
        self.rate = LambdaLR(self.optimizer, lambda step: rate_factor(step, config, total_steps))
        self.average = AveragedWeights(self.parameters, config.average) if config.average else None
        self.awake = False
        self.steps = 0
        self.epoch = 0
        self.batches_done = 0

    @property
    def learning_rate(self) -> float:
        """Learning rate of the next step."""
        return float(self.optimizer.param_groups[0]["lr"])

    @abstractmethod
    def batches_per_epoch(self) -> int:
        """Batches in one epoch."""

    @abstractmethod
    def batches(self, epoch: int, skip: int) -> Iterator[Batch]:
        """The batches of an epoch, from number ``skip`` on; their order depends on seed and epoch only."""

    @abstractmethod
    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The parts of the loss, by name; their sum is what is minimised."""

    @abstractmethod
    def write_store(self, step: int) -> None:
        """Write to the exchange store what its bridges read of this side; ``step`` is that of both sides together."""

    def wake(self) -> None:
        """Begin to learn."""
        set_learning(self.modules, self.parameters, True)
        if self.average is not None and not self.steps:
            self.average.restart()
        self._take_weights(awake=True)

    def sleep(self) -> None:
        """Stop learning; from here on not one bit of this side moves; it is the mean of its weights, if one is kept."""
        set_learning(self.modules, self.parameters, False)
        self._take_weights(awake=False)

    def _take_weights(self, awake: bool) -> None:
        if self.average is not None and awake != self.awake:
            self.average.swap()
        self.awake = awake

    def stream(self) -> Iterator[tuple[Batch, bool]]:
        """(batch, whether it is the epoch's last) without end, from where this side left off."""
        while True:
            count = self.batches_per_epoch()
            for batch in self.batches(self.epoch, self.batches_done):
                self.batches_done += 1
                last = self.batches_done == count
                if last:
                    self.epoch, self.batches_done = self.epoch + 1, 0
                yield batch, last

    def start_anew(self) -> None:
        """Forget the optimiser's moments and the mean of the weights, after others were put in their place."""
        self.optimizer.state.clear()
        if self.average is not None:
            self.average.restart()

    def step(self, batch: Batch) -> dict[str, float]:
        """Learn from one batch; the parts of the loss, the gradient's norm and the learning rate.

        Raises:
            DivergedError: the loss or its gradient is not finite; this batch changed no weight.
        """
        losses = self.losses(batch)
        total = torch.stack(list(losses.values())).sum()
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        norm = nn.utils.clip_grad_norm_(self.parameters, self.config.clip_norm or math.inf)
        logs = _numbers(losses | {"loss": total, "gradient_norm": norm})
        self._check_finite("loss", logs["loss"])
        self._check_finite("gradient norm", logs["gradient_norm"])
        logs["learning_rate"] = self.learning_rate
        self.optimizer.step()
        self.rate.step()
        self.steps += 1
        if self.average is not None:
            self.average.step(self.steps)
        return logs

    def _check_finite(self, what: str, value: float) -> None:
        if math.isfinite(value):
            return
        count = self.batches_per_epoch()
        epoch, number = (self.epoch, self.batches_done) if self.batches_done else (self.epoch - 1, count)
        raise DivergedError(
            f"the {self.side} side's {what} is {value} at its step {self.steps} "
            f"(batch {number} of {count} in epoch {epoch + 1}); the last checkpoint is from before it"
        )

    def state_dict(self) -> dict[str, Any]:
        """JSON-able counters; weights and optimiser are saved apart."""
        return {"steps": self.steps, "epoch": self.epoch, "batches_done": self.batches_done}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from saved counters; the learning rate follows from them."""
        self.steps, self.epoch, self.batches_done = state["steps"], state["epoch"], state["batches_done"]
        self.rate.last_epoch = self.steps
        for group, rate in zip(self.optimizer.param_groups, self.rate.base_lrs, strict=True):
            group["lr"] = rate * self.rate.lr_lambdas[0](self.steps)
        self.rate._last_lr = [group["lr"] for group in self.optimizer.param_groups]


def _numbers(values: dict[str, Tensor]) -> dict[str, float]:
    """Scalars as Python's numbers; all are read at once, since a GPU must be waited for each time it is asked."""
    return dict(zip(values, torch.stack(list(values.values())).tolist(), strict=True))


def rate_factor(step: int, config: OptimizerConfig, total_steps: int) -> float:
    """Share of the peak learning rate at a step (from 0): linear warm-up, then constant or cosine to zero."""
    if step < config.warmup_steps:
        return (step + 1) / config.warmup_steps
    if config.decay == "constant" or total_steps <= config.warmup_steps:
        return 1.0
    share = min(1.0, (step - config.warmup_steps) / (total_steps - config.warmup_steps))
    return 0.5 * (1 + math.cos(math.pi * share))
