"""One table of the exchange store: rows of vectors, each stamped with the step it was written at."""

from dataclasses import dataclass

import torch
from torch import Tensor

from bridges.errors import BridgeError

NEVER = -1
"""Stamp of a row that was never written."""

Rows = Tensor | slice
EVERY_ROW = slice(None)


@dataclass(frozen=True)
class Table:
    """Vectors of width P with stamps; on the CPU, whatever the two sides run on."""

    label: str
    """``side/kind``, for messages."""
    values: Tensor
    """[rows, P]; a row that was never written is zero."""
    stamps: Tensor
    """[rows] int64 step of the last write; `NEVER` where there was none."""

    @classmethod
    def empty(cls, label: str, rows: int, width: int, dtype: torch.dtype) -> "Table":
        """A table of which no row is written yet; zeros cost no memory until they are touched."""
        return cls(label, torch.zeros(rows, width, dtype=dtype), torch.full((rows,), NEVER))

    def written(self, rows: Rows = EVERY_ROW) -> Tensor:
        """Whether each of ``rows`` was ever written, [R] bool."""
        return self.stamps[rows] != NEVER

    def write(self, rows: Rows, values: Tensor, step: int, momentum: float) -> None:
        """Store the value at a row's first write, ``momentum * old + (1 - momentum) * new`` later.

        The arithmetic is float32 and is rounded once, when it is stored. Raises BridgeError for values of another
        shape than ``rows`` and the table ask for, or not finite in the table's dtype; nothing is written then.
        """
        self._check_shape(rows, values)
        self._check_finite(rows, values)
        old = self.values[rows].float()
        mixed = momentum * old + (1 - momentum) * values.float()
        seen = self.written(rows).unsqueeze(1)
        self.values[rows] = torch.where(seen, mixed, values.float()).to(self.values.dtype)
        self.stamps[rows] = step

    def read(self, rows: Rows) -> Tensor:
        """Vectors of ``rows`` in float32; BridgeError at the first one that was never written."""
        missing = ~self.written(rows)
        if missing.any():
            raise BridgeError(f"{self.label}: row {_first(rows, missing)} was never written")
        return self.values[rows].float()

    def _check_shape(self, rows: Rows, values: Tensor) -> None:
        count = len(rows) if isinstance(rows, Tensor) else len(self.values)
        if values.ndim != 2 or len(values) != count:
            raise BridgeError(f"{self.label}: {count} rows are written with values of shape {tuple(values.shape)}")
        if values.shape[1] != self.values.shape[1]:
            raise BridgeError(f"{self.label}: width was {self.values.shape[1]}, now {values.shape[1]}")

    def _check_finite(self, rows: Rows, values: Tensor) -> None:
        bad = ~values.to(self.values.dtype).isfinite().all(dim=1)
        if bad.any():
            raise BridgeError(
                f"{self.label}: row {_first(rows, bad)} is not finite (as {self.values.dtype}); "
                "only finite values are exchanged"
            )


def _first(rows: Rows, flagged: Tensor) -> int:
    position = int(flagged.nonzero()[0])
    return int(rows[position]) if isinstance(rows, Tensor) else position
