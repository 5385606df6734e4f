"""The exchange sums what bridges do, and lets nothing cross in a closed direction."""

import numpy as np
import pytest
import torch

from bridges.protocols import ScoredBatch
from hybrid.data.prepare import prepare
from hybrid.data.split import split_training
from hybrid.errors import UserError
from hybrid.exchange import enabled_settings
from hybrid.modes import inference, set_learning
from hybrid.system import build_system, choose_device


def make_system(config):
    return build_system(config, split_training(prepare(config.data), config.data))


def fill_store(system):
    """Both sides have written everything that is read."""
    exchange, random = system.exchange, torch.Generator().manual_seed(0)
    for side in ("id", "llm"):
        for kind, rows in (("item", system.data.n_items), ("user", len(system.data.train.items)), ("text", 0)):
            if (side, kind) == ("id", "text"):
                continue
            width = 32 if kind == "text" else 8
            values = torch.randn(rows or system.data.n_items, width, generator=random)
            exchange.store.write(side, kind, values, step=0, fingerprint=exchange.fingerprint)
    exchange.refresh()


def scored(system, count=5):
    random = torch.Generator().manual_seed(1)
    states = torch.randn(count, 8, generator=random, requires_grad=True)
    matrix = torch.randn(system.data.n_items, 8, generator=random, requires_grad=True)
    return ScoredBatch(states, matrix, torch.arange(1, count + 1), torch.arange(count))


@pytest.mark.parametrize(("arm", "taught"), [("both", {"id", "llm"}), ("id2llm", {"llm"}), ("llm2id", {"id"})])
def test_distillation_teaches_in_open_directions_only(tiny, arm, taught):
    system = make_system(tiny(f"arm={arm}"))
    fill_store(system)
    assert {side for side in ("id", "llm") if system.exchange.losses(side, scored(system))} == taught


def test_knowledge_enters_the_item_table_in_open_directions_only(tiny):
    tables = {}
    for arm in ("both", "id2llm"):
        system = make_system(tiny(f"arm={arm}"))
        fill_store(system)
        tables[arm] = system.id_model.item_table() - system.id_model.item_embedding.weight
    assert tables["both"][1:].abs().min() > 0
    assert torch.equal(tables["both"][0], torch.zeros(8))
    assert not tables["id2llm"].any()


def test_prompts_have_slots_only_where_a_bridge_fills_them(tiny):
    layout = make_system(tiny("arm=both")).exchange.layout()
    assert (layout.prefix, layout.user, layout.item) == (2, True, True)
    layout = make_system(tiny("arm=llm2id")).exchange.layout()
    assert (layout.prefix, layout.user, layout.item) == (0, False, False)
    layout = make_system(tiny("bridges.store.enabled=false")).exchange.layout()
    assert (layout.prefix, layout.user, layout.item) == (2, False, False)


def test_soft_tokens_know_nothing_of_the_targets(tiny):
    """Whatever follows a prompt's first target may change without a trace in its soft tokens."""
    config = tiny()
    data = split_training(prepare(config.data), config.data)
    system = make_system(config)
    fill_store(system)
    batches = system.prompts
    before = {int(n): batch for batch in batches.write_batches() for n in batch.numbers}
    filled = {}
    for changed in (False, True):
        if changed:
            items = batches.train.items
            k = config.llm.prompt.targets_per_prompt
            for user in range(len(batches.train)):
                last = np.arange(batches.train.ends[user] - k + 1, batches.train.ends[user])
                items[last] = items[last] % (data.n_items - 1) + 1
        with inference(*system.exchange.bridges.values()):
            tokens = [system.exchange.fill(batch).tokens for batch in batches.write_batches()]
        filled[changed] = {kind: torch.cat([part[kind] for part in tokens]) for kind in ("prefix", "user")}
    assert len(before) == len(batches.train)
    for kind in ("prefix", "user"):
        assert torch.equal(filled[False][kind], filled[True][kind])


def test_settings_of_bridges_that_are_off_are_left_out(tiny):
    config = tiny("bridges.mformer.enabled=false")
    assert set(enabled_settings(config.bridges, "both")) == {"store", "knowledge", "distill"}
    assert enabled_settings(config.bridges, "id_only") == {}
    assert "momentum" not in enabled_settings(config.bridges, "both")["store"]


def test_state_of_other_bridges_is_refused(tiny):
    system, other = make_system(tiny()), make_system(tiny("bridges.mformer.enabled=false"))
    with pytest.raises(UserError, match="mformer"):
        other.exchange.load_bridge_state(system.exchange.bridge_state())


def test_going_back_to_a_sides_best_leaves_what_its_bridges_wrote_to_the_store(tiny):
    system = make_system(tiny("bridges.readback.enabled=true"))
    readback, state = system.exchange.bridges["readback"], system.exchange.bridge_state()
    state = {name: value.clone() for name, value in state.items()}
    with torch.no_grad():
        readback.offset += 1.0
        readback.item_head.bias += 1.0
    system.exchange.load_bridge_state(state, "llm")
    assert torch.equal(readback.offset, torch.ones_like(readback.offset))
    assert torch.equal(readback.item_head.bias, state["readback.item_head.bias"])
    system.exchange.load_bridge_state(state)
    assert not readback.offset.any()


def test_an_absent_device_is_an_error():
    with pytest.raises(UserError, match="accepted: auto, cpu, cuda, cuda:N"):
        choose_device("gpu")


def test_sleeping_sets_gradients_to_none_not_zero():
    layer = torch.nn.Linear(2, 2)
    layer(torch.ones(1, 2)).sum().backward()
    set_learning([layer], layer.parameters(), False)
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in layer.parameters())
    assert not layer.training


def test_inference_gives_every_module_its_mode_back():
    model = torch.nn.Sequential(torch.nn.Dropout(), torch.nn.Dropout())
    model[0].eval()
    with inference(model):
        assert not model.training
        assert not torch.is_grad_enabled()
    assert (model.training, model[0].training, model[1].training) == (True, False, True)


def test_the_adapter_gate_hands_over_the_id_models_states(tiny):
    config = tiny(
        "arm=id2llm", "bridges.lora_gate.enabled=true", "bridges.mformer.enabled=false", "llm.lora.kind=gated"
    )
    system = make_system(config)
    fill_store(system)
    batch = next(system.prompts.epoch(0))
    users = system.exchange.fill(batch).users
    known = (batch.id_items > 0).sum(dim=1)
    with inference(system.id_model):
        expected = system.id_model.last_states(batch.id_items, known)
    assert torch.equal(users, expected)
    closed = make_system(tiny("arm=llm2id", "bridges.lora_gate.enabled=true", "llm.lora.kind=gated"))
    assert closed.exchange.fill(batch).users is None


def test_a_gated_adapter_trains_in_a_run(tiny):
    from hybrid.training.llm_learner import LLMLearner

    config = tiny(
        "arm=id2llm", "bridges.lora_gate.enabled=true", "bridges.mformer.enabled=false", "llm.lora.kind=gated"
    )
    system = make_system(config)
    fill_store(system)
    system.encode_items(0)
    learner = LLMLearner(config, system.recommender, system.prompts, system.exchange, system.data, system.device, 1)
    learner.wake()
    router = dict(system.recommender.lm.base_model.router().named_parameters())
    before = {name: weight.detach().clone() for name, weight in router.items()}
    for batch in learner.batches(0, 0):
        learner.step(batch)
    assert any(not torch.equal(weight, before[name]) for name, weight in router.items())
