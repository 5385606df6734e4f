"""The plain ID model beside a joint run: floor of what is kept, yardstick of the exchange."""

import itertools
import json
import logging

import numpy as np
import pytest
import torch

from bridges.knowledge import KnowledgeFeatures
from hybrid.data.prepare import prepare
from hybrid.data.split import split_training
from hybrid.evaluation.evaluate import evaluate_run
from hybrid.evaluation.rankers import Ranked
from hybrid.runs import train_run
from hybrid.system import build_system
from hybrid.training.run_directory import RunDirectory, read_json, write_json
from hybrid.training.safeguard import needs_safeguard
from hybrid.training.trainer import Trainer
from idmodels.saved import load_id_model

SHORT = ("train.schedule.rounds=1", "bridges.mformer.enabled=false", "bridges.store.enabled=false")


def started(config, path):
    data = split_training(prepare(config.data), config.data)
    trainer, run = Trainer(build_system(config, data)), RunDirectory(path)
    run.create(config, data.fingerprint)
    trainer.start(run)
    return trainer


@pytest.mark.parametrize(
    "settings",
    [
        SHORT,
        ("train.schedule.rounds=3", "train.schedule.id_length=6", "train.id.patience=1", "train.id.phase_end=best"),
        ("train.schedule.rounds=2", "train.schedule.id_length=6", "train.id.patience=1", "train.id.decay=cosine"),
        ("train.schedule.id_length=3", "train.id.patience=1", "train.id.phase_end=best", "train.id.average=0.9"),
    ],
)
def test_the_plain_model_is_the_one_of_id_only(tiny, settings):
    """With the same seed, phases and patience, epoch by epoch."""
    joint = train_run(tiny("arm=llm2id", "name=joint", *settings))
    alone = train_run(tiny("arm=id_only", "name=alone", *settings))
    lines = [json.loads(line) for line in (alone.path / "metrics.jsonl").read_text().splitlines()]
    expected = [line["ndcg@10"] for line in lines if line["event"] == "valid"]
    assert read_json(joint.path / "best" / "plain.json")["curve"] == pytest.approx(expected)


LEARNS = ("train.id.learning_rate=0.01", "train.schedule.id_length=20")


@pytest.fixture
def noise(monkeypatch):
    """Features that are noise, so large that the ID side learns nothing beside them."""
    loud = KnowledgeFeatures.item_features

    def item_features(self):
        features = loud(self)
        return None if features is None else features.detach() * 1e4

    monkeypatch.setattr(KnowledgeFeatures, "item_features", item_features)


def test_a_run_that_never_beats_the_plain_model_keeps_it(tiny, caplog, noise):
    config = tiny("arm=llm2id", *SHORT, *LEARNS)
    with caplog.at_level(logging.WARNING):
        run = train_run(config)
    assert "behind, the plain model takes its place" in caplog.text
    plain, kept = (load_id_model(run.path / "best" / name)[0] for name in ("plain", "id"))
    assert torch.equal(plain.item_embedding.weight, kept.item_embedding.weight)
    floor = read_json(run.path / "best" / "plain.json")["best"]["ndcg@10"]
    assert read_json(run.finished)["best_valid/id"] == floor
    assert evaluate_run(run.path, "valid")["sides"]["id"]["metrics"]["ndcg@10"] == pytest.approx(floor, abs=1e-6)
    assert read_json(run.path / "best" / "id.json")["plain"] is True


def test_after_the_last_id_phase_the_llm_learns_from_the_plain_model_if_that_is_better(tiny, noise):
    config = tiny("train.schedule.rounds=1", "bridges.collaborative.enabled=true", *LEARNS)
    run = train_run(config)
    data = split_training(prepare(config.data), config.data)
    plain = load_id_model(run.path / "best" / "plain")[0].item_table()
    kept = build_system(config, data)
    kept.load(run.best_llm)
    assert not kept.exchange.item_features().any()
    assert torch.equal(kept.id_model.item_table(), plain)
    assert torch.equal(kept.exchange.store.read("id", "item"), plain)
    recorded = read_json(run.path / "best" / "llm.json")["ndcg@10"]
    assert evaluate_run(run.path, "valid")["sides"]["llm"]["metrics"]["ndcg@10"] == pytest.approx(recorded)


