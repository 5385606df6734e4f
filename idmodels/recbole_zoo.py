"""Every sequential model that RecBole ships, by name, through RecBole's own class, loss and scores.

A model of the zoo reads one history per row and predicts the item after it, as RecBole's own trainer feeds it
(`idmodels.prefix_rows` makes such rows of our batches). `docs/recbole_zoo.md` lists the models and what each needs.

Letters: B batch, L history length, N items (row 0 is padding), D id width.
"""

import inspect
import os
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from idmodels.errors import IDModelError
from idmodels.prefix_rows import draw_negatives
from idmodels.recbole_holder import RecBoleHolder, undo_sigmoid
from idmodels.recbole_names import zoo_name
from idmodels.recbole_stub import StubDataset, ZooData, interaction
from idmodels.recbole_zoo_config import batch_transform, own_settings, zoo_config

if TYPE_CHECKING:
    from recbole.data.interaction import Interaction

# Where the item vectors are, in models that do not call them item_embedding.
_TABLES = {
    "DIEN": "embedding_layer.token_embedding_table.item.embedding",
    "DIN": "embedding_layer.token_embedding_table.item.embedding",
    "FPMC": "IL_emb",
    "RepeatNet": "item_matrix",
}
_CLICK_MODELS = ("DIEN", "DIN")  # they judge one item at a time, and learn from clicks and other items
# Models whose score is the inner product of what `forward` makes of a history alone and the item's vector.
_STATES = frozenset(
    ("CORE", "FEARec", "GCSAN", "GRU4Rec", "GRU4RecF", "GRU4RecKG", "LightSANs", "NARM", "NextItNet", "SASRec")
) | frozenset(("SASRecF", "SINE", "SRGNN", "STAMP"))


