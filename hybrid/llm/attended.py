"""Which items of long histories a prompt reads, where the newest are not all that matters.

Letters: B windows, C of them whose history is cut, L older items of the longest of these, I items read.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from hybrid.llm.windows import Windows
from idmodels.batches import padded_histories
from idmodels.ragged import positions, row_starts

Attention = Callable[[Tensor, Tensor], Tensor | None]
"""`bridges.protocols.Bridge.attention`."""


def attended_places(windows: Windows, first: np.ndarray, newest: int, attention: Attention) -> np.ndarray:
    """Places [I] in ``windows.items`` of what is read, window after window, each in time order.

    As many as from ``first`` [B] to the windows' ends. The ``newest``, and all that predict, are read anyway; of the
    items before them those with the most attention, of equals the later. Where none is known the newest are read.
    """
    counts = windows.ends - first
    read = positions(first, counts)
    begins = np.maximum(first, windows.ends - np.maximum(newest, windows.suffixes))  # of what is read anyway
    cut = np.flatnonzero((windows.starts < first) & (begins > first))
    if not len(cut):
        return read
    longest = int((begins - windows.starts)[cut].max())
    items, _ = padded_histories(windows.items, windows.starts[cut], begins[cut], longest)  # [C, L]
    found = attention(torch.from_numpy(windows.user_rows[cut]), items)
    if found is None:
        return read
    offsets = row_starts(counts)
    for number, scores in zip(cut, found.numpy(), strict=True):
        older, wanted = begins[number] - windows.starts[number], begins[number] - first[number]
        if not np.isnan(scores[0]):
            best = older - 1 - np.argsort(-scores[:older][::-1], kind="stable")[:wanted]
            read[offsets[number] : offsets[number] + wanted] = windows.starts[number] + np.sort(best)
    return read