def test_texts_that_do_not_help_rest_after_the_first_phase_and_distillation_goes_on(tiny, tmp_path, caplog, noise):
    bridges = ["bridges.smoothing.enabled=true", "bridges.store.enabled=false", "bridges.mformer.enabled=false"]
    config = tiny(
        "train.schedule.rounds=2", "llm.prompt.items=vectors", "bridges.knowledge.enabled=true", *bridges, *LEARNS
    )
    trainer = started(config, tmp_path / "run")
    with caplog.at_level(logging.INFO):
        trainer.train()
    events = [message for message in caplog.messages if "takes its place" in message or message.startswith("round")]
    assert [message[:7] for message in events] == ["round 1", "id side", "round 1", "round 2", "round 2"]
    assert trainer.system.exchange.resting == {"knowledge", "smoothing"}
    losses = trainer.learners["id"].losses(next(iter(trainer.learners["id"].batches(0, 0))))
    assert set(losses) == {"softmax", "distill"}
    assert trainer.stopping["id"].best >= read_json(trainer.safeguard.record)["best"]["ndcg@10"]


def test_titles_may_help_later_so_texts_have_all_phases(tiny, tmp_path, caplog, noise):
    trainer = started(tiny("train.schedule.rounds=2", "train.id.patience=0", *LEARNS), tmp_path / "run")
    trainer.train()
    events = [message for message in caplog.messages if "takes its place" in message]
    assert len(events) == 1
    assert trainer.learners["id"].epoch == 40


def test_a_side_that_has_had_its_time_is_compared_with_all_of_the_plain_curve(tiny, tmp_path):
    trainer = started(tiny(*SHORT), tmp_path / "run")
    trainer._prepare()
    guard = trainer.safeguard
    record = read_json(guard.record)
    write_json(guard.record, record | {"curve": [0.1, 0.2, 0.5]})
    assert guard.settle(0.3, 2, last=True) is None
    assert not trainer.system.exchange.resting
    assert guard.settle(0.3, None, last=False) == record["best"]
    assert trainer.system.exchange.resting == {"knowledge"}


def test_texts_stay_only_where_they_are_ahead_by_more_than_two_standard_errors(tiny, tmp_path, monkeypatch):
    trainer = started(tiny(*SHORT), tmp_path / "run")
    trainer._prepare()
    trainer._keep_id({})
    guard = trainer.safeguard
    write_json(guard.record, read_json(guard.record) | {"curve": [0.2]})
    ranks = [torch.tensor([1, 3, 20, 20]), torch.tensor([3, 3, 20, 3])]  # NDCG@10 1, 0.5, 0, 0 and 0.5, 0.5, 0, 0.5
    ranked = itertools.cycle(ranks)
    monkeypatch.setattr("hybrid.training.safeguard.rank_targets", lambda *_: Ranked(next(ranked), torch.zeros(1), None))
    error = np.std([0.5, 0.0, 0.0, -0.5]) / 2  # leads of four users; ddof 0
    assert guard.settle(0.2 + 2 * error + 1e-6, None, last=False) is None
    assert guard.settle(0.2, None, last=True) is None
    assert not trainer.system.exchange.resting
    assert guard.settle(0.2 + 2 * error - 1e-6, None, last=False) is not None
    assert trainer.system.exchange.resting == {"knowledge"}


def test_a_run_that_broke_off_before_its_decision_was_saved_decides_alike(tiny, tmp_path, monkeypatch):
    trainer = started(tiny(*SHORT), tmp_path / "run")
    trainer._prepare()
    trainer._keep_id({})
    guard = trainer.safeguard
    plain = read_json(guard.record)["best"]["ndcg@10"]
    monkeypatch.setattr(guard, "_standard_error", lambda: 1.0)
    assert guard.settle(plain + 0.1, None, last=False) is not None
    monkeypatch.setattr(guard, "_standard_error", lambda: 0.0)  # best/id is the plain model now
    assert guard.settle(plain + 0.1, None, last=False) is not None
    assert guard.settle(plain, None, last=True) is None  # saved since: the side goes on from the plain model


