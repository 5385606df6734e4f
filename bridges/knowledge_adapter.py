"""What the LLM wrote about users and items becomes features of a click model, through a mixture of experts.

Sample-efficient Laser (Lin et al., arXiv 2406.02368), with the adapter of `bridges.experts`. Features of a user and of
an item do not depend on each other, so that after training two tables hold them all: serving costs a lookup in each.

Letters: B samples, U users, N items (row 0 is padding), H LLM width, Z components, W width of a tower's features.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bridges.errors import BridgeError
from bridges.experts import ExpertAdapter
from bridges.protocols import Bridge, Direction, Place, Task
from bridges.running import RunningMeans
from bridges.whitening import Whitening, component_count

TOWERS = ("user", "item")
CHUNK_ROWS = 4096


class KnowledgeAdapter(Bridge):
    """Features [B, 2 W] of (user, item) pairs; zero until `set_knowledge` has been called.

    Knowledge vectors are whitened, each tower by axes of its own, which are kept with the vectors in the state dict.
    Raises BridgeError for fewer than two users or items.
    """

    name: ClassVar[str] = "knowledge_adapter"
    direction: ClassVar[Direction] = "llm2id"
    place: ClassVar[Place] = "features"
    tasks: ClassVar[frozenset[Task]] = frozenset({"ctr"})
    known: Tensor

    def __init__(
        self,
        n_users: int,
        n_items: int,
        llm_width: int,
        components: int,
        shared_experts: int,
        specific_experts: int,
        hidden: int,
        width: int,
    ) -> None:
        super().__init__()
        # Whitening leaves row 0 out; users have no padding row, so they get one in front.
        counts = {"user": n_users + 1, "item": n_items}
        self.components = min(component_count(rows, llm_width, components) for rows in counts.values())
        self.width = width
        self.adapter = ExpertAdapter(TOWERS, self.components, shared_experts, specific_experts, hidden, width)
        for tower in TOWERS:
            self.register_buffer(f"{tower}_vectors", torch.zeros(counts[tower], self.components))
        self.register_buffer("known", torch.tensor(False))
        self._means = RunningMeans([f"shared_{tower}" for tower in TOWERS])
        self._tables: dict[str, Tensor] = {}
        self.register_load_state_dict_post_hook(_forget_tables)

    @property
    def pair_width(self) -> int:
        """See `Bridge`: 2 W."""
        return len(TOWERS) * self.width

    @torch.no_grad()
    def set_knowledge(self, users: Tensor, items: Tensor) -> None:
        """Take the LLM's vectors of what it wrote: users [U, H], items [N, H]; row 0 of the items is not used.

        A user or item without knowledge comes as the mean of the others, which whitening makes zero.
        """
        for tower, vectors in (("user", F.pad(users, (0, 0, 1, 0))), ("item", items)):
            own = self.get_buffer(f"{tower}_vectors")
            if len(vectors) != len(own):
                extra = int(tower == "user")
                raise BridgeError(
                    f"knowledge_adapter: {len(vectors) - extra} {tower} vectors, expected {len(own) - extra}"
                )
            vectors = vectors.to(own.device)
            own.copy_(Whitening.fit(vectors, self.components).apply(vectors))
        self.known.fill_(True)
        self._tables = {}

    def pair_features(self, users: Tensor, items: Tensor) -> Tensor:
        """See `Bridge`: users from 0, F = 2 W; a lookup where nothing learns."""
        if not self.training and not torch.is_grad_enabled():
            tables = self.tables()
            return torch.cat([tables["user"][users], tables["item"][items]], dim=1)
        parts = []
        for tower, rows in (("user", users + 1), ("item", items)):
            parts.append(self._tower(tower, rows))
            self._count(tower, rows)
        return torch.cat(parts, dim=1)

    @torch.no_grad()
    def tables(self) -> dict[str, Tensor]:
        """All that serving needs: ``user`` [U, W] and ``item`` [N, W], computed once until learning goes on."""
        if not self._tables:
            for tower in TOWERS:
                rows = torch.arange(len(self.get_buffer(f"{tower}_vectors")), device=self.known.device)
                self._tables[tower] = torch.cat([self._tower(tower, part) for part in rows.split(CHUNK_ROWS)])
            self._tables["user"] = self._tables["user"][1:]
        return self._tables

    def train(self, mode: bool = True) -> "KnowledgeAdapter":
        """See `nn.Module`; tables of the weights as they were are forgotten."""
        self._tables = {}
        return super().train(mode)

    def metrics(self) -> dict[str, float]:
        """``shared_user`` and ``shared_item``: how much of the features came from the shared experts."""
        return self._means.take()

    def _count(self, tower: str, rows: Tensor) -> None:
        with torch.no_grad():
            shares = self.adapter.weights(tower, self.get_buffer(f"{tower}_vectors")[rows])  # [B, E]
        self._means.add(f"shared_{tower}", shares[:, : len(self.adapter.shared.inner)].sum(dim=1))

    def _tower(self, tower: str, rows: Tensor) -> Tensor:
        features: Tensor = self.adapter(tower, self.get_buffer(f"{tower}_vectors")[rows])
        return features * self.known


def _forget_tables(module: nn.Module, _: object) -> None:
    assert isinstance(module, KnowledgeAdapter)
    module._tables = {}  # they are those of other weights
