"""Running means for TensorBoard that survive a checkpoint."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class RunningMeans(nn.Module):
    """Means of named values since they were last taken.

    Sums are buffers: they stay on the device without a synchronisation per step, and they are saved, so that a resumed
    run logs what the uninterrupted one would have logged.
    """

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__()
        self.names = tuple(names)
        self.register_buffer("sums", torch.zeros(len(self.names)))
        self.register_buffer("counts", torch.zeros(len(self.names)))
        self.sums: Tensor
        self.counts: Tensor

    @torch.no_grad()
    def add(self, name: str, values: Tensor) -> None:
        """Count every element of ``values`` towards ``name``."""
        place = self.names.index(name)
        self.sums[place] += values.detach().float().sum().to(self.sums.device)
        self.counts[place] += values.numel()

    @torch.no_grad()
    def take(self) -> dict[str, float]:
        """The means of the names that got values since the last call."""
        pairs = zip(self.names, self.sums.tolist(), self.counts.tolist(), strict=True)
        means = {name: total / count for name, total, count in pairs if count}
        self.sums.zero_()
        self.counts.zero_()
        return means
