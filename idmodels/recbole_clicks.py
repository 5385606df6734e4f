"""RecBole's context-aware and sequential models as click models, through RecBole's own classes.

A context-aware model gets four fields: the user, the target, the behaviours that were liked (or of which nothing is
known) and those that were not, as two lists that it pools by their mean. A sequential model scores the target after
all behaviours. RecBole's own defaults hold but for the width; the model's name is ``recbole:NAME``.

Letters: B batch, L history length, N items (row 0 is padding), U users, D width; S = 2 D.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from idmodels.click import DISLIKED, ClickBatch, ClickModel
from idmodels.click_layers import real_positions
from idmodels.click_settings import ClickSettings
from idmodels.errors import IDModelError
from idmodels.precision import multiplies_in
from idmodels.recbole_compat import recbole_config
from idmodels.recbole_holder import RecBoleHolder, undo_sigmoid
from idmodels.recbole_names import context_names, zoo_name, zoo_names
from idmodels.recbole_stub import ZooData, interaction
from idmodels.recbole_zoo import ZooModel

if TYPE_CHECKING:
    from recbole.data.interaction import Interaction

USER, ITEM, LIKED_LIST, DISLIKED_LIST, LABEL = "user_id", "item_id", "liked_list", "disliked_list", "label"
UNSUPPORTED = {
    "KD_DAGFM": "it learns from a teacher that must have been trained before",
    "GRU4RecCPR": "it does not score single items",
    "SASRecCPR": "it does not score single items",
}


def create_recbole_clicks(n_items: int, n_users: int, settings: ClickSettings) -> ClickModel:
    """The model that ``settings.model`` names, context-aware or sequential.

    Raises IDModelError for an unknown name, and where RecBole is absent.
    """
    wanted = settings.model.partition(":")[2].lower()
    context = {name.lower(): name for name in context_names()}
    for name, reason in UNSUPPORTED.items():
        if wanted == name.lower():
            raise IDModelError(f"RecBole's {name} cannot judge clicks here: {reason}")
    if wanted in context and wanted not in {name.lower() for name in zoo_names()}:
        return ContextClicks(context[wanted], n_items, n_users, settings)
    try:
        return ZooClicks(zoo_name(settings.model), n_items, n_users, settings)
    except IDModelError as error:
        if "no sequential model" not in str(error):
            raise
        raise IDModelError(f"{error}; context-aware ones: {', '.join(context.values())}") from None


class RecBoleClicks(ClickModel):
    """What both kinds have in common: no features can be added. Raises IDModelError where some are announced."""

    inner: Any

    def __init__(self, n_items: int, settings: ClickSettings) -> None:
        super().__init__(n_items, settings)
        if settings.feature_width:
            raise IDModelError(
                f"{settings.model} cannot read features of users and items; use din, sim, deepfm or dcnv2"
            )

    @property
    def width(self) -> int:
        """See `ClickModel`."""
        return self.settings.width

    @property
    def state_width(self) -> int:
        """See `ClickModel`."""
        return 2 * self.settings.width

    def attach_item_features(self, features: object) -> None:
        """Raises IDModelError: RecBole's class knows no such input."""
        raise IDModelError(f"{self.settings.model} cannot take item features; switch bridges.knowledge off or use din")


class ContextClicks(RecBoleHolder, RecBoleClicks):
    """A context-aware model."""

    def __init__(self, name: str, n_items: int, n_users: int, settings: ClickSettings) -> None:
        super().__init__(n_items, settings)
        config = recbole_config(name, "none", _config(name, settings.width))
        self.inner = config.model_class(config, _dataset(n_items, n_users))
        if name == "FwFM":  # RecBole neither trains nor saves the weights of its pairs of fields
            self.inner.weight = nn.Parameter(self.inner.weight.detach())

    def own_table(self) -> Tensor:
        """See `ClickModel`: the vectors of targets; those of the lists are apart."""
        first = int(self.inner.token_embedding_table.offsets[self.inner.token_field_names.index(ITEM)])
        table: Tensor = self.inner.token_embedding_table.embedding.weight
        return table[first : first + self.n_items]

    def user_state(self, batch: ClickBatch) -> Tensor:
        """See `ClickModel`: the mean of what was liked and of what was not, as the model pools them, [B, 2 * D]."""
        columns = self._columns(batch)
        pooled: Tensor = self.inner.embed_token_seq_fields([columns[LIKED_LIST], columns[DISLIKED_LIST]])
        return pooled.flatten(1)

    def logits(self, batch: ClickBatch) -> Tensor:
        """See `ClickModel`; in float32: RecBole's models end in a sigmoid, which is undone here."""
        with multiplies_in(torch.float32, batch.targets.device):
            probability: Tensor = self.inner.predict(self._columns(batch))
        return undo_sigmoid(probability.view(-1))

    def loss(self, batch: ClickBatch) -> Tensor:
        """See `ClickModel`: RecBole's own, its regularisation included; always in float32.

        It takes the logarithm of a probability, which is no number of bfloat16's.
        """
        rows = len(batch.labels)
        if rows == 1:  # of which some models of RecBole make a scalar; the mean of two alike is that of one
            batch = ClickBatch(*(torch.cat([part, part]) for part in vars(batch).values()))
        columns = self._columns(batch)
        columns.update(interaction({LABEL: batch.labels.float()}))
        with multiplies_in(torch.float32, batch.labels.device), _lone_row_norms(self.inner, rows):
            value: Tensor = self.inner.calculate_loss(columns)
        return value.sum()  # of some models it has one entry, as [1]

    def _columns(self, batch: ClickBatch) -> "Interaction":
        self.check_length(batch.histories)
        real, disliked = real_positions(batch.histories, batch.lengths), batch.marks == DISLIKED
        lists = {LIKED_LIST: real & ~disliked, DISLIKED_LIST: real & disliked}
        columns = {name: batch.histories * chosen for name, chosen in lists.items()}
        return interaction({USER: batch.users, ITEM: batch.targets, **columns})


