"""What an evaluation leaves in the run: groups, ranks that give the metrics again, best items, shuffled histories."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hybrid.checkpoint_files import load_tensors
from hybrid.data.prepare import prepare
from hybrid.data.split import split_training
from hybrid.errors import UserError
from hybrid.evaluation.evaluate import evaluate_run
from hybrid.evaluation.metrics import ranking_metrics
from hybrid.evaluation.shuffled import rewrite_user_states, shuffled
from hybrid.runs import train_run
from hybrid.system import build_system
from hybrid.training.run_directory import RunDirectory
from idmodels.saved import load_id_model

SHORT = ("train.schedule.rounds=1",)


def test_ranks_on_disk_give_the_metrics_again(tiny):
    run = train_run(tiny(*SHORT))
    found = evaluate_run(run.path, "test")
    tensors, _ = load_tensors(run.path / "test_ranks.safetensors")
    for side in ("id", "llm"):
        assert ranking_metrics(tensors[f"{side}.ranks"]) == found["sides"][side]["metrics"]
        of_tail = found["sides"][side]["groups"]["popularity"]["tail"]
        assert ranking_metrics(tensors[f"{side}.ranks"][tensors["tail"]])["ndcg@10"] == of_tail["ndcg@10"]
    assert not (run.path / "test_states.safetensors").exists()


def test_best_items_hold_the_target_where_its_rank_says(tiny):
    config = tiny(*SHORT, "arm=id_only")
    run = train_run(config)
    evaluate_run(run.path, "test")
    tensors, _ = load_tensors(run.path / "test_ranks.safetensors")
    histories = split_training(prepare(config.data), config.data).train
    assert tensors["id.top"].shape == (20, 12)
    for user, target, rank, top in zip(*(tensors[n] for n in ("users", "targets", "id.ranks", "id.top")), strict=True):
        assert top[rank - 1] == target
        assert not set(histories.row(user)) & set(top.tolist())


def test_states_are_written_when_they_are_asked_for(tiny):
    run = train_run(tiny(*SHORT, "arm=id_only"))
    first = evaluate_run(run.path, "test")
    again = evaluate_run(run.path, "test", keep_states=True)  # the metrics are there, the states are not
    assert again["sides"]["id"]["metrics"] == first["sides"]["id"]["metrics"]
    tensors, _ = load_tensors(run.path / "test_states.safetensors")
    model, _ = load_id_model(run.best_id)
    assert torch.equal(tensors["id.items"], model.item_table())
    assert tensors["id.states"].shape == (20, 8)


def test_shuffling_keeps_every_users_items_and_depends_on_the_seed(tiny):
    config = tiny()
    old = split_training(prepare(config.data), config.data).valid
    new = shuffled(old, seed=3)
    rows = range(len(old))
    assert all(sorted(old.histories.row(r)) == sorted(new.histories.row(r)) for r in rows)
    assert any(list(old.histories.row(r)) != list(new.histories.row(r)) for r in rows)
    assert np.array_equal(new.histories.items, shuffled(old, seed=3).histories.items)
    assert not np.array_equal(new.histories.items, shuffled(old, seed=4).histories.items)
    assert np.array_equal(old.items, new.items)


def test_a_model_that_reads_the_order_loses_by_shuffled_histories(tiny):
    learned = ("train.schedule.rounds=1", "train.schedule.id_length=60", "train.id.learning_rate=0.01")
    run = train_run(tiny("arm=id_only", *learned))
    plain = evaluate_run(run.path, "test")["sides"]["id"]["metrics"]["ndcg@5"]
    mixed = evaluate_run(run.path, "test", shuffle_histories=True)["sides"]["id"]["metrics"]["ndcg@5"]
    assert plain > 0.9
    assert mixed < 0.8
    assert (run.path / "test_shuffled_ranks.safetensors").exists()


def test_the_users_state_in_the_store_is_that_of_the_shuffled_history(tiny):
    config = tiny()
    system = build_system(config, split_training(prepare(config.data), config.data))
    targets = shuffled(system.data.valid, seed=1)
    rewrite_user_states(system, targets)
    rows = torch.from_numpy(system.data.train.ends[targets.users] - 1)
    user = 4
    history = torch.from_numpy(targets.histories.row(user)[-6:].astype(np.int64))[None]
    with torch.no_grad():
        expected = system.id_model.eval().last_states(history, torch.tensor([history.shape[1]]))
    read = system.exchange.store.read("id", "user", rows[user : user + 1])
    assert torch.allclose(read, expected, atol=2e-3)  # the store keeps half precision


def test_click_runs_are_not_shuffled(tiny, monkeypatch):
    config = tiny(*SHORT, "arm=id_only")
    run = train_run(config)
    monkeypatch.setattr(RunDirectory, "read_config", lambda _: replace(config, task="ctr"))
    with pytest.raises(UserError, match="shuffled for task=ranking"):
        evaluate_run(run.path, "test", shuffle_histories=True)
