"""What the adapters of one model know of the samples they read, for as long as one forward pass lasts."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

from bridges.errors import BridgeError
from bridges.lora.algebra import Core


class Condition:
    """User vectors of the present forward pass; there are none outside `given`.

    The activations are computed again under gradient checkpointing, after the pass is over: that is an error here, not
    a silent other result.
    """

    def __init__(self) -> None:
        self._known = False
        self._users: Tensor | None = None
        self._cores: dict[tuple[str, str], Core] = {}

    @contextmanager
    def given(self, users: Tensor | None) -> Iterator[None]:
        """Within this context the samples have the vectors ``users`` [B, C]; None: texts of no user in particular."""
        before = self._known, self._users, self._cores
        self._known, self._users, self._cores = True, users, {}
        try:
            yield
        finally:
            self._known, self._users, self._cores = before

    @property
    def cores(self) -> dict[tuple[str, str], Core] | None:
        """Cores by (adapter, group) that this pass has made already, to be shared by the layers; None outside."""
        return self._cores if self._known else None

    def users(self) -> Tensor | None:
        """The vectors [B, C] or None for no user. Raises BridgeError outside `given`."""
        if not self._known:
            raise BridgeError(
                "this adapter depends on the user, but the forward pass was given none; "
                "run it within `tuner.given(users)`, with None for texts of no user"
            )
        return self._users
