"""The exchange of one run: the store and the bridges that its arm and switches allow.

It is the only place that knows several bridges at once; the learners and rankers see the sum of what they do.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from bridges.protocols import (
    WAY_TO,
    Bridge,
    Direction,
    Kind,
    PromptContext,
    ScoredBatch,
    Side,
    SlotFill,
    SlotKind,
    TopFeatures,
)
from bridges.registry import BRIDGES, create_bridges
from bridges.sharing import ExchangeStore
from hybrid.config.controls import PROJECTING
from hybrid.config.schema import Arm, BridgesConfig, Config
from hybrid.controls import OtherUsers
from hybrid.data.clicks import ClickData
from hybrid.data.split import TrainingData
from hybrid.errors import UserError
from hybrid.llm.prompts import PromptBatch, SlotLayout
from hybrid.llm.recommender import LLMRecommender
from hybrid.modes import inference
from idmodels.click import ClickModel
from idmodels.contract import IDModel

log = logging.getLogger(__name__)

DIRECTIONS: dict[Arm, frozenset[Direction]] = {
    "id_only": frozenset(),
    "llm_only": frozenset(),
    "id2llm": frozenset({"id2llm"}),
    "llm2id": frozenset({"llm2id"}),
    "both": frozenset({"id2llm", "llm2id"}),
}
"""The directions in which an arm lets knowledge cross."""

SIDES: dict[Arm, tuple[Side, ...]] = {
    "id_only": ("id",),
    "llm_only": ("llm",),
    "id2llm": ("id", "llm"),
    "llm2id": ("id", "llm"),
    "both": ("id", "llm"),
}
"""The sides that an arm trains."""


NOT_THE_BRIDGES = {
    "store": {"momentum"},
    "mformer": {"sources"},
    "knowledge_adapter": {"user_request", "item_request", "history_items", "new_tokens", "encode_tokens"},
}
"""Settings that are the store's own, become the exchange's other ID models, or say how knowledge is written."""


def enabled_settings(config: BridgesConfig, arm: Arm) -> dict[str, dict[str, object]]:
    """Settings of the bridges that are switched on, by name; none in an arm without exchange."""
    if not DIRECTIONS[arm]:
        return {}
    return {
        name: {
            key: value for key, value in values.items() if key != "enabled" and key not in NOT_THE_BRIDGES.get(name, ())
        }
        for name, values in asdict(config).items()
        if values["enabled"]
    }


def prefix_width(config: BridgesConfig, arm: Arm) -> int:
    """Prefix tokens that a bridge of this arm fills; 0: none does."""
    return config.mformer.queries if config.mformer.enabled and "id2llm" in DIRECTIONS[arm] else 0


def pair_width(config: BridgesConfig, arm: Arm) -> int:
    """Features of a user and an item that a bridge of this arm gives to a click model; 0: none does."""
    adapter = config.knowledge_adapter
    return 2 * adapter.width if adapter.enabled and "llm2id" in DIRECTIONS[arm] else 0


def judged_sides(config: Config) -> tuple[Side, ...]:
    """The sides that are validated and evaluated."""
    lengths = config.train.schedule.lengths
    return tuple(side for side in SIDES[config.arm] if lengths[side] or config.evaluation.untrained)


@dataclass
class Exchange:
    """Store, active bridges, and the frozen ID model whose states the prompts are filled from."""

    store: ExchangeStore
    bridges: dict[str, Bridge]
    directions: frozenset[Direction]
    id_model: IDModel | ClickModel | None
    fingerprint: str
    others: list[IDModel] = field(default_factory=list)
    """Further frozen ID models that the prompts are filled from."""
    fixed: frozenset[str] = frozenset()
    """Bridges whose parameters stay as they were drawn (a control)."""
    other_users: OtherUsers | None = None
    """Whose ID states the LLM side reads in the place of each user's (a control); None: the user's own."""
    other_items: Tensor | None = None
    """[N] whose row of the ID item table stands in the place of each item's for the LLM side (a control)."""
    resting: set[str] = field(default_factory=set)
    """Bridges to the ID side that have no part any more, because a plain ID model did better."""
    open: bool = True
    """Whether knowledge crosses yet: before, nothing is written to the store, so there is nothing for a bridge."""
    _tables: dict[IDModel, Tensor] = field(default_factory=dict)

    def layout(self) -> SlotLayout:
        """The slots that prompts must have."""
        counts: dict[SlotKind, int] = {}
        for bridge in self.bridges.values():
            counts |= bridge.slots()
        return SlotLayout(counts.get("prefix", 0), bool(counts.get("user")), bool(counts.get("item")))

    def modules(self, side: Side) -> list[nn.Module]:
        """Bridges that are trained in ``side``'s phases."""
        return [bridge for bridge in self.bridges.values() if bridge.trained_by == side]

    def parameters(self, side: Side) -> list[nn.Parameter]:
        """Parameters of `modules`."""
        fixed = [self.bridges[name] for name in self.fixed]
        return [parameter for module in self.modules(side) if module not in fixed for parameter in module.parameters()]

    def reads(self, side: Side, kind: Kind) -> bool:
        """Whether some active bridge reads this table of the store; none does before the exchange is `open`."""
        return self.open and any((side, kind) in bridge.reads(self.directions) for bridge in self.bridges.values())

    def fill(self, batch: PromptBatch) -> SlotFill:
        """Soft tokens for a batch of prompts, from all bridges, the sum of their losses, and the users' vectors."""
        return self.fill_from(lambda: self.context(batch))

    def fill_from(self, make_context: Callable[[], PromptContext]) -> SlotFill:
        """See `fill`; the context is made only where a bridge reads it."""
        tokens: dict[SlotKind, Tensor] = {}
        losses: list[Tensor] = []
        users: Tensor | None = None
        filling = [bridge for bridge in self.bridges.values() if bridge.slots() or bridge.place == "weights"]
        context = make_context() if filling else None
        for bridge in filling:
            assert context is not None
            filled = bridge.fill_slots(context)
            tokens |= filled.tokens
            losses += [] if filled.loss is None else [filled.loss]
            users = users if filled.users is None else filled.users
        return SlotFill(tokens, torch.stack(losses).sum() if losses else None, users)

    @property
    def attention(self) -> Callable[[Tensor, Tensor], Tensor | None] | None:
        """See `Bridge.attention`, of the bridge that has it; None: no bridge does."""
        attending = self.bridges.get("attended_history")
        if attending is None:
            return None
        return lambda rows, items: attending.attention(self._whose(rows), items)

    def _whose(self, rows: Tensor) -> Tensor:
        """Rows whose ID states the LLM side reads in the place of these."""
        return rows if self.other_users is None else self.other_users.rows(rows)

    def reads_id_states(self) -> bool:
        """Whether the LLM side needs the ID model at work: its prefix or its adapter depends on the states."""
        return bool(self.layout().prefix) or any(bridge.place == "weights" for bridge in self.bridges.values())

    def losses(self, learner: Side, batch: ScoredBatch) -> dict[str, Tensor]:
        """The bridges' losses on the learner's batch, by bridge name; empty where that direction is closed."""
        if WAY_TO[learner] not in self.directions:
            return {}
        if learner == "llm":
            batch = replace(batch, rows=self._whose(batch.rows))
        found = {name: bridge.loss(learner, batch) for name, bridge in self._active().items()}
        return {name: loss for name, loss in found.items() if loss is not None}

    def feature_readers(self) -> dict[str, Bridge]:
        """Bridges that read the LLM's top-layer features, by name."""
        reading = {name: bridge for name, bridge in self._active().items() if bridge.reads_features}
        return reading if self.open else {}

    def shown_items(self, table: Tensor) -> Tensor:
        """The ID item table [N, D] as the LLM side gets to see it."""
        return table if self.other_items is None else table[self.other_items.to(table.device)]

    def shared_states(self, states: Tensor, rows: Tensor) -> Tensor:
        """What the ID side writes to the store's rows [M] for its states [M, D] there."""
        for bridge in self._active().values():
            states = bridge.shared_states(states, rows)
        return states

    def features_losses(self, features: TopFeatures) -> dict[str, Tensor]:
        """The bridges' losses on the LLM's top-layer features, by bridge name."""
        features = replace(features, rows=self._whose(features.rows))
        found = {name: bridge.features_loss(features) for name, bridge in self.feature_readers().items()}
        return {name: loss for name, loss in found.items() if loss is not None}

    def histories(self, items: Tensor, targets: Tensor, rows: Tensor) -> Tensor:
        """The histories [B, L] that the ID model learns from in the place of ``items``; those, if it is not taught.

        ``targets`` and ``rows`` [B, L]: see `Bridge.histories`.
        """
        if WAY_TO["id"] not in self.directions:
            return items
        for bridge in self._active().values():
            items = bridge.histories(items, targets, rows)
        return items

    def item_features(self) -> Tensor:
        """The sum of what the bridges add to the ID item table, [N, D] (or a zero)."""
        return _sum_of_known(bridge.item_features() for bridge in self._active().values())

    def rest(self, last: bool) -> None:
        """From here on bridges of the LLM's texts have no part; after the ``last`` ID phase none from the LLM alone."""
        texts: set[tuple[Side, Kind]] = {("llm", "text")}
        self.resting |= {
            name
            for name, bridge in self.bridges.items()
            if bridge.direction == "llm2id" and (last or bridge.reads(self.directions) == texts)
        }

    def scored_items(self) -> Tensor:
        """The sum of what the bridges add to the LLM's item vectors, [N, P] (or a zero)."""
        return _sum_of_known(bridge.scored_items() for bridge in self.bridges.values())

    def _active(self) -> dict[str, Bridge]:
        return {name: bridge for name, bridge in self.bridges.items() if name not in self.resting}

    def begin_round(self, number: int) -> None:
        """A phase of this round begins, counted from 1."""
        for bridge in self.bridges.values():
            bridge.begin_round(number)

    def refresh(self) -> None:
        """All bridges read the store again, and the ID item table is taken anew; after a side has trained."""
        self._tables.clear()
        for bridge in self.bridges.values():
            bridge.refresh()

    def metrics(self, now: int) -> dict[str, float]:
        """Scalars of the bridges and the staleness of every table of the store, in steps."""
        values = {
            f"{name}/{key}": value for name, bridge in self.bridges.items() for key, value in bridge.metrics().items()
        }
        for side, kind in self.store.tables():
            values[f"staleness/{side}_{kind}"] = self.store.staleness(side, kind, now)
        return values

    def bridge_state(self) -> dict[str, Tensor]:
        """State of all bridges, by ``name.key``; ``name.rests`` says whether it is `resting`."""
        states = {
            name: bridge.state_dict() | {"rests": torch.tensor(name in self.resting)}
            for name, bridge in self.bridges.items()
        }
        return {f"{name}.{key}": value for name, state in states.items() for key, value in state.items()}

    def load_bridge_state(self, state: dict[str, Tensor], side: Side | None = None) -> None:
        """Load `bridge_state`, of all bridges or the weights of those that ``side`` trains.

        Of the latter what they have written to the store stays as it is, like the store. UserError where the state is
        of other bridges.
        """
        saved, own = state.keys(), self.bridge_state().keys()
        if different := sorted(saved ^ own):
            raise UserError(f"saved bridges differ from this run's: {different[0]} is on one side only")
        for name, bridge in self.bridges.items():
            if side is not None and bridge not in self.modules(side):
                continue
            mine = {key.partition(".")[2]: value for key, value in state.items() if key.startswith(f"{name}.")}
            if mine.pop("rests"):
                self.resting.add(name)
            if side is not None:
                mine |= {key: bridge.get_buffer(key) for key in bridge.written}
            bridge.load_state_dict(mine)

    def _id_states(self, model: IDModel, items: Tensor) -> Tensor:
        """States [B, L, D] of the frozen ID model; its table is computed once between two refreshes."""
        with inference(model):
            if model not in self._tables:
                self._tables[model] = model.item_table()
            return model.encode(items, self._tables[model])

    def context(self, batch: PromptBatch) -> PromptContext:
        """What the bridges may know while they fill the slots of ``batch``."""
        assert isinstance(self.id_model, IDModel)  # bridges with slots exist only in arms with both sides, for rankings
        items, rows = batch.id_items, self._whose(batch.user_rows)
        if self.other_users is not None:
            theirs = self.other_users.histories(rows, items.shape[1])
            items = torch.where((rows >= 0)[:, None], theirs, items)  # an item read as a history has no other user
        if self.reads_id_states():
            states = self._id_states(self.id_model, items)
            others = tuple(self._id_states(model, items) for model in self.others)
        else:
            states = torch.zeros(1, device=items.device).expand(*items.shape, self.id_model.width)
            others = ()
        return PromptContext(states, items > 0, rows, batch.item_ids, others)


