"""The core M(u) of ``delta(x) = B M(u) A x`` (LoRA: Hu et al. 2021, M = 1), as maps of the low-rank states z = A x.

K experts of rank R stand one after the other: A is [K R, in], B is [out, K R], z is [..., K R]. A core is the same for
all samples, or one per sample; then its tensors begin with B and it is spread over each sample's tokens.

Letters: B samples, K experts, R rank of one expert.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from bridges.errors import BridgeError


class Core(ABC):
    """M(u)."""

    @abstractmethod
    def __call__(self, low: Tensor) -> Tensor:
        """``M z`` of low-rank states z [..., K R]; where the core is per sample, [B, ..., K R]."""

    def between(self, inputs: Tensor, down: Tensor, up: Tensor) -> Tensor:
        """``B M A x`` of inputs [..., in]; some cores can do it for less than two products of width K R."""
        return F.linear(self(F.linear(inputs, down)), up)


@dataclass(frozen=True)
class Identity(Core):
    """M = 1: plain LoRA."""

    def __call__(self, low: Tensor) -> Tensor:
        """See `Core`."""
        return low


@dataclass(frozen=True)
class SumOfProducts(Core):
    """M = diag(w) (x) 1_R, so that ``B M A = sum_k w_k B_k A_k``.

    A mixture of adapters by their products (`delta`); with experts that are blocks of one adapter's rank, M is
    block-diagonal (iLoRA, arXiv 2408.10159).
    """

    weights: Tensor
    """[K] or [B, K]."""

    def __call__(self, low: Tensor) -> Tensor:
        """See `Core`."""
        parts = _by_expert(low, self.weights)  # [..., K, R]
        return (parts * _spread(self.weights, low, 1).unsqueeze(-1)).flatten(-2)

    def between(self, inputs: Tensor, down: Tensor, up: Tensor) -> Tensor:
        """Weights of no sample in particular: expert by expert, so that weights (1, 0) are the first one to the bit."""
        if self.weights.dim() > 1:
            return super().between(inputs, down, up)
        downs, ups = _experts(down, up, self.weights)
        weights = self.weights.to(down.dtype)
        parts = [F.linear(F.linear(inputs, downs[k]) * weights[k], ups[k]) for k in range(len(weights))]
        return sum(parts[1:], parts[0])


@dataclass(frozen=True)
class ProductOfSums(Core):
    """M = (w w^T) (x) 1_R, so that ``B M A = (sum_k w_k B_k) (sum_k w_k A_k)``.

    A mixture of the A's and of the B's apart (`ab`); next to `SumOfProducts` it has the cross terms w_j w_k B_j A_k.
    """

    weights: Tensor
    """[K] or [B, K]."""

    def __call__(self, low: Tensor) -> Tensor:
        """See `Core`."""
        weights = _spread(self.weights, low, 1).unsqueeze(-1)  # [..., K, 1]
        merged = (_by_expert(low, self.weights) * weights).sum(dim=-2, keepdim=True)  # [..., 1, R]
        return (merged * weights).flatten(-2)

    def between(self, inputs: Tensor, down: Tensor, up: Tensor) -> Tensor:
        """Weights of no sample in particular: A's and B's are merged first, at the cost of one expert."""
        if self.weights.dim() > 1:
            return super().between(inputs, down, up)
        weights = self.weights.to(down.dtype)[:, None, None]
        merged = [(weights * part).sum(dim=0) for part in _experts(down, up, self.weights)]
        return F.linear(F.linear(inputs, merged[0]), merged[1])


@dataclass(frozen=True)
class Dense(Core):
    """M is any matrix: every atom of A may reach every atom of B (CFLoRA in ReLLaX, arXiv 2501.13344)."""

    matrix: Tensor
    """[K R, K R] or [B, K R, K R]."""

    def __call__(self, low: Tensor) -> Tensor:
        """See `Core`."""
        if self.matrix.shape[-1] != low.shape[-1]:
            raise BridgeError(f"a core of width {self.matrix.shape[-1]} cannot map states of width {low.shape[-1]}")
        return (_spread(self.matrix, low, 2) @ low.unsqueeze(-1)).squeeze(-1)


def low_rank(inputs: Tensor, down: Tensor, up: Tensor, core: Core) -> Tensor:
    """``B M(u) A x``: inputs x [..., in], ``down`` A [K R, in], ``up`` B [out, K R] -> [..., out].

    Raises BridgeError where the core does not fit the rank or the number of samples.
    """
    return core.between(inputs, down, up)


def core_matrix(core: Core, width: int, like: Tensor) -> Tensor:
    """M as a matrix [K R, K R], of a core that is the same for all samples; dtype and device of ``like``."""
    identity = like.new_zeros(width, width).fill_diagonal_(1)
    return core(identity).T  # the rows that go in are unit vectors, so the rows that come out are M's columns


def _by_expert(low: Tensor, weights: Tensor) -> Tensor:
    experts = weights.shape[-1]
    if low.shape[-1] % experts:
        raise BridgeError(f"{experts} weights cannot be those of low-rank states of width {low.shape[-1]}")
    return low.unflatten(-1, (experts, -1))


def _experts(down: Tensor, up: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """A's [K, R, in] and B's [K, out, R]."""
    downs = _by_expert(down.T, weights).permute(1, 2, 0)
    return downs, _by_expert(up, weights).transpose(0, 1)


def _spread(values: Tensor, low: Tensor, own_dims: int) -> Tensor:
    """Per-sample ``values`` [B, ...] with an axis of length 1 for each token axis of ``low``; others as they are."""
    values = values.to(low.dtype)
    if values.dim() == own_dims:
        return values
    if low.dim() < 2 or low.shape[0] != values.shape[0]:
        raise BridgeError(
            f"the adapter was given {values.shape[0]} user vectors, but reads {low.shape[0] if low.dim() > 1 else 1} "
            "samples; give one for each"
        )
    return values.reshape(values.shape[0], *[1] * (low.dim() - 2), *values.shape[1:])
