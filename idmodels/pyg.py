"""The door to torch-geometric, which only the graph models need."""

from torch import nn

from idmodels.errors import IDModelError

INSTALL = "pip install torch-geometric"


def light_conv() -> nn.Module:
    """LightGCN's convolution over an adjacency that is normalised already; raises IDModelError without PyG."""
    try:
        from torch_geometric.nn import LGConv
    except ImportError:
        raise _missing("LightGCN") from None
    conv: nn.Module = LGConv(normalize=False)
    return conv


def mean_conv() -> nn.Module:
    """The mean of a node's neighbours, without weights; raises IDModelError without PyG."""
    try:
        from torch_geometric.nn import SimpleConv
    except ImportError:
        raise _missing("SR-GNN") from None
    conv: nn.Module = SimpleConv(aggr="mean")
    return conv


def _missing(model: str) -> IDModelError:
    return IDModelError(f"{model} needs torch-geometric, which is not installed: {INSTALL}")
