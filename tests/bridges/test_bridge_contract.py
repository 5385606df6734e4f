"""What every bridge of the registry promises, and the registry itself."""

import math

import pytest
import torch

from bridges.errors import BridgeError
from bridges.knowledge_adapter import KnowledgeAdapter
from bridges.protocols import Bridge, ScoredBatch, TopFeatures
from bridges.registry import BRIDGES, create_bridges

SETTINGS = {
    "store": {"user_token": True},
    "mformer": {
        "experts": 4,
        "queries": 3,
        "width": 32,
        "blocks": 2,
        "heads": 4,
        "gate": True,
        "balance_weight": 0.01,
    },
    "lora_gate": {},
    "attended_history": {},
    "collaborative": {},
    "knowledge": {"projection": "linear", "components": 256},
    "knowledge_adapter": {"components": 8, "shared_experts": 1, "specific_experts": 2, "hidden": 6, "width": 5},
    "neighbours": {"weight": 0.5, "rarity": 0.0, "neighbours": 3, "temperature": 0.05, "components": 16},
    "smoothing": {"weight": 0.2, "neighbours": 3, "temperature": 0.05, "components": 16},
    "sequence_smoothing": {"weight": 0.2, "neighbours": 3, "temperature": 0.05},
    "substitution": {
        "source": "text",
        "share": 0.5,
        "longest": 0,
        "neighbours": 3,
        "temperature": 0.05,
        "components": 16,
    },
    "hard_negatives": {"id_weight": 0.1, "llm_weight": 0.1, "first": 2, "last": 9, "positions": 0},
    "readback": {"momentum": 0.9, "align_weight": 0.1, "pull_weight": 0.0},
    "distill": {
        "id_weight": 0.3,
        "llm_weight": 0.3,
        "temperature": 2.0,
        "candidates": 5,
        "weighting": "confidence",
        "teacher": "other",
        "positions": 0,
        "llm_from_round": 1,
        "weight_by": "blend",
    },
}
CASES = {name: {name: SETTINGS[name]} for name in BRIDGES} | {
    "substitution-ranking": {"substitution": SETTINGS["substitution"] | {"source": "ranking", "share": 1.0}},
}
"""Every bridge, and those whose settings make others of them."""
NEXT_ITEMS = torch.tensor([4, 9, 2, 7, 0] * 10)
"""Ten users of five items each."""
OWN_ITEMS = torch.linspace(-1, 1, 30 * 16).reshape(30, 16)
WITHOUT_PARAMETERS = {
    "lora_gate",
    "attended_history",
    "neighbours",
    "smoothing",
    "distill",
    "substitution",
    "hard_negatives",
    "sequence_smoothing",
}


def create(store, settings) -> dict[str, Bridge]:
    sizes = {"id_width": 16, "llm_width": 48, "embedding_norm": 3.0, "n_items": 30, "n_users": 7, "score_width": 12}
    return create_bridges(settings, store, **sizes, own_items=lambda: OWN_ITEMS, next_items=lambda: NEXT_ITEMS)


@pytest.fixture(params=list(CASES))
def settings(request) -> dict[str, dict[str, object]]:
    return CASES[request.param]


@pytest.fixture
def bridge(settings, full_store) -> Bridge:
    (made,) = create(full_store, settings).values()
    made.refresh()
    if isinstance(made, KnowledgeAdapter):
        made.set_knowledge(torch.randn(7, 48), torch.randn(30, 48))
    return made


def scored(width: int) -> ScoredBatch:
    states, items = torch.randn(6, width, requires_grad=True), torch.randn(30, width, requires_grad=True)
    return ScoredBatch(states, items, torch.randint(1, 30, (6,)), torch.tensor([-1, 0, 5, 19, 30, 2]))


def run_all(bridge: Bridge, context) -> list[torch.Tensor]:
    """Everything a bridge gives out for fixed inputs."""
    torch.manual_seed(3)
    fill = bridge.fill_slots(context)
    pairs = bridge.pair_features(torch.tensor([0, 6]), torch.tensor([1, 29])) if bridge.pair_width else None
    features = TopFeatures(
        torch.randn(3, 48), torch.tensor([0, -1, 19]), torch.randn(2, 48), torch.tensor([4, 0])
    )  # row -1 and item 0 are nobody's
    items, targets = torch.tensor([[1, 2, 3, 0], [29, 4, 0, 0]]), torch.tensor([[2, 3, 7, 0], [4, 9, 0, 0]])
    rows = torch.tensor([[3, 4, 5, -1], [19, 20, -1, -1]])
    replaced = bridge.histories(items, targets, rows).float() if bridge.place == "data" else None
    attention = bridge.attention(torch.tensor([3, 19]), torch.tensor([[1, 2], [29, 4]]))
    losses = [
        replaced,
        attention,
        fill.loss,
        fill.users,
        bridge.features_loss(features),
        bridge.loss("id", scored(16)),
        bridge.loss("llm", scored(12)),
    ]
    return [
        t
        for t in (*fill.tokens.values(), bridge.item_features(), bridge.scored_items(), pairs, *losses)
        if t is not None
    ]


def test_names_directions_and_places(bridge):
    assert BRIDGES[bridge.name] is type(bridge)
    assert bridge.direction in ("id2llm", "llm2id", "both")
    assert bridge.place in ("data", "prompt", "weights", "features", "targets", "store")


