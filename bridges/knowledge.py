"""Knowledge features: what the LLM knows of an item enters the ID item table, ``e_i = b_i + W z_i``.

z_i is the whitened LLM vector of item i's text. At export W z is added into the table, so the improved ID model costs
what the plain one costs.
"""

import math
from collections.abc import Collection
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from bridges.errors import BridgeError, nearest
from bridges.protocols import Bridge, Direction, Kind, Place, Side, Task
from bridges.sharing import ExchangeStore
from bridges.whitening import KeptWhitening

Projection = Literal["linear", "mlp", "gated"]

FEATURE_STD = 0.02
"""Spread of the features at first, that of a freshly made item table."""
GELU_VARIANCE = 0.425
"""Mean square of gelu(x) for x standard normal."""
GATE_VARIANCE = 0.293
"""Mean square of sigmoid(x) for x standard normal."""


class KnowledgeFeatures(Bridge):
    """Adds W z [N, D] to the item table once the LLM's item vectors are in the store.

    The whitening axes are fitted at the first refresh and kept: re-encoded vectors are mapped by the same axes, so W
    keeps its meaning while the LLM moves. Axes and z are buffers of a size that is known beforehand, C =
    ``min(components, N - 2, H)``, so that a checkpoint holds everything. Raises BridgeError for vectors of another
    width or fewer than two items.
    """

    name: ClassVar[str] = "knowledge"
    direction: ClassVar[Direction] = "llm2id"
    place: ClassVar[Place] = "features"
    tasks: ClassVar[frozenset[Task]] = frozenset({"ranking", "ctr"})

    def __init__(
        self,
        store: ExchangeStore,
        n_items: int,
        id_width: int,
        llm_width: int,
        components: int,
        projection: Projection,
    ) -> None:
        super().__init__()
        self._store = store
        self._fitted = False
        self.whitening = KeptWhitening(n_items, llm_width, components)
        self.projection = _projection(projection, self.whitening.count, id_width)
        self.register_buffer("z", torch.zeros(n_items, self.whitening.count))
        self.z: Tensor
        self.register_load_state_dict_post_hook(_read_fitted)

    def reads(self, directions: Collection[Direction]) -> set[tuple[Side, Kind]]:
        """See `Bridge`."""
        return {("llm", "text")}

    def item_features(self) -> Tensor | None:
        """W z [N, D], row 0 exactly zero; None until the store has had text vectors."""
        return self.projection(self.z) if self._fitted else None

    @torch.no_grad()
    def refresh(self) -> None:
        """Whiten the store's text vectors again; the first time, fit the axes."""
        if not self._store.has("llm", "text"):
            return
        vectors, expected = self._store.read("llm", "text"), (len(self.z), len(self.whitening.mean))
        if vectors.shape != expected:
            raise BridgeError(f"knowledge: llm/text is {list(vectors.shape)}, expected {list(expected)}")
        self.z.copy_(self.whitening(vectors))
        self._fitted = True


def _read_fitted(module: nn.Module, _: object) -> None:
    # The axes are what is saved; the plain flag spares a device synchronisation per step.
    assert isinstance(module, KnowledgeFeatures)
    module._fitted = module.whitening.fitted


def _projection(kind: Projection, components: int, id_width: int) -> nn.Module:
    """No biases: the zero vector of the padding row stays exactly zero."""
    if kind == "linear":
        return _linear(components, id_width, FEATURE_STD / math.sqrt(components))
    if kind == "mlp":
        hidden = 2 * id_width
        outer_std = FEATURE_STD / math.sqrt(GELU_VARIANCE * hidden)
        return nn.Sequential(
            _linear(components, hidden, 1 / math.sqrt(components)), nn.GELU(), _linear(hidden, id_width, outer_std)
        )
    if kind == "gated":
        return _Gated(components, id_width)
    raise BridgeError(f"knowledge: unknown projection {kind!r}{nearest(kind, get_args(Projection))}")


class _Gated(nn.Module):
    """``W z * sigmoid(V z)``: each component of the features has a gate that the text opens or closes."""

    def __init__(self, components: int, id_width: int) -> None:
        super().__init__()
        self.value = _linear(components, id_width, FEATURE_STD / math.sqrt(GATE_VARIANCE * components))
        self.gate = _linear(components, id_width, 1 / math.sqrt(components))

    def forward(self, z: Tensor) -> Tensor:
        features: Tensor = self.value(z) * torch.sigmoid(self.gate(z))
        return features


def _linear(inputs: int, outputs: int, std: float) -> nn.Linear:
    linear = nn.Linear(inputs, outputs, bias=False)
    nn.init.normal_(linear.weight, std=std)
    return linear
