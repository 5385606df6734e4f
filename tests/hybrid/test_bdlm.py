"""BDLM as a whole: shared tables that both sides write in turn, tokens from them, mutual distillation."""

import pytest
import torch

from hybrid.config.load import load_config
from hybrid.data.prepare import prepare
from hybrid.data.split import split_training
from hybrid.evaluation.evaluate import evaluate_run
from hybrid.modes import inference
from hybrid.runs import train_run
from hybrid.system import build_system
from hybrid.training.run_directory import RunDirectory
from hybrid.training.trainer import Trainer
from idmodels.saved import load_id_model

BDLM = ("bridges.mformer.enabled=false", "bridges.knowledge.enabled=false", "bridges.readback.enabled=true")


@pytest.fixture
def make_trainer(tiny, tmp_path):
    def make(*overrides):
        config = tiny(*BDLM, "bridges.store.momentum=0", *overrides)
        data = split_training(prepare(config.data), config.data)
        trainer = Trainer(build_system(config, data))
        run = RunDirectory(tmp_path / f"run{len(list(tmp_path.iterdir()))}")
        run.create(config, data.fingerprint)
        trainer.start(run)
        trainer._prepare()
        return trainer

    return make


def phase(trainer, side):
    assert trainer.schedule.current.side == side
    trainer._phase(trainer.schedule.current)


@pytest.mark.parametrize("model", ["sasrec", "lightgcn"])
def test_the_tables_start_as_the_id_models_and_take_the_llms_vectors_up(make_trainer, model):
    trainer = make_trainer(f"id.model={model}")
    store, id_model = trainer.system.exchange.store, trainer.system.id_model
    phase(trainer, "id")
    table, users = id_model.item_table().detach().clone(), store.read("id", "user", torch.arange(3))
    assert torch.equal(store.read("id", "item"), table)
    own = {name: tensor.clone() for name, tensor in id_model.state_dict().items()}
    phase(trainer, "llm")
    mixed = store.read("id", "item")
    assert (mixed != table)[1:].any(dim=1).all()
    assert torch.equal(mixed[0], table[0])
    assert not torch.equal(store.read("id", "user", torch.arange(3)), users)
    assert all(torch.equal(tensor, own[name]) for name, tensor in id_model.state_dict().items())
    if model == "sasrec":  # LightGCN smooths what is added to its base
        torch.testing.assert_close(id_model.item_table().detach(), mixed)


@pytest.mark.parametrize("reads_back", [True, False])
def test_what_the_llm_wrote_about_users_outlives_the_next_id_phase(make_trainer, reads_back):
    trainer = make_trainer(f"bridges.readback.enabled={reads_back}".lower(), "id.model=sasrec", "train.safeguard=false")
    exchange, learner = trainer.system.exchange, trainer.learners["id"]
    for side in ("id", "llm", "id"):
        phase(trainer, side)
    rows = torch.arange(exchange.store.n_rows)
    with inference(trainer.system.id_model):
        written = list(learner._every_state(trainer.system.id_model.item_table()))
    states, at = (torch.cat(parts) for parts in zip(*written, strict=True))
    changed = exchange.store.read("id", "user", rows) - states[at.argsort()]
    assert (changed.abs().amax(dim=1) > 1e-2).any() == reads_back
    if reads_back:
        offset = exchange.bridges["readback"].user_offset.float()
        torch.testing.assert_close(changed, offset, atol=4e-3, rtol=0)  # the store keeps users in half precision


def test_without_the_read_back_the_tables_stay_the_id_models(make_trainer):
    trainer = make_trainer("bridges.readback.enabled=false")
    phase(trainer, "id")
    before = trainer.system.exchange.store.read("id", "item").clone()
    phase(trainer, "llm")
    assert torch.equal(trainer.system.exchange.store.read("id", "item"), before)


def test_the_heads_learn_in_the_llm_phase_only(make_trainer):
    trainer = make_trainer()
    bridge = trainer.system.exchange.bridges["readback"]
    weights = [bridge.item_head.weight.clone()]
    for side in ("id", "llm"):
        phase(trainer, side)
        weights.append(bridge.item_head.weight.clone())
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[1], weights[2])


def test_users_alone_are_read_back_without_store_tokens(make_trainer):
    trainer = make_trainer("arm=llm2id")
    phase(trainer, "id")
    store = trainer.system.exchange.store
    items, users = store.read("id", "item").clone(), store.read("id", "user", torch.arange(3))
    phase(trainer, "llm")
    assert torch.equal(store.read("id", "item"), items)
    assert not torch.equal(store.read("id", "user", torch.arange(3)), users)


def test_both_sides_run_alone_afterwards(tiny):
    config = tiny(*BDLM, "name=bdlm")
    run = train_run(config)
    found = evaluate_run(run.path, "test")["sides"]
    assert set(found) == {"id", "llm"}
    model, _ = load_id_model(run.best_id)  # a plain model: what was read back is folded into its table
    plain = sum(weight.numel() for weight in model.parameters())
    assert found["id"]["parameters"] == plain


def test_the_preset_has_every_part():
    config = load_config(None, ["preset=bdlm"])
    switched = {name for name in ("store", "mformer", "knowledge", "readback", "distill")
                if getattr(config.bridges, name).enabled}  # fmt: skip
    assert switched == {"store", "readback", "distill"}
    assert config.arm == "both"
    assert config.bridges.distill.id_weight > 0
    assert config.bridges.distill.llm_weight > 0
    assert config.train.schedule.rounds > 1
    assert not config.train.safeguard  # a plain model in the ID side's place would not be the paper's
