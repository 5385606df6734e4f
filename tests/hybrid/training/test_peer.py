"""Another ID model in the LLM's place: it is another one, and teaches what it knows after the first phase."""

import pytest
import torch

from hybrid.config.load import load_config
from hybrid.data.prepare import prepare
from hybrid.data.split import split_training
from hybrid.errors import UserError
from hybrid.runs import train_run
from hybrid.system import build_system
from hybrid.training.run_directory import RunDirectory, read_json
from hybrid.training.trainer import Trainer
from idmodels.saved import load_id_model

PEER = (
    "arm=llm2id",
    "bridges.distill.teacher=peer",
    "bridges.mformer.enabled=false",
    "train.schedule.llm_length=0",
    "evaluation.untrained=false",
)


def test_a_plain_model_of_another_seed_is_what_the_id_side_learns_from(tiny, tmp_path, monkeypatch):
    config = tiny(*PEER)
    trainer = Trainer(build_system(config, data := split_training(prepare(config.data), config.data)))
    run = RunDirectory(tmp_path / "run")
    run.create(config, data.fingerprint)
    trainer.start(run)
    monkeypatch.setattr("torch.cuda.device_count", lambda: pytest.fail("GPUs that the run is not on were asked for"))
    trainer._prepare()
    store, learner = trainer.system.exchange.store, trainer.learners["id"]
    assert not store.has("llm", "item")  # the first phase is as in a run with an LLM
    trainer._phase(trainer.schedule.current)
    peer, plain = (load_id_model(run.path / "best" / name)[0] for name in ("peer", "plain"))
    assert torch.equal(store.read("llm", "item"), peer.item_table())
    assert not torch.equal(peer.item_table(), plain.item_table())
    row = int(data.train.starts[0]) + 2
    state = peer.eval().encode(torch.from_numpy(data.train.items[row - 2 : row + 1]).long()[None])[0, -1]
    torch.testing.assert_close(store.read("llm", "user", torch.tensor([row]))[0], state, rtol=1e-2, atol=1e-2)
    learner.wake()
    assert "distill" in learner.losses(next(iter(learner.batches(0, 0))))


def test_the_run_with_a_peer_ends_and_says_what_it_reached(tiny):
    run = train_run(tiny(*PEER))
    assert read_json(run.finished)["best_valid/id"] > 0


def test_an_llm_with_turns_leaves_a_peer_no_place():
    with pytest.raises(UserError, match=r"teacher=peer has the LLM's place: set train.schedule.llm_length=0"):
        load_config(None, ["bridges.distill.teacher=peer"])


def test_a_peer_with_a_graph_is_not_smoothed_twice(tiny, tmp_path):
    config = tiny(*PEER, "id.model=lightgcn")
    trainer = Trainer(build_system(config, data := split_training(prepare(config.data), config.data)))
    run = RunDirectory(tmp_path / "run")
    run.create(config, data.fingerprint)
    trainer.start(run)
    trainer._prepare()
    trainer._phase(trainer.schedule.current)
    peer = load_id_model(run.path / "best" / "peer")[0]
    torch.testing.assert_close(trainer.system.exchange.store.read("llm", "item"), peer.item_table())