def test_what_was_given_up_does_not_count_any_more(tiny, tmp_path, monkeypatch):
    """Texts that are ahead by too little to stay: the next phase is measured against the plain model."""
    monkeypatch.setattr("hybrid.training.safeguard.Safeguard._standard_error", lambda _: 1.0)
    settings = ("llm.tune=none", "train.id.patience=2", "train.id.phase_end=best")
    trainer = started(tiny("train.schedule.rounds=2", *settings), tmp_path / "run")
    trainer._prepare()
    record, stopping = read_json(trainer.safeguard.record), trainer.stopping["id"]
    stopping.update(max(record["curve"]) + 0.1, 1)
    stopping.update(0.0, 2)
    stopping.end_phase()
    trainer._settle(trainer.learners["id"])
    assert stopping.best == record["best"]["ndcg@10"]
    assert (stopping.waited, stopping.spent) == (0, 0)
    assert trainer.safeguard.fall_back(stopping.best) == read_json(trainer.run.path / "best" / "id.json")["ndcg@10"]


def test_a_graph_model_is_not_smoothed_twice_when_the_plain_one_takes_its_place(tiny, tmp_path):
    trainer = started(tiny("id.model=lightgcn", "bridges.mformer.enabled=false", *SHORT), tmp_path / "run")
    trainer._prepare()
    trainer.safeguard.settle(None, None, last=True)
    plain = load_id_model(trainer.safeguard.folder)[0].item_table()
    assert torch.allclose(trainer.system.need_id().item_table(), plain, atol=1e-6)


def test_a_phase_shorter_than_an_epoch_is_compared_with_the_first(tiny, tmp_path):
    trainer = started(tiny(*SHORT), tmp_path / "run")
    trainer._prepare()
    assert trainer.safeguard.settle(1.0, 0, last=True) is None


def test_before_the_last_phase_only_bridges_of_the_texts_rest(tiny, tmp_path):
    settings = ("bridges.readback.enabled=true", "bridges.smoothing.enabled=true")
    exchange = started(tiny("arm=both", "train.schedule.rounds=2", *settings), tmp_path / "run").system.exchange
    exchange.rest(last=False)
    assert exchange.resting == {"knowledge", "smoothing"}
    assert set(exchange.feature_readers()) == {"readback"}
    exchange.rest(last=True)
    assert exchange.resting == {"knowledge", "smoothing", "readback"}
    assert not exchange.feature_readers()


@pytest.mark.parametrize(("source", "rests"), [("text", {"substitution"}), ("ranking", set())])
def test_before_the_last_phase_substitutions_rest_where_texts_propose_them(tiny, tmp_path, source, rests):
    on = ["bridges.substitution.enabled=true", f"bridges.substitution.source={source}"]
    config = tiny("llm.prompt.targets_per_prompt=3", "bridges.knowledge.enabled=false", *on)
    exchange = started(config, tmp_path / "run").system.exchange
    exchange.rest(last=False)
    assert exchange.resting == rests
    exchange.rest(last=True)
    assert exchange.resting == {"substitution"}


def test_substitutions_by_the_llms_ranking_alone_have_a_safeguard(tiny, tmp_path):
    off = [f"bridges.{name}.enabled=false" for name in ("knowledge", "distill")]
    on = ["bridges.substitution.enabled=true", "bridges.substitution.source=ranking"]
    config = tiny("llm.prompt.targets_per_prompt=3", *off, *on)
    assert needs_safeguard(started(config, tmp_path / "run").system)


def test_an_id_side_that_is_better_stays(tiny):
    config = tiny("train.schedule.rounds=1")
    run = train_run(config)
    data = split_training(prepare(config.data), config.data)
    kept = build_system(config, data)
    kept.load(run.best_llm)
    best = read_json(run.path / "best" / "id.json")["ndcg@10"]
    assert best > read_json(run.path / "best" / "plain.json")["best"]["ndcg@10"]
    assert kept.exchange.item_features().any()