def create_exchange(
    config: Config,
    data: TrainingData | ClickData,
    n_rows: int,
    id_model: IDModel | ClickModel | None,
    recommender: LLMRecommender | None,
    device: torch.device,
    others: Sequence[IDModel] = (),
) -> Exchange:
    """The exchange of the config's arm; what the bridges add to the ID item table is attached to the ID model.

    ``n_rows`` is the number of train interactions, ``others`` are further ID models that prompts are filled from.
    """
    store = ExchangeStore(data.n_items, n_rows, data.fingerprint, config.bridges.store.momentum)
    bridges: dict[str, Bridge] = {}
    if id_model is not None and recommender is not None:
        bridges = _bridges(config, data, store, id_model, recommender, others)
        _check_states([*([id_model] if isinstance(id_model, IDModel) else []), *others], bridges)
        _check_rows(id_model, bridges)
    for bridge in bridges.values():
        bridge.to(device)
    exchange = Exchange(store, bridges, DIRECTIONS[config.arm], id_model, data.fingerprint, list(others))
    if config.controls.projector == "random":
        exchange.fixed = frozenset(PROJECTING.keys() & bridges.keys())
    if id_model is not None:
        _attach_features(id_model, exchange)
    return exchange


def _bridges(
    config: Config,
    data: TrainingData | ClickData,
    store: ExchangeStore,
    id_model: IDModel | ClickModel,
    recommender: LLMRecommender,
    others: Sequence[IDModel],
) -> dict[str, Bridge]:
    """The bridges that the arm lets cross; those that have no part in the task are left out."""
    enabled = enabled_settings(config.bridges, config.arm)
    settings = {name: own for name, own in enabled.items() if config.task in BRIDGES[name].tasks}
    if resting := enabled.keys() - settings.keys():
        log.info("task=%s: bridges of the other task rest: %s", config.task, ", ".join(sorted(resting)))
    created = create_bridges(
        settings,
        store,
        id_model.width,
        recommender.backbone.width,
        recommender.embedding_norm,
        data.n_items,
        tuple(model.width for model in others),
        data.n_users,
        recommender.scorer.width,
        **_own_of(id_model),
        **_known_of(data),
    )
    allowed = DIRECTIONS[config.arm] | {"both"}
    return {name: bridge for name, bridge in created.items() if bridge.direction in allowed}


