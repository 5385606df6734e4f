"""PCA whitening: item vectors of an LLM lie in a narrow cone; whitened, each direction counts the same.

Letters: N items (row 0 is padding), H vector width, C components.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bridges.errors import BridgeError

CHUNK_ROWS = 65_536
SMALLEST_VARIANCE = 1e-8
"""Directions with less than this share of the largest variance are rounding noise, and are not blown up."""


def component_count(n_items: int, width: int, wanted: int) -> int:
    """How many components N - 1 centred vectors of width H can have at most: ``min(wanted, N - 2, H)``.

    Raises BridgeError where that is none.
    """
    count = min(wanted, n_items - 2, width)
    if count < 1:
        raise BridgeError(
            f"whitening needs at least 2 items, a width and a component; got {n_items - 1}, {width}, {wanted}"
        )
    return count


@dataclass(frozen=True)
class Whitening:
    """``z = (x - mean) @ basis``: uncorrelated components of variance one, the strongest first."""

    mean: Tensor
    """[H] float32."""
    basis: Tensor
    """[H, C] float32 principal axes, each divided by the standard deviation along it."""

    @classmethod
    def fit(cls, vectors: Tensor, components: int) -> "Whitening":
        """Fit on rows 1.. of ``vectors`` [N, H]; C is `component_count`.

        Deterministic: eigenvectors in float64, the largest entry of each axis positive. An axis along which the vectors
        don't vary becomes zero. Raises BridgeError where fewer than two items are left.
        """
        count = component_count(len(vectors), vectors.shape[1], components)
        items = vectors[1:]
        mean = sum(chunk.double().sum(dim=0) for chunk in items.split(CHUNK_ROWS)) / len(items)
        axes, variances = principal_axes(items, mean, count)
        kept = variances > _noise(variances[0], mean)
        scale = torch.where(kept, variances, torch.inf).rsqrt()  # [C]
        return cls(mean.float(), (axes * scale).float())

    def apply(self, vectors: Tensor) -> Tensor:
        """Whitened vectors [N, C] in float32, computed in float64; row 0 is zero."""
        mean, basis = self.mean.double(), self.basis.double()
        chunks = [((chunk.double() - mean) @ basis).float() for chunk in vectors.split(CHUNK_ROWS)]
        whitened = torch.cat(chunks)
        whitened[0] = 0
        return whitened


class KeptWhitening(nn.Module):
    """A `Whitening` that is fitted to the first vectors it meets and saved with the weights.

    Later vectors are mapped by the same axes, so that what is learned on top of the components keeps its meaning. Its
    buffers have a size that is known before the vectors are, C = `component_count`.
    """

    mean: Tensor
    """[H]."""
    basis: Tensor
    """[H, C]; zero until the first vectors come."""

    def __init__(self, n_items: int, width: int, wanted: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("basis", torch.zeros(width, component_count(n_items, width, wanted)))

    @property
    def count(self) -> int:
        """Components C."""
        return self.basis.shape[1]

    @property
    def fitted(self) -> bool:
        """Whether there have been vectors; waits for the device."""
        return bool(self.basis.any())

    @torch.no_grad()
    def forward(self, vectors: Tensor, refit: bool = False) -> Tensor:
        """Whitened vectors [N, C] of [N, H], row 0 zero; ``refit``: by axes of their own, which are kept from here."""
        vectors = vectors.to(self.mean.device)
        if refit or not self.fitted:
            found = Whitening.fit(vectors, self.count)
            self.mean.copy_(found.mean)
            self.basis.copy_(found.basis)
        return Whitening(self.mean, self.basis).apply(vectors)

    @torch.no_grad()
    def recentre(self, items: Tensor) -> None:
        """Keep the directions of the axes, but take mean and spread along them from ``items`` [M, H]."""
        items = items.to(self.mean)
        self.mean.copy_(items.mean(dim=0))
        spread = ((items - self.mean) @ self.basis).std(dim=0)  # [C]
        self.basis.div_(torch.where(spread > 0, spread, 1.0))


def _noise(largest: Tensor, mean: Tensor) -> Tensor:
    rounding = torch.finfo(torch.float32).eps * mean.abs().max()
    return torch.maximum(SMALLEST_VARIANCE * largest, rounding.square())


def principal_axes(items: Tensor, mean: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The first C principal axes [H, C] of ``items`` [N, H] in float64 and the variances along them [C].

    Deterministic: the largest entry of each axis is positive.
    """
    covariance = torch.zeros(len(mean), len(mean), dtype=torch.float64, device=items.device)
    for chunk in items.split(CHUNK_ROWS):
        centred = chunk.double() - mean
        covariance += centred.T @ centred
    variances, axes = torch.linalg.eigh(covariance / (len(items) - 1))  # ascending
    variances, axes = variances.flip(0)[:count], axes.flip(1)[:, :count]
    largest = axes.gather(0, axes.abs().argmax(dim=0, keepdim=True))  # [1, C]
    return axes * largest.sign(), variances