def test_a_run_that_is_as_good_as_the_plain_model_keeps_its_own(tiny, tmp_path):
    trainer = started(tiny(*SHORT), tmp_path / "run")
    trainer._prepare()
    floor = read_json(trainer.safeguard.record)["best"]["ndcg@10"]
    assert trainer.safeguard.fall_back(floor) == floor
    assert not trainer.run.best_id.exists()
    assert trainer.safeguard.fall_back(floor - 0.01) == floor
    assert trainer.run.best_id.exists()


def test_teaching_ends_after_so_many_validations_below_the_plain_model(tiny, tmp_path, caplog):
    trainer = started(tiny("train.safeguard_patience=2", *SHORT), tmp_path / "run")
    guard = trainer.safeguard
    trainer._prepare()
    curve = read_json(guard.record)["curve"]
    guard.watch(curve[0] - 0.1, 1)
    assert not guard.closed
    assert guard.waited == 1
    guard.watch(curve[-1] - 0.1, 9)  # beyond its last epoch its best counts
    assert guard.closed
    assert "the LLM teaches it no more" in caplog.text
    exchange = trainer.system.exchange
    assert exchange.directions == {"id2llm"}
    assert exchange.losses("id", None) == {}


def test_one_bad_epoch_after_a_good_one_is_no_reason_to_end(tiny, tmp_path):
    trainer = started(tiny("train.safeguard_patience=2", *SHORT), tmp_path / "run")
    trainer._prepare()
    guard = trainer.safeguard
    good = max(read_json(guard.record)["curve"]) + 0.1
    for value in (good - 0.2, good, good - 0.2, good - 0.2, good - 0.2):
        guard.watch(value, 1)
    assert guard.waited == 0
    assert not guard.closed


def test_what_was_reached_before_the_llm_taught_counts(tiny, tmp_path):
    trainer = started(tiny("train.safeguard_patience=2", *SHORT), tmp_path / "run")
    trainer._prepare()
    guard = trainer.safeguard
    plain = max(read_json(guard.record)["curve"])
    guard.watch(plain + 0.1, 1, taught=False)
    for epoch in (2, 3, 4):
        guard.watch(plain - 0.1, epoch)
    assert not guard.closed


def test_an_ended_teaching_stays_ended_in_a_resumed_run(tiny, tmp_path):
    trainer = started(tiny(*SHORT), tmp_path / "run")
    trainer._prepare()
    trainer.safeguard.close()
    trainer.save()
    again = Trainer(build_system(trainer.config, trainer.system.data))
    again.start(RunDirectory(tmp_path / "run"), resume=True)
    assert again.safeguard.closed
    assert again.system.exchange.directions == {"id2llm"}


def test_the_plain_model_changes_nothing_of_the_run(tiny, tmp_path):
    states = []
    for switch in ("true", "false"):
        trainer = started(tiny(*SHORT, f"train.safeguard={switch}", "train.safeguard_patience=0"), tmp_path / switch)
        trainer.train()
        states.append(trainer.system.id_model.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize(
    ("overrides", "wanted"),
    [
        (["arm=both"], True),
        (["arm=id_only"], False),
        (["arm=id2llm"], False),
        (["arm=llm2id", "bridges.knowledge.enabled=false", "bridges.distill.enabled=false"], False),
        (["arm=both", "train.safeguard=false"], False),
    ],
)
def test_only_runs_in_which_the_llm_reaches_the_id_side_have_one(tiny, overrides, wanted):
    config = tiny(*overrides)
    system = build_system(config, split_training(prepare(config.data), config.data))
    assert needs_safeguard(system) is wanted


def test_fixed_texts_alone_are_judged_after_a_phase_and_not_watched(tiny, tmp_path):
    frozen = ("llm.tune=none", "train.schedule.llm_length=0", "evaluation.untrained=false")
    assert not started(tiny(*frozen, *SHORT), tmp_path / "run")._llm_stands


def test_the_id_side_is_watched_once_the_llm_has_learned(tiny, tmp_path):
    trainer = started(tiny("train.safeguard_patience=1", *SHORT, "arm=both"), tmp_path / "run")
    trainer._prepare()
    assert not trainer._llm_stands
    trainer.learners["llm"].steps = 1
    assert trainer._llm_stands
