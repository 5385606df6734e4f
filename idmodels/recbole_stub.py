"""What a RecBole model asks of its dataset, without a dataset: counts, field types, item features, knowledge vectors.

Letters: B batch, L history length, N items (row 0 is padding), U users, K width of a knowledge vector.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from idmodels.errors import IDModelError

if TYPE_CHECKING:
    from recbole.config import Config
    from recbole.data.interaction import Interaction


@dataclass(frozen=True)
class ZooData:
    """The data that a model of the zoo is built over; most models need ``n_items`` only."""

    n_items: int
    """Rows N of the item table, row 0 (padding) included."""
    n_users: int = 1
    """Rows U of the user table; row 0 stands for everybody that is not known."""
    item_features: Mapping[str, Tensor] = field(default_factory=dict)
    """By name: [N] int64, one value an item, or [N, S], up to S values, right-padded; 0 is padding."""
    entity_vectors: Tensor | None = None
    """[N, K] pre-trained vectors of the items in a knowledge graph."""
    relation_vectors: Tensor | None = None
    """[relations, K] pre-trained vectors of the relations in that graph."""

    def __post_init__(self) -> None:
        if self.n_items < 2 or self.n_users < 1:
            raise IDModelError(f"a model needs n_items >= 2 and n_users >= 1, got {self.n_items} and {self.n_users}")
        tables = {f"item feature {name!r}": values for name, values in self.item_features.items()}
        if self.entity_vectors is not None:
            tables["entity_vectors"] = self.entity_vectors
        for name, values in tables.items():
            if len(values) != self.n_items:
                raise IDModelError(f"{name} has {len(values)} rows, but there are {self.n_items} items")


class StubDataset:
    """Answers RecBole's questions about a dataset from a `ZooData`."""

    def __init__(self, data: ZooData, config: "Config") -> None:
        from recbole.utils import FeatureType

        self.config = config
        self._data = data
        self._user, self._item = config["USER_ID_FIELD"], config["ITEM_ID_FIELD"]
        self.user_num, self.item_num = data.n_users, data.n_items
        self.field2seqlen = {self._item + config["LIST_SUFFIX"]: config["MAX_ITEM_LIST_LENGTH"]}
        self.field2type = {self._user: FeatureType.TOKEN, self._item: FeatureType.TOKEN}
        for name, values in data.item_features.items():
            self.field2type[name] = FeatureType.TOKEN if values.dim() == 1 else FeatureType.TOKEN_SEQ
        self._sizes = {
            self._user: data.n_users,
            self._item: data.n_items,
            config["ENTITY_ID_FIELD"]: data.n_items,
            # RecBole counts a padding relation that the vectors do not have.
            config["RELATION_ID_FIELD"]: 1 + (0 if data.relation_vectors is None else len(data.relation_vectors)),
        }
        self._sizes |= {name: int(values.max()) + 1 for name, values in data.item_features.items()}
        # FEARec looks up rows with the same target; it gets those of the batch, see `recbole_zoo`.
        self.inter_feat = interaction({self._item: torch.zeros(0, dtype=torch.int64)})

    def num(self, name: str) -> int:
        """Different values of a field, padding included."""
        return self._sizes[name]

    def get_user_feature(self) -> "Interaction":
        """The user table: ids only."""
        return interaction({self._user: torch.arange(self._data.n_users)})

    def get_item_feature(self) -> "Interaction":
        """The item table: ids and features."""
        return interaction({self._item: torch.arange(self._data.n_items), **self._data.item_features})

    def get_preload_weight(self, name: str) -> np.ndarray:
        """Knowledge vectors: ``ent_id`` of the items, ``rel_id`` of the relations."""
        vectors = {"ent_id": self._data.entity_vectors, "rel_id": self._data.relation_vectors}[name]
        if vectors is None:
            raise IDModelError(f"{self.config['model']} needs {'entity' if name == 'ent_id' else 'relation'}_vectors")
        return vectors.float().numpy()


def interaction(columns: dict[str, Tensor]) -> "Interaction":
    """RecBole's batch of these columns."""
    from recbole.data.interaction import Interaction

    return Interaction(columns)
