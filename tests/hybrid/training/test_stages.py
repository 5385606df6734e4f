"""Two stages: items encoded for every epoch, then fixed from the best weights on; phases that end at the best."""

import json

import pytest
import torch

from hybrid.config.load import load_config
from hybrid.data.prepare import prepare
from hybrid.data.split import split_training
from hybrid.errors import UserError
from hybrid.system import build_system
from hybrid.training.run_directory import RunDirectory
from hybrid.training.trainer import Trainer
from idmodels.saved import load_id_model

LASER = (
    "arm=id2llm",
    "llm.tune=none",
    "llm.item_pooling=history",
    "llm.whiten_width=0",
    "llm.scorer.width=0",
    "bridges.store.enabled=false",
    "bridges.distill.enabled=false",
    "train.schedule.rounds=1",
    "train.schedule.llm_length=4",
    "train.llm.encode_items=epoch",
    "train.llm.fixed_epochs=2",
    "train.llm.learning_rate=0.01",
)


@pytest.fixture
def make_trainer(tiny, tmp_path):
    def make(*overrides, name="run", resume=False):
        config = tiny(*overrides)
        data = split_training(prepare(config.data), config.data)
        trainer = Trainer(build_system(config, data))
        run = RunDirectory(tmp_path / name)
        if not resume:
            run.create(config, data.fingerprint)
        trainer.start(run, resume)
        return trainer

    return make


@pytest.fixture
def watched(monkeypatch):
    """Let a trainer note the LLM's epoch at every encoding, and the item matrix at every LLM step."""

    def watch(trainer):
        learner, encode = trainer.learners["llm"], trainer.system.encode_items
        trainer.encoded, trainer.matrices = [], {}
        step = learner.step

        def noted_encode(now):
            trainer.encoded.append(learner.epoch)
            encode(now)

        def noted_step(batch):
            epoch = learner.steps // learner.batches_per_epoch()
            trainer.matrices.setdefault(epoch, []).append(trainer.system.recommender.item_matrix().clone())
            return step(batch)

        monkeypatch.setattr(trainer.system, "encode_items", noted_encode)
        monkeypatch.setattr(learner, "step", noted_step)
        return trainer

    return watch


def test_items_are_encoded_for_every_epoch_of_the_first_stage_and_stay_in_the_second(make_trainer, watched):
    trainer = watched(make_trainer(*LASER))
    trainer.train()
    assert trainer.encoded == [0, 1]  # at the beginning of both epochs, and not before the run, when nothing reads them
    first = {epoch: matrices[0] for epoch, matrices in trainer.matrices.items()}
    assert all(torch.equal(matrix, first[epoch]) for epoch, found in trainer.matrices.items() for matrix in found)
    assert not torch.equal(first[0], first[1])
    assert torch.equal(first[2], first[3])
    assert any(torch.equal(first[2], first[epoch]) for epoch in (0, 1))  # those of the best epoch


def test_knowledge_for_the_id_model_has_items_encoded_before_the_run_too(make_trainer, watched):
    trainer = watched(make_trainer("arm=both", "train.schedule.rounds=1", "train.llm.encode_items=epoch"))
    trainer.train()
    assert trainer.encoded == [0, 0, 1]  # before the ID phase, before the LLM's epoch and after its phase


EVERY_EPOCH = ("arm=both", "train.schedule.rounds=1", "train.schedule.llm_length=2", "train.llm.encode_items=epoch")


def test_a_run_resumed_between_two_epochs_does_not_encode_again(make_trainer, watched):
    """The second encoding would be mixed into the store once more."""
    settings = (*EVERY_EPOCH, "train.checkpoint_steps=1")
    trainer = make_trainer(*settings)
    trainer.save = lambda: Trainer.save(trainer) or stop_between_epochs(trainer)
    with pytest.raises(InterruptedError):
        trainer.train()
    resumed = watched(make_trainer(*settings, resume=True))
    resumed.train()
    assert resumed.encoded == [2]  # after the phase


def stop_between_epochs(trainer):
    learner = trainer.learners["llm"]
    if (learner.epoch, learner.batches_done) == (1, 0):
        raise InterruptedError


@pytest.mark.parametrize("average", ["0", "0.9"])
def test_items_are_encoded_by_what_is_exchanged_and_kept(make_trainer, monkeypatch, average):
    trainer = make_trainer(*EVERY_EPOCH, f"train.llm.average={average}")
    awake = []
    monkeypatch.setattr(trainer.system, "encode_items", lambda step: awake.append(trainer.learners["llm"].awake))
    trainer._begin_epoch(trainer.learners["llm"])
    trainer.learners["llm"].wake()
    trainer.encoded_epoch = -1
    trainer._begin_epoch(trainer.learners["llm"])
    assert awake == [False, False]
    assert trainer.learners["llm"].awake


def test_without_the_switch_items_are_encoded_after_the_phase_only(make_trainer, watched):
    trainer = watched(make_trainer(*LASER, "train.llm.encode_items=phase", "train.llm.fixed_epochs=0"))
    trainer.train()
    assert trainer.encoded == [0, 4]


def test_the_second_stage_starts_from_the_best_of_the_first(make_trainer, monkeypatch):
    trainer = make_trainer(*LASER)
    learner, llm = trainer.learners["llm"], trainer.system.recommender
    values = {1: 0.9, 2: 0.1, 3: 0.2, 4: 0.3}  # epoch 1 is the best
    suffixes, validate = {}, trainer.validator.validate

    def judged(side, *rest):
        found = validate(side, *rest)
        if side == "llm":
            suffixes[learner.epoch] = llm.suffix.detach().clone()
            found["ndcg@10"] = values[learner.epoch]
        return found

    monkeypatch.setattr(trainer.validator, "validate", judged)
    step, started = learner.step, {}

    def noted_step(batch):
        epoch = learner.steps // learner.batches_per_epoch()
        started.setdefault(epoch, (llm.suffix.detach().clone(), len(learner.optimizer.state)))
        return step(batch)

    monkeypatch.setattr(learner, "step", noted_step)
    trainer.train()
    assert torch.equal(started[1][0], suffixes[1])
    assert torch.equal(started[2][0], suffixes[1])
    assert not torch.equal(suffixes[1], suffixes[2])
    assert (started[1][1] > 0, started[2][1]) == (True, 0)  # the optimiser starts anew


