"""The exchange store: the information-sharing module between the two sides.

It holds what each side last wrote about every item and every user state, at which step, and from which item map.
Writes are mixed with a momentum, ``E <- m E + (1 - m) r``, which makes it a memory rather than a mailbox (BDLM,
arXiv 2311.03778; the momentum is this project's reading of the paper's "storage").

Letters: N items (row 0 is padding), R rows (interactions of the train part), P width of a score space, H LLM width.
"""

from collections import Counter
from typing import Any, TypedDict, get_args

import torch
from torch import Tensor

from bridges.errors import BridgeError, nearest
from bridges.protocols import Kind, Side
from bridges.table import EVERY_ROW, NEVER, Rows, Table


class StoreState(TypedDict):
    """The saved form: tensors for safetensors, the rest as JSON."""

    tensors: dict[str, Tensor]
    """``side.kind.rows``, ``.values`` and ``.stamps`` of the written rows of each table."""
    metadata: dict[str, Any]
    """Item map and sizes, compared when the state is loaded."""


class ExchangeStore:
    """Tables keyed by (side, kind); a table is made by its first write, which also fixes its width.

    ``item`` [N, P] is a side's item matrix in its score space, ``user`` [R, P] its user state by row, ``text`` [N, H]
    the LLM's raw item vectors. Tables stay on the CPU; what is read comes back in float32 on the index's device.
    User tables are kept in ``user_dtype``: half precision has a relative error of 2^-11, far below what one training
    step moves. All methods raise BridgeError for an unknown side or kind.
    """

    def __init__(
        self, n_items: int, n_rows: int, fingerprint: str, momentum: float, user_dtype: torch.dtype = torch.float16
    ) -> None:
        if not 0 <= momentum < 1:
            raise BridgeError(f"momentum must be in [0, 1), got {momentum}")
        self.n_items = n_items
        self.n_rows = n_rows
        self.fingerprint = fingerprint
        self.momentum = momentum
        self.user_dtype = user_dtype
        self._tables: dict[tuple[Side, Kind], Table] = {}
        self._writes: Counter[tuple[Side, Kind]] = Counter()

    def write(
        self, side: Side, kind: Kind, values: Tensor, *, step: int, fingerprint: str, index: Tensor | None = None,
        momentum: float | None = None,
    ) -> None:  # fmt: skip
        """Write ``values`` [R, P] into the rows ``index`` [R] (none: every row) and stamp them with ``step``.

        ``momentum`` is that of this write; none: the store's.
        Raises BridgeError for another item map, a changed width, a value that is not finite, a row out of range or
        named twice, or a negative step; the table is unchanged then.
        """
        self.check(fingerprint)
        if step < 0:
            raise BridgeError(f"{side}/{kind}: step must not be negative, got {step}")
        rows = self._rows(side, kind, index)
        values = values.detach().cpu()
        table = self._tables.get((side, kind)) or self._empty_table(side, kind, values)
        table.write(rows, values, step, self.momentum if momentum is None else momentum)
        if len(values):
            self._tables[side, kind] = table
            self._writes[side, kind] += 1

    def read(self, side: Side, kind: Kind, index: Tensor | None = None) -> Tensor:
        """Detached vectors of the rows ``index`` [R], or of the whole table, [R, P].

        A whole float32 table is not copied: later writes show in it. Raises BridgeError where a row was never
        written, is negative or out of range.
        """
        rows = self._rows(side, kind, index, unique=False)
        if not self.has(side, kind):
            raise BridgeError(f"{side}/{kind} was never written")
        values = self._tables[side, kind].read(rows)
        return values if index is None else values.to(index.device)

    def written(self, side: Side, kind: Kind, index: Tensor | None = None) -> Tensor:
        """Whether each row was ever written, bool; False for index -1, on the index's device."""
        if not self.has(side, kind):
            nothing = torch.zeros(self._size(side, kind), dtype=torch.bool)
            return nothing if index is None else torch.zeros_like(index, dtype=torch.bool)
        table = self._tables[side, kind]
        if index is None:
            return table.written()
        rows = index.cpu()
        return (table.written(rows.clamp_min(0)) & (rows >= 0)).to(index.device)

    def has(self, side: Side, kind: Kind) -> bool:
        """Whether the table exists, which is when any row of it was written."""
        self._size(side, kind)
        return (side, kind) in self._tables

    def writes(self, side: Side, kind: Kind) -> int:
        """How often the table has changed since the store was made, loading included; for readers that keep results."""
        self._size(side, kind)
        return self._writes[side, kind]

    def tables(self) -> list[tuple[Side, Kind]]:
        """(side, kind) of every table that was written."""
        return sorted(self._tables)

    def staleness(self, side: Side, kind: Kind, now: int) -> float:
        """Mean steps since the written rows were written; BridgeError where none was."""
        if not self.has(side, kind):
            raise BridgeError(f"{side}/{kind} was never written")
        table = self._tables[side, kind]
        return now - float(table.stamps[table.written()].double().mean())

    def check(self, fingerprint: str) -> None:
        """BridgeError unless ``fingerprint`` is the item map that this store belongs to."""
        if fingerprint != self.fingerprint:
            raise BridgeError(f"the exchange store belongs to item map {self.fingerprint!r}, not to {fingerprint!r}")

    def state_dict(self) -> StoreState:
        """The written rows of every table, so that large user tables are saved only where they are filled."""
        tensors: dict[str, Tensor] = {}
        for (side, kind), table in sorted(self._tables.items()):
            rows = table.written().nonzero().flatten()
            tensors[f"{side}.{kind}.rows"] = rows
            tensors[f"{side}.{kind}.values"] = table.values[rows]
            tensors[f"{side}.{kind}.stamps"] = table.stamps[rows]
        return {"tensors": tensors, "metadata": self._metadata()}

    def load_state_dict(self, state: StoreState) -> None:
        """Replace every table by ``state``, bit for bit; BridgeError where it belongs to other data."""
        self.check(state["metadata"]["fingerprint"])
        for name, mine in self._metadata().items():
            if state["metadata"].get(name) != mine:
                raise BridgeError(f"saved exchange store: {name} is {state['metadata'].get(name)}, expected {mine}")
        tables: dict[tuple[Side, Kind], Table] = {}
        for side in get_args(Side):
            for kind in get_args(Kind):
                if f"{side}.{kind}.rows" in state["tensors"]:
                    tables[side, kind] = self._restored(side, kind, state["tensors"])
        self._tables = tables
        self._writes.update(tables.keys())

    def _restored(self, side: Side, kind: Kind, tensors: dict[str, Tensor]) -> Table:
        rows = self._rows(side, kind, tensors[f"{side}.{kind}.rows"])
        values, stamps = (tensors.get(f"{side}.{kind}.{part}", torch.empty(0)) for part in ("values", "stamps"))
        table = self._empty_table(side, kind, values)
        table.write(rows, values, NEVER, momentum=0.0)
        table.stamps[rows] = stamps
        return table

    def _metadata(self) -> dict[str, Any]:
        return {"fingerprint": self.fingerprint, "n_items": self.n_items, "n_rows": self.n_rows}

    def _size(self, side: Side, kind: Kind) -> int:
        if side not in get_args(Side):
            raise BridgeError(f"unknown side {side!r}{nearest(side, get_args(Side))}")
        if kind not in get_args(Kind):
            raise BridgeError(f"unknown kind {kind!r}{nearest(kind, get_args(Kind))}")
        if (side, kind) == ("id", "text"):
            raise BridgeError("id/text: only the LLM side has text vectors")
        return self.n_rows if kind == "user" else self.n_items

    def _rows(self, side: Side, kind: Kind, index: Tensor | None, unique: bool = True) -> Rows:
        size = self._size(side, kind)
        if index is None:
            return EVERY_ROW
        if index.dtype != torch.int64:
            raise BridgeError(f"{side}/{kind}: rows must be int64, got {index.dtype}")
        rows = index.detach().cpu()
        if rows.numel() and not 0 <= int(rows.min()) <= int(rows.max()) < size:
            raise BridgeError(f"{side}/{kind}: rows are 0 to {size - 1}, got {int(rows.min())} to {int(rows.max())}")
        if unique and rows.unique().numel() < rows.numel():
            raise BridgeError(f"{side}/{kind}: a row is named twice in one write")
        return rows

    def _empty_table(self, side: Side, kind: Kind, values: Tensor) -> Table:
        if values.ndim != 2:
            raise BridgeError(f"{side}/{kind}: values must be [rows, width], got shape {tuple(values.shape)}")
        dtype = self.user_dtype if kind == "user" else torch.float32
        return Table.empty(f"{side}/{kind}", self._size(side, kind), values.shape[1], dtype)