class ZooClicks(RecBoleClicks):
    """A sequential model of the zoo; its score of the target is the logit."""

    def __init__(self, name: str, n_items: int, n_users: int, settings: ClickSettings) -> None:
        super().__init__(n_items, settings)
        known = recbole_config(name, "none", {"train_neg_sample_args": None}).final_config_dict
        widths = {key: settings.width for key in ("embedding_size", "hidden_size") if known.get(key)}
        self.zoo = ZooModel(name, ZooData(n_items, n_users + 1), widths, settings.max_length)  # row 0 is nobody known
        self.inner = self.zoo.model

    def own_table(self) -> Tensor:
        """See `ClickModel`."""
        return self.zoo.item_table()

    def user_state(self, batch: ClickBatch) -> Tensor:
        """See `ClickModel`: mean item vector of the history beside that of its last item, [B, 2 * D]."""
        self.check_length(batch.histories)
        items = self.own_table()[batch.histories]  # [B, L, D]
        real = real_positions(batch.histories, batch.lengths).unsqueeze(2)
        mean = (items * real).sum(dim=1) / batch.lengths.clamp(min=1).unsqueeze(1)
        last = items[torch.arange(len(items), device=items.device), (batch.lengths - 1).clamp(min=0)]
        return torch.cat([mean, last * (batch.lengths > 0).unsqueeze(1)], dim=1)

    def logits(self, batch: ClickBatch) -> Tensor:
        """See `ClickModel`; 0 after an empty history. In float32: some of RecBole's models end in a sigmoid."""
        with multiplies_in(torch.float32, batch.targets.device), _lone_row_norms(self.inner, len(batch.targets)):
            return self.zoo.target_scores(batch.histories, batch.lengths, batch.targets, batch.users + 1)


@contextmanager
def _lone_row_norms(model: nn.Module, rows: int) -> Iterator[None]:
    """A batch of a single row has no variance: it is standardised by the running statistics, in training too."""
    norms = [part for part in model.modules() if isinstance(part, nn.BatchNorm1d) and part.training and rows < 2]
    for norm in norms:
        norm.eval()
    try:
        yield
    finally:
        for norm in norms:
            norm.train()


def _config(name: str, width: int) -> dict[str, Any]:
    fixed: dict[str, Any] = {"embedding_size": width}
    if name in ("FFM", "FwFM"):  # which fields belong together: each is alone
        fixed["fields"] = {number: [field] for number, field in enumerate(_FIELDS)}
    return fixed


_FIELDS = (USER, ITEM, LIKED_LIST, DISLIKED_LIST)


def _dataset(n_items: int, n_users: int) -> SimpleNamespace:
    """What a context-aware model asks of its dataset."""
    from recbole.utils import FeatureSource, FeatureType

    tokens, lists = FeatureType.TOKEN, FeatureType.TOKEN_SEQ
    users = [USER, LIKED_LIST, DISLIKED_LIST]

    def fields(source: list[Any]) -> list[str]:
        sides = ((FeatureSource.USER_ID, users), (FeatureSource.ITEM_ID, [ITEM]))
        return [name for kind, names in sides if kind in source for name in names]

    return SimpleNamespace(
        fields=fields,
        num=lambda name: n_users if name == USER else n_items,
        field2type={USER: tokens, ITEM: tokens, LIKED_LIST: lists, DISLIKED_LIST: lists},
    )