@pytest.mark.parametrize("steps", [2, 5, 6, 8, 10])
def test_a_resumed_run_in_two_stages_equals_the_uninterrupted_one(make_trainer, tmp_path, steps):
    expected = make_trainer(*LASER, name="whole").train()
    broken = make_trainer(*LASER, "train.checkpoint_steps=4", name="broken")
    learner = broken.learners["llm"]
    step = learner.step

    def step_or_die(batch):
        if learner.steps == steps:
            raise KeyboardInterrupt
        return step(batch)

    learner.step = step_or_die
    with pytest.raises(KeyboardInterrupt):
        broken.train()
    torch.manual_seed(12345)
    resumed = make_trainer(*LASER, "train.checkpoint_steps=4", name="broken", resume=True)
    assert resumed.train() == expected
    assert best(tmp_path / "whole") == best(tmp_path / "broken")


def best(path):
    return json.loads((path / "best" / "llm.json").read_text())["ndcg@10"]


def test_not_one_weight_of_a_frozen_language_model_moves(make_trainer):
    trainer = make_trainer(*LASER)
    recommender = trainer.system.recommender
    before = {name: weight.clone() for name, weight in recommender.lm.named_parameters()}
    suffix, router = recommender.suffix.clone(), trainer.system.exchange.bridges["mformer"].router.linear.weight.clone()
    trainer.train()
    assert all(torch.equal(weight, before[name]) for name, weight in recommender.lm.named_parameters())
    assert not any(weight.requires_grad for weight in recommender.lm.parameters())
    assert not torch.equal(recommender.suffix, suffix)
    assert not torch.equal(trainer.system.exchange.bridges["mformer"].router.linear.weight, router)
    trained = {id(parameter) for parameter in trainer.learners["llm"].parameters}
    assert trained.isdisjoint(id(weight) for weight in recommender.lm.parameters())


def test_the_prefix_changes_the_answer_and_its_gradient_reaches_mformer_suffix_and_nothing_else(make_trainer):
    trainer = make_trainer(*LASER)
    trainer.system.encode_items(0)
    learner, mformer = trainer.learners["llm"], trainer.system.exchange.bridges["mformer"]
    learner.wake()
    batch = next(learner.batches(0, 0))
    before = learner.losses(batch)["softmax"]
    before.backward()
    reached = {name for name, weight in mformer.named_parameters() if weight.grad is not None and weight.grad.any()}
    assert {"experts", "router.linear.weight"} <= reached
    assert trainer.system.recommender.suffix.grad.any()
    assert all(weight.grad is None for weight in trainer.system.recommender.lm.parameters())
    assert all(weight.grad is None for weight in trainer.system.id_model.parameters())
    with torch.no_grad():
        mformer.experts.add_(torch.randn_like(mformer.experts))
    assert learner.losses(batch)["softmax"] != before


@pytest.mark.parametrize("average", [0.0, 0.9])
@pytest.mark.parametrize("ending", ["last", "best"])
def test_an_id_phase_can_end_at_its_best_weights(make_trainer, monkeypatch, ending, average):
    settings = ["train.schedule.id_length=4", f"train.id.phase_end={ending}", f"train.id.average={average}"]
    trainer = make_trainer("arm=id2llm", "train.schedule.rounds=1", *settings)
    learner, model = trainer.learners["id"], trainer.system.id_model
    seen, validate = {}, trainer.validator.validate

    def judged(side, *rest):
        found = validate(side, *rest)
        if side == "id":
            seen[learner.epoch] = model.item_embedding.weight.detach().clone()
            found["ndcg@10"] = {1: 0.1, 2: 0.9, 3: 0.2, 4: 0.3}[learner.epoch]
        return found

    monkeypatch.setattr(trainer.validator, "validate", judged)
    trainer.train()
    expected = seen[2] if ending == "best" else seen[4]
    assert torch.equal(model.item_embedding.weight, expected)
    assert not torch.equal(seen[2], seen[4])
    store = trainer.system.exchange.store
    assert torch.equal(store.read("id", "item"), model.item_table().detach())  # what the LLM reads is the best, too
    kept, _ = load_id_model(trainer.run.best_id)
    assert torch.equal(kept.item_embedding.weight, seen[2])


@pytest.mark.parametrize(
    ("overrides", "epochs"),
    [
        (["train.llm.fixed_epochs=3"], 3),
        (["train.schedule.unit=steps"], 3),
        (["arm=llm_only", "train.schedule.llm_only_length=2", "train.llm.fixed_epochs=6"], 6),
    ],
    ids=["as many", "no epochs", "the llm alone"],
)
def test_fixed_epochs_need_epochs_before_them(overrides, epochs):
    given = ["train.schedule.rounds=3", "train.schedule.llm_length=1"]
    with pytest.raises(
        UserError, match=rf"train.llm.fixed_epochs \d must be fewer than the LLM side's {epochs} epochs"
    ):
        load_config(None, [*given, "train.llm.fixed_epochs=2", *overrides])
    longer = ["arm=llm_only", "train.schedule.llm_only_length=2", "train.llm.fixed_epochs=5"]
    assert load_config(None, [*given, *longer]).train.llm.fixed_epochs == 5
