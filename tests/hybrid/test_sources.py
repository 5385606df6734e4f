"""Several ID models feed the M-Former: made anew and trained first, or loaded from a folder of the same item map."""

import json

import pytest
import torch

from hybrid.data.prepare import prepare
from hybrid.data.split import split_training
from hybrid.errors import UserError
from hybrid.runs import train_run
from hybrid.sources import create_sources
from hybrid.system import build_system
from hybrid.training.run_directory import RunDirectory
from hybrid.training.trainer import Trainer
from idmodels.contract import IDModel
from idmodels.saved import load_id_model

CPU = torch.device("cpu")
SHORT = ("arm=id2llm", "train.schedule.rounds=1", "bridges.store.enabled=false", "bridges.distill.enabled=false")


def data_of(config):
    return split_training(prepare(config.data), config.data)


@pytest.fixture
def alone(tiny, tmp_path):
    """A finished run of a GRU4Rec."""
    config = tiny("arm=id_only", "id.model=gru4rec", "id.width=12", "train.schedule.rounds=1", "name=alone")
    return train_run(config)


def trained(config, tmp_path, resume=False):
    data = data_of(config)
    trainer = Trainer(build_system(config, data))
    run = RunDirectory(tmp_path / "run")
    if not resume:
        run.create(config, data.fingerprint)
    trainer.start(run, resume)
    return trainer


def weights(model: IDModel):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(first, second):
    return all(torch.equal(first[name], second[name]) for name in second)


def test_a_named_source_is_trained_once_and_then_stays(tiny, tmp_path):
    trainer = trained(tiny(*SHORT, "bridges.mformer.sources=[sasrec,gru4rec]"), tmp_path)
    (source,) = trainer.system.sources  # sasrec is the run's own
    fresh = weights(source.model)
    trainer._prepare()
    first = weights(source.model)
    assert not same(first, fresh)
    trainer.train()
    assert same(weights(source.model), first)
    assert not any(weight.requires_grad for weight in source.model.parameters())
    assert len(trainer.system.exchange.bridges["mformer"].inputs) == 2
    resumed = trained(trainer.config, tmp_path, resume=True)
    assert resumed.prepared
    assert same(weights(resumed.system.sources[0].model), first)


def test_a_source_with_a_graph_has_it_after_a_resume_too(tiny, tmp_path):
    trainer = trained(tiny(*SHORT, "bridges.mformer.sources=[lightgcn]"), tmp_path)
    trainer._prepare()
    table = trainer.system.sources[0].model.item_table()
    trainer.train()
    resumed = trained(trainer.config, tmp_path, resume=True)
    assert torch.equal(resumed.system.sources[0].model.item_table(), table)


@pytest.mark.parametrize("exported", [True, False])
def test_a_source_is_loaded_from_a_run_or_an_exported_folder(tiny, tmp_path, alone, exported):
    folder = alone.best_id if exported else alone.path
    config = tiny(*SHORT, f"bridges.mformer.sources=['{folder}']", "name=reader")
    trainer = trained(config, tmp_path)
    (source,) = trainer.system.sources
    expected, _ = load_id_model(alone.best_id)
    assert same(weights(source.model), expected.state_dict())
    trainer.train()
    assert same(weights(source.model), expected.state_dict())


def test_the_prefix_follows_every_source(tiny, tmp_path):
    system = build_system(tiny(*SHORT, "bridges.mformer.sources=[gru4rec]"), data_of(tiny()))
    batch = next(system.prompts.epoch(0))
    before = system.exchange.fill(batch).tokens["prefix"]
    with torch.no_grad():
        system.sources[0].model.item_embedding.weight.normal_()
    assert not torch.equal(system.exchange.fill(batch).tokens["prefix"], before)


def test_states_of_another_item_map_are_refused(tiny, alone):
    config = tiny(*SHORT, f"bridges.mformer.sources=['{alone.path}']")
    path = alone.best_id / "item_ids.json"
    ids = json.loads(path.read_text())
    path.write_text(json.dumps([*ids[:2], "other", *ids[3:]]))
    with pytest.raises(UserError, match=r"has another item map: item 2 is 'other', in this run's data 'i\d+'$"):
        create_sources(config, data_of(config), CPU)


def test_impossible_sources_are_refused(tiny, alone):
    data = data_of(tiny())
    cases = {
        "gru4rek": "unknown ID model 'gru4rek'; did you mean",
        "runs/none": "no such folder: runs/none",
    }
    for name, message in cases.items():
        with pytest.raises(UserError, match=f"^bridges.mformer.sources: {message}"):
            create_sources(tiny(*SHORT, f"bridges.mformer.sources=[{name}]"), data, CPU)
    longer = tiny(*SHORT, "id.max_length=7", f"bridges.mformer.sources=['{alone.path}']")
    with pytest.raises(UserError, match=r"reads 6 items at most, fewer than id.max_length 7$"):
        create_sources(longer, data, CPU)


@pytest.mark.parametrize("setting", ["experts", "queries"])
def test_an_mformer_without_experts_or_queries_is_refused(tiny, setting):
    with pytest.raises(UserError, match=rf"^bridges.mformer.{setting}: input should be greater than 0, got 0$"):
        tiny(f"bridges.mformer.{setting}=0")


def test_a_source_that_has_learned_from_another_train_part_is_refused(tiny, alone):
    config = tiny(*SHORT, f"bridges.mformer.sources=['{alone.path}']")
    path = alone.best_id / "popularity.json"
    counts = json.loads(path.read_text())
    path.write_text(json.dumps([counts[0], counts[1] + 1, *counts[2:]]))
    with pytest.raises(UserError, match="was trained on other interactions than this run's train part"):
        create_sources(config, data_of(config), CPU)