class ZooModel(RecBoleHolder):
    """One of RecBole's sequential models.

    name: see `zoo_names`, with or without the prefix ``recbole:``, in any case. config: RecBole's own keys of the
    model, over RecBole's defaults. Raises IDModelError for an unknown name or key, and where ``data`` lacks what the
    model needs.
    """

    def __init__(
        self,
        name: str,
        data: ZooData,
        config: Mapping[str, Any] | None = None,
        max_length: int = 50,
        device: torch.device | str = "cpu",
    ) -> None:
        super().__init__()
        self.name, self.data, self.max_length = zoo_name(name), data, max_length
        self._given = dict(config or {})
        settings = zoo_config(self.name, data, self._given, max_length, torch.device(device))
        self.config = own_settings(settings)
        self._dataset = StubDataset(data, settings)
        self._transform = batch_transform(settings)  # before the model: it names the fields that the model reads
        self._user, self._item, self._label = (settings[f"{key}_FIELD"] for key in ("USER_ID", "ITEM_ID", "LABEL"))
        self._history, self._length = self._item + settings["LIST_SUFFIX"], settings["ITEM_LIST_LENGTH_FIELD"]
        self._negative = settings["NEG_PREFIX"]
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), _drawn_from_torch():  # FEARec prints
            self.model: Any = settings.model_class(settings, self._dataset).to(device)

    @property
    def has_states(self) -> bool:
        """Whether `states` are there: a score is then ``states @ score_table().T``."""
        return self.name in _STATES

    def score_table(self) -> Tensor:
        """What states are multiplied with, [N, D]: the item vectors; CORE's of length 1."""
        table = self.item_table()
        return F.normalize(table, dim=1) if self.name == "CORE" else table

    @property
    def item_embedding(self) -> nn.Embedding:
        """RecBole's own module with the item vectors; BERT4Rec's and S3Rec's have one row more, for the mask."""
        module = self.model.get_submodule(_TABLES.get(self.name, "item_embedding"))
        assert isinstance(module, nn.Embedding)
        return module

    def item_table(self) -> Tensor:
        """The item vectors, [N, D], attached features included."""
        return self.item_embedding.weight[: self.data.n_items]

    def own_items(self) -> Tensor:
        """The item vectors without attached features, [N, D]."""
        embedding: Any = self.item_embedding
        attached = parametrize.is_parametrized(embedding, "weight")
        weight: Tensor = embedding.parametrizations.weight.original if attached else embedding.weight
        return weight[: self.data.n_items]

    def attach_item_features(self, features: Callable[[], Tensor]) -> None:
        """Add ``features()`` [N, D] to the item table from now on, wherever the model reads it."""
        parametrize.register_parametrization(self.item_embedding, "weight", _AddedFeatures(features))

    def folded_state(self) -> dict[str, Tensor]:
        """The weights by RecBole's names, on the CPU, attached features folded into the item vectors."""
        own = {}
        for name, weight in self.model.state_dict().items():
            plain = name.replace("parametrizations.weight.original", "weight")
            # The CPR models have the item vectors under several names.
            own[plain] = weight if plain == name else self.model.get_submodule(plain.removesuffix(".weight")).weight
        return {name: weight.detach().cpu().clone() for name, weight in own.items()}

    def item_weights(self) -> list[str]:
        """Names of the weights with one row per item: those that grow with the catalogue."""
        with torch.random.fork_rng(devices=()):
            larger = ZooModel(
                self.name, replace(self.data, n_items=self.data.n_items + 1), self._given, self.max_length
            )
        own = self.folded_state()
        return [name for name, weight in larger.folded_state().items() if weight.shape != own[name].shape]

    def loss(self, items: Tensor, lengths: Tensor, targets: Tensor, users: Tensor | None = None) -> Tensor:
        """RecBole's own loss of B rows: histories [B, L], lengths [B], next items [B], user rows [B] (none: 0).

        A model that learns from pairs or clicks gets one random other item per row as its negative. BERT4Rec and
        S3Rec's first stage learn from the histories alone, as in RecBole.
        """
        return self.loss_and_states(items, lengths, targets, users)[0]

    def loss_and_states(
        self, items: Tensor, lengths: Tensor, targets: Tensor, users: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """`loss`, and the states [B, D] it was computed from where the model has any; gradients flow."""
        with _drawn_from_torch(), self._recorded() as outputs:
            loss = self._loss(items, lengths, targets, users)
        return loss, self._tempered(outputs[0]) if self.has_states else None

    def states(self, items: Tensor, lengths: Tensor) -> Tensor:
        """States [B, D] after histories [B, L] of lengths [B], undefined after an empty one; see `has_states`."""
        batch = self._batch(items, lengths.clamp(min=1), None)
        given = {"item_seq": batch[self._history], "item_seq_len": batch[self._length]}
        asked = inspect.signature(self.model.forward).parameters
        return self._tempered(self.model.forward(**{name: given[name] for name in asked}))

    def _tempered(self, output: Tensor) -> Tensor:
        return output / self.model.temperature if self.name == "CORE" else output

    @contextmanager
    def _recorded(self) -> Iterator[list[Tensor]]:
        """What the model's own `forward` returns meanwhile, call by call."""
        outputs: list[Tensor] = []
        forward = self.model.forward

        def record(*given: Any, **named: Any) -> Any:
            outputs.append(forward(*given, **named))
            return outputs[-1]

        self.model.forward = record
        try:
            yield outputs
        finally:
            del self.model.forward

    def _loss(self, items: Tensor, lengths: Tensor, targets: Tensor, users: Tensor | None) -> Tensor:
        batch = self._batch(items, lengths, users)
        batch.update(interaction({self._item: targets, **self._negatives(batch, targets)}))
        if self.name in _CLICK_MODELS:
            batch = self._clicks(batch)
        if self.name == "FEARec":
            self._show_rows(batch, targets)
        batch = self._transform(self._dataset, batch)
        if self.name == "BERT4Rec" and not batch["MASK_INDEX"].any():
            return self.item_table().sum() * 0.0  # no item was hidden, and RecBole's mean over none is not a number
        loss: Tensor = self.model.calculate_loss(batch)
        return loss.sum()  # of some models it has one entry, as [1]

    def scores(self, items: Tensor, lengths: Tensor, users: Tensor | None = None) -> Tensor:
        """RecBole's own score of every item, [B, N], after histories [B, L] of lengths [B]; 0 after an empty one."""
        batch = self._batch(items, lengths.clamp(min=1), users)
        if self.name != "BERT4Rec":  # its transform hides random items, for training only
            batch = self._transform(self._dataset, batch)
        if self.name in _CLICK_MODELS:
            scores = torch.stack([self._click_score(batch, item) for item in range(self.data.n_items)], dim=1)
        else:
            # The CPR models ask for a target here too, for a loss that nobody reads.
            batch.update(interaction({self._item: torch.ones_like(lengths)}))
            scores = self.model.full_sort_predict(batch).view(len(items), -1)
        return scores[:, : self.data.n_items].masked_fill((lengths == 0).unsqueeze(1), 0.0)

    def target_scores(self, items: Tensor, lengths: Tensor, targets: Tensor, users: Tensor | None = None) -> Tensor:
        """RecBole's own score of one item each, [B], before any sigmoid; gradient flows. 0 after an empty history."""
        batch = self._batch(items, lengths.clamp(min=1), users)
        if self.name != "BERT4Rec":
            batch = self._transform(self._dataset, batch)
        batch.update(interaction({self._item: targets}))
        scores: Tensor = self.model.predict(batch).view(-1)
        if self.name in _CLICK_MODELS:
            scores = undo_sigmoid(scores)
        return scores * (lengths > 0)

    def finetune(self) -> None:
        """Leave S3Rec's pre-training for its second stage, next items; the other models have one stage only."""
        if self.name == "S3Rec":
            self.model.train_stage, self.model.loss_fct = "finetune", nn.CrossEntropyLoss()

    def _batch(self, items: Tensor, lengths: Tensor, users: Tensor | None) -> "Interaction":
        missing = self.max_length - items.shape[1]
        if missing < 0:
            raise IDModelError(f"histories of {items.shape[1]} items, but this model reads at most {self.max_length}")
        history = F.pad(items, (0, missing))  # some models know one length only
        columns = {self._user: torch.zeros_like(lengths) if users is None else users}
        columns |= {self._history: history, self._length: lengths}
        if self.name == "DIEN":
            columns[self._negative + self._history] = torch.zeros_like(history)
        return interaction(columns)

    def _negatives(self, batch: "Interaction", targets: Tensor) -> dict[str, Tensor]:
        """A negative for each target, and for DIEN one for each item of the history as well."""
        history, n_items = batch[self._history], self.data.n_items
        if n_items == 2 and self.config.get("loss_type") == "CE":
            return {}  # the only item is the target, and the loss needs no other
        columns = {self._negative + self._item: draw_negatives(history, targets, n_items)}
        if self.name == "DIEN":
            places = [draw_negatives(history, item, n_items) for item in history.T]
            columns[self._negative + self._history] = torch.stack(places, dim=1) * (history > 0)
        return columns

    def _clicks(self, batch: "Interaction") -> "Interaction":
        """Each row twice: with its target, clicked, and with its negative, not clicked."""
        twice = {name: torch.cat([values, values]) for name, values in batch.interaction.items()}
        target, negative = batch[self._item], batch[self._negative + self._item]
        twice[self._item] = torch.cat([target, negative])
        twice[self._label] = torch.cat([torch.ones_like(target), torch.zeros_like(negative)]).float()
        return interaction(twice)

    def _click_score(self, batch: "Interaction", item: int) -> Tensor:
        batch.update(interaction({self._item: torch.full_like(batch[self._length], item)}))
        score: Tensor = self.model.predict(batch)
        return score

    def _show_rows(self, batch: "Interaction", targets: Tensor) -> None:
        """FEARec contrasts rows of one target; RecBole searches the whole train part for them, here it is the batch."""
        self._dataset.inter_feat = interaction({name: values.cpu() for name, values in batch.interaction.items()})
        found = targets.cpu().numpy()
        self.model.same_item_index = {item: (found == item).nonzero()[0] for item in set(found.tolist())}


class _AddedFeatures(nn.Module):
    def __init__(self, features: Callable[[], Tensor]) -> None:
        super().__init__()
        # A list hides the callable from nn.Module: features belong to a bridge, not to this model's weights.
        self._features = [features]

    def forward(self, weight: Tensor) -> Tensor:
        features = self._features[0]()
        missing = len(weight) - len(features) if features.dim() else 0  # a plain zero: there are no features yet
        return weight + (F.pad(features, (0, 0, 0, missing)) if missing else features)


@contextmanager
def _drawn_from_torch() -> Iterator[None]:
    """RecBole draws from Python's and numpy's generators too: they follow torch's, and are put back afterwards."""
    python, numpy = random.getstate(), np.random.get_state()
    seed = int(torch.randint(2**31, ()))
    random.seed(seed)
    np.random.seed(seed)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