def test_slots_are_filled_in_the_promised_shapes(bridge, context):
    tokens = bridge.fill_slots(context).tokens
    slots = bridge.slots()
    shapes = {"prefix": (3, slots.get("prefix"), 48), "user": (3, 48), "item": (4, 48)}
    assert {kind: tuple(t.shape) for kind, t in tokens.items()} == {kind: shapes[kind] for kind in slots}


def test_everything_given_out_is_float32_and_finite(bridge, context):
    given = run_all(bridge, context)
    assert given
    assert all(t.dtype == torch.float32 and t.isfinite().all() for t in given)


def test_bfloat16_autocast_gives_the_same_but_for_rounding(bridge, context):
    plain = run_all(bridge, context)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = run_all(bridge, context)
    for a, b in zip(plain, rounded, strict=True):
        assert (a - b).norm() <= 0.03 * a.norm()


def test_losses_are_scalars_that_reach_the_learner(bridge):
    for learner, width in (("id", 16), ("llm", 12)):
        batch = scored(width)
        loss = bridge.loss(learner, batch)
        taught = bridge.direction in ("both", "llm2id" if learner == "id" else "id2llm")
        assert (loss is not None) == (bridge.place == "targets" and taught)
        if loss is not None:
            assert loss.shape == ()
            loss.backward()
            assert batch.states.grad.abs().sum() > 0


def test_features_fit_the_item_tables(bridge):
    features, pairs = bridge.item_features(), bridge.pair_features(torch.tensor([0, 6]), torch.tensor([1, 29]))
    theirs = bridge.scored_items()
    given = features is not None or theirs is not None or bridge.pair_width > 0
    assert given == (bridge.place == "features")
    assert pairs.shape == (2, bridge.pair_width)
    for table, width in ((features, 16), (theirs, 12)):
        if table is not None:
            assert table.shape == (30, width)
            assert torch.equal(table[0], torch.zeros(width))


def test_parameters_belong_to_the_receiving_side_and_all_learn(bridge, context):
    # A gate's parameters are the adapter's; all others train theirs, through their own place only.
    parameters = list(bridge.parameters())
    assert bool(parameters) == (bridge.name not in WITHOUT_PARAMETERS)
    if bridge.direction == "id2llm":
        assert bool(bridge.slots()) == (bridge.place == "prompt")
        assert bridge.item_features() is None
    elif bridge.direction == "llm2id":
        assert not bridge.slots()
    if parameters:
        given = run_all(bridge, context)
        sum((t * torch.randn_like(t)).sum() for t in given).backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in parameters)


def test_state_dict_is_plain_tensors_and_round_trips(bridge, settings, full_store, context):
    state = {name: tensor.clone() for name, tensor in bridge.state_dict().items()}
    (again,) = create(full_store, settings).values()
    again.load_state_dict(state)
    again.refresh()
    for mine, theirs in zip(run_all(bridge, context), run_all(again, context), strict=True):
        assert torch.equal(mine, theirs)
    assert bridge.metrics() == again.metrics()


def test_metrics_are_finite_floats_and_start_anew(bridge, context):
    run_all(bridge, context)
    metrics = bridge.metrics()
    assert all(isinstance(value, float) and math.isfinite(value) for value in metrics.values())
    assert bridge.metrics() == {}


def test_a_bridge_reads_the_tables_it_names_and_no_others(settings, full_store, context, monkeypatch):
    read, seen = full_store.read, set()

    def recorded(side, kind, index=None):
        seen.add((side, kind))
        return read(side, kind, index)

    monkeypatch.setattr(full_store, "read", recorded)
    (fresh,) = create(full_store, settings).values()
    fresh.refresh()
    run_all(fresh, context)
    assert seen == fresh.reads({"id2llm", "llm2id"})


def test_an_empty_store_is_no_error(settings, store, context):
    (fresh,) = create(store, settings).values()
    fresh.refresh()
    assert all(t.isfinite().all() for t in run_all(fresh, context))


def test_order_is_the_registrys(full_store):
    names = ["store", "mformer", "lora_gate", "attended_history", "collaborative", "knowledge", "neighbours"]
    later = ["knowledge_adapter", "readback", "substitution", "smoothing", "sequence_smoothing", "distill"]
    assert list(BRIDGES) == [*names, *later, "hard_negatives"]
    assert list(create(full_store, dict(reversed(SETTINGS.items())))) == list(BRIDGES)
    assert create(full_store, {}) == {}


def test_unknown_bridges_and_settings_name_the_nearest(full_store):
    with pytest.raises(BridgeError, match="unknown bridge 'mforner'; did you mean 'mformer'"):
        create(full_store, {"mforner": {}})
    with pytest.raises(BridgeError, match="'knowledge' has no setting 'component'; did you mean 'components'"):
        create(full_store, {"knowledge": {"component": 3}})
    with pytest.raises(BridgeError, match="'store' has no setting 'n_items'"):
        create(full_store, {"store": {"n_items": 3}})
    with pytest.raises(BridgeError, match="'knowledge' misses the setting 'components'"):
        create(full_store, {"knowledge": {"projection": "linear"}})
