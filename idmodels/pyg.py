"""The door to torch-geometric, which only the graph models need."""

import warnings

import torch
from torch import Tensor, nn

from idmodels.errors import IDModelError

INSTALL = "pip install torch-geometric"


def weighted_sum(model: str) -> nn.Module:
    """LightGCN's convolution, ``conv(x, matrix)``: each node's weighted sum over its neighbours, nothing learned.

    Raises IDModelError, naming ``model``, where torch-geometric is absent.
    """
    try:
        from torch_geometric.nn import LGConv
    except ImportError:
        raise IDModelError(f"{model} needs torch-geometric, which is not installed: {INSTALL}") from None
    return _WeightedSum(LGConv(normalize=False))


class _WeightedSum(nn.Module):
    """In float32 at least, also under autocast: torch has no sparse products in bfloat16."""

    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, states: Tensor, matrix: Tensor) -> Tensor:
        dtype = torch.promote_types(matrix.dtype, torch.float32)
        with torch.autocast(states.device.type, enabled=False):
            summed: Tensor = self.conv(states.to(dtype), matrix.to(dtype))
        return summed


def neighbours(nodes: Tensor, others: Tensor, weights: Tensor, shape: tuple[int, int]) -> Tensor:
    """Sparse matrix for `weighted_sum`: node ``nodes[e]`` hears ``others[e]`` with weight ``weights[e]``.

    Compressed rows: on a CPU they are several times faster than torch-geometric's edge lists.
    """
    with warnings.catch_warnings(), torch.sparse.check_sparse_tensor_invariants():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support")
        return torch.sparse_coo_tensor(torch.stack([nodes, others]), weights, shape).coalesce().to_sparse_csr()