def _own_of(id_model: IDModel | ClickModel) -> dict[str, Any]:
    """What bridges may ask an ID model for at any time."""
    if not isinstance(id_model, IDModel):
        return {}
    return {"own_items": id_model.own_table, "popularity": lambda: id_model.popularity}


def _known_of(data: TrainingData | ClickData) -> dict[str, Any]:
    """What bridges may ask of the train part."""
    return {"next_items": lambda: torch.from_numpy(data.next_items()).long()} if isinstance(data, TrainingData) else {}


def _check_states(id_models: Sequence[IDModel | ClickModel], bridges: Mapping[str, Bridge]) -> None:
    needing = [name for name, bridge in bridges.items() if bridge.needs_id_states]
    for model in id_models:
        if needing and isinstance(model, IDModel) and not model.has_states:
            switches = " ".join(f"bridges.{name}.enabled=false" for name in needing)
            raise UserError(
                f"ID model {model.settings.model} scores items without a user state that bridges could read; "
                f"switch off what needs one ({switches}) or take another ID model"
            )


def _check_rows(id_model: IDModel | ClickModel, bridges: Mapping[str, Bridge]) -> None:
    if "attended_history" in bridges and isinstance(id_model, IDModel) and not id_model.causal:
        raise UserError(
            f"ID model {id_model.settings.model} has a state after each user's last item only, and prompts that train "
            "end earlier; switch off bridges.attended_history.enabled=false or take another ID model"
        )


def _attach_features(id_model: IDModel | ClickModel, exchange: Exchange) -> None:
    giving = [bridge for bridge in exchange.bridges.values() if bridge.place == "features"]
    if any(not bridge.pair_width for bridge in giving):
        id_model.attach_item_features(exchange.item_features)
    for bridge in giving:
        if bridge.pair_width:
            cast(ClickModel, id_model).attach_pair_features(bridge.pair_features)


def _sum_of_known(parts: Iterable[Tensor | None]) -> Tensor:
    known = [part for part in parts if part is not None]
    return torch.stack(known).sum(dim=0) if known else torch.zeros(())
