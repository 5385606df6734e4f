"""An exchange that begins late: both sides are first what they are alone, and all crosses afterwards."""

import pytest
import torch

from hybrid.config.load import load_config
from hybrid.data.prepare import prepare
from hybrid.data.split import split_training
from hybrid.errors import UserError
from hybrid.system import build_system
from hybrid.training.run_directory import RunDirectory, read_json
from hybrid.training.trainer import Trainer

LATE = (
    "bridges.mformer.enabled=false",
    "bridges.collaborative.enabled=true",
    "bridges.neighbours.enabled=true",
    "bridges.smoothing.enabled=true",
    "bridges.readback.enabled=true",
    "bridges.attended_history.enabled=true",
    "bridges.hard_negatives.enabled=true",
    "bridges.hard_negatives.first=2",
    "bridges.hard_negatives.last=5",
    "train.schedule.rounds=2",
    "train.schedule.exchange_from_round=2",
    "train.safeguard=false",
)


class KilledError(Exception):
    """Stands for a process that is gone."""


def started(config, path, resume=False):
    data = split_training(prepare(config.data), config.data)
    trainer, run = Trainer(build_system(config, data)), RunDirectory(path)
    if not resume:
        run.create(config, data.fingerprint)
    trainer.start(run, resume)
    return trainer


def first_round(trainer):
    """Train until the turns of round 1 are over."""
    trainer._prepare()
    while trainer.schedule.current.round == 1:
        trainer._phase(trainer.schedule.current)


def numbers(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("side", ["id", "llm"])
def test_before_the_exchange_begins_a_side_trains_as_it_would_alone(tiny, tmp_path, side):
    # Neither dropout nor item slots: draws and prompts of a joint run are not those of a side alone.
    still = ("id.dropout=0", "id.attention_dropout=0", "llm.lora.dropout=0", "bridges.store.enabled=false")
    settings = (*LATE, *still, "bridges.readback.enabled=false", f"train.schedule.first={side}")
    joint = started(tiny(*settings), tmp_path / "joint")
    first_round(joint)
    alone = started(tiny(*settings, f"arm={side}_only", "train.schedule.rounds=1"), tmp_path / "alone")
    alone.train()
    assert alone.system.exchange.open  # nothing to wait for
    assert joint.system.exchange.store.tables() == []
    assert same(numbers(joint.learners[side].modules[0]), numbers(alone.learners[side].modules[0]))


def test_then_both_sides_write_before_either_learns_on(tiny, tmp_path):
    trainer = started(tiny(*LATE, "bridges.readback.enabled=false"), tmp_path / "run")  # it mixes into the ID table
    first_round(trainer)
    store, exchange = trainer.system.exchange.store, trainer.system.exchange
    assert store.tables() == []
    assert exchange.item_features().sum() == 0
    assert exchange.scored_items().sum() == 0
    table = trainer.system.need_id().item_table().detach()
    trainer._open_exchange("id")
    written = {("id", "item"), ("id", "user"), ("llm", "item"), ("llm", "user"), ("llm", "text")}
    assert set(store.tables()) == written
    assert torch.equal(store.read("id", "item"), table)  # as it stood, without the features that come now
    assert exchange.item_features().abs().sum() > 0
    assert exchange.scored_items().abs().sum() > 0


@pytest.mark.parametrize(("first", "times"), [("id", [1, 1]), ("llm", [1, 0])])
def test_an_exchange_that_begins_with_the_llm_encodes_its_items_once(tiny, tmp_path, monkeypatch, first, times):
    trainer = started(tiny(*LATE, "train.llm.encode_items=epoch", f"train.schedule.first={first}"), tmp_path / "run")
    first_round(trainer)
    encoded = []
    monkeypatch.setattr(trainer.system, "encode_items", encoded.append)
    trainer._open_exchange(first)
    found = [len(encoded)]
    trainer._begin_epoch(trainer.learners["llm"])
    assert [*found, len(encoded) - found[0]] == times


def test_from_its_round_on_the_other_sides_losses_are_there(tiny, tmp_path):
    trainer = started(tiny(*LATE), tmp_path / "run")
    terms = {side: [] for side in trainer.learners}
    for side, learner in trainer.learners.items():
        losses = learner.losses

        def recorded(batch, side=side, losses=losses):
            found = losses(batch)
            terms[side].append((trainer.schedule.current.round, set(found)))
            return found

        learner.losses = recorded
    trainer.train()
    for side in ("id", "llm"):
        assert {number for number, _ in terms[side]} == {1, 2}
        for number, names in terms[side]:
            assert ({"distill", "hard_negatives"} <= names) == (number == 2)
            assert ("readback" in names) == (number == 2 and side == "llm")


@pytest.mark.parametrize("side", ["id", "llm"])
@pytest.mark.parametrize("past", [-2, 1])
def test_a_resumed_run_begins_to_exchange_where_the_uninterrupted_one_does(tiny, tmp_path, side, past):
    config = tiny(*LATE, "train.checkpoint_steps=1", f"train.schedule.first={side}")
    whole = started(config, tmp_path / "whole")
    expected = whole.train()
    broken = started(config, tmp_path / "broken")
    learner = broken.learners[side]
    step, last = learner.step, learner.batches_per_epoch() * config.train.schedule.lengths[side] + past

    def step_or_die(batch):
        if learner.steps == last:
            raise KilledError
        return step(batch)

    learner.step = step_or_die
    with pytest.raises(KilledError):
        broken.train()
    torch.manual_seed(12345)  # a new process starts with other random numbers
    resumed = started(config, tmp_path / "broken", resume=True)
    assert resumed.system.exchange.open == (past > 0)
    assert resumed.train() == expected
    for one in ("id", "llm"):
        assert same(numbers(whole.learners[one].modules[0]), numbers(resumed.learners[one].modules[0]))


class Declining:
    """Validates as told: either side is best at once, and ever worse from there on."""

    def __init__(self, trainer):
        self.value, self.trainer, self.whole = 1.0, trainer, trainer.validator.validate

    def __call__(self, side, *steps):
        self.value *= 0.9
        return self.whole(side, *steps) | {self.trainer.metric: self.value}


def watch_turns(trainer):
    """Turns (round, side, whether knowledge crosses in it), added as they begin."""
    turns, learn = [], trainer._learn

    def noted(learner, turn):
        turns.append((turn.round, turn.side, trainer.system.exchange.open))
        return learn(learner, turn)

    trainer._learn = noted
    return turns


@pytest.mark.parametrize("unit", ["epochs", "steps"])
def test_no_side_is_given_up_before_the_exchange_begins(tiny, tmp_path, unit):
    settings = ("train.schedule.rounds=4", "train.schedule.exchange_from_round=3", "train.id.patience=1")
    phases = ("train.llm.patience=1", "train.schedule.id_length=3", "train.schedule.llm_length=3")
    trainer = started(tiny(*LATE, *settings, *phases, f"train.schedule.unit={unit}"), tmp_path / "run")
    trainer.validator.validate = Declining(trainer)
    turns = watch_turns(trainer)
    trainer.train()
    expected = [(number, side, number >= 3) for number in (1, 2, 3) for side in ("id", "llm")]
    assert turns[: len(expected)] == expected


def test_the_best_of_a_side_is_of_what_has_learned_with_the_exchange(tiny, tmp_path):
    trainer = started(tiny(*LATE, "train.id.phase_end=best", "train.llm.phase_end=best"), tmp_path / "run")
    trainer.validator.validate = Declining(trainer)
    first_round(trainer)
    before = {side: learner.steps for side, learner in trainer.learners.items()}
    trainer.train()
    for side in ("id", "llm"):
        assert trainer.stopping[side].best_step > before[side]
        assert read_json(trainer.run.best_metrics(side))["step"] == trainer.stopping[side].best_step


def test_a_peer_waits_too(tiny, tmp_path):
    peer = ("arm=llm2id", "bridges.distill.teacher=peer", "train.schedule.llm_length=0", "evaluation.untrained=false")
    trainer = started(tiny(*LATE, *peer, "bridges.readback.enabled=false"), tmp_path / "peer")
    first_round(trainer)
    assert trainer.system.exchange.store.tables() == []
    trainer._open_exchange("id")
    assert trainer.system.exchange.store.has("llm", "item")


@pytest.mark.parametrize("begun", [False, True])
def test_a_head_starts_from_the_id_table_once_knowledge_crosses(tiny, tmp_path, begun):
    system = started(tiny(*LATE, "arm=id2llm", "llm.scorer.kind=id_head"), tmp_path / "run").system
    own = system.need_llm().scorer.items().detach().clone()
    system.exchange.open = begun
    system.start_head()
    expected = system.need_id().item_table() if begun else own
    assert torch.equal(system.need_llm().scorer.items(), expected)


def test_a_plain_model_is_not_put_in_the_place_of_a_side_that_nobody_has_helped_yet(tiny, tmp_path):
    settings = [*LATE, "train.safeguard=true", "train.schedule.rounds=3", "train.id.phase_end=best"]
    settings += ["train.schedule.exchange_from_round=3"]
    settings += ["llm.prompt.items=vectors", "llm.prompt.prefix_tokens=0", "bridges.readback.enabled=false"]
    trainer = started(tiny(*settings), tmp_path / "run")
    assert trainer.system.texts_fixed
    trainer._prepare()
    trainer._phase(trainer.schedule.current)
    assert trainer.system.exchange.resting == set()
    trainer._phase(trainer.schedule.current)
    trainer.safeguard.best = 0.0  # however far behind the plain model
    trainer.validator.validate = Declining(trainer)
    trainer.validator.validate.value = 0.0
    trainer._phase(trainer.schedule.current)
    assert trainer.safeguard.waited == 0
    trainer.safeguard.best = 1.0  # of the rounds before, which do not count
    trainer._open_exchange("llm")
    trainer._validate(trainer.learners["id"])
    assert trainer.safeguard.waited == 1


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["train.schedule.exchange_from_round=4"], "must be at most train.schedule.rounds 3"),
        (["bridges.mformer.enabled=true"], "bridges.mformer.enabled=false"),
        (["bridges.lora_gate.enabled=true"], "bridges.lora_gate.enabled=false"),
        (["task=ctr"], "no meaning with task=ctr"),
        (
            ["train.schedule.llm_length=2", "train.llm.fixed_epochs=4"],
            "fewer than the LLM side's 4 epochs from",
        ),
    ],
)
def test_a_start_that_cannot_be_is_refused(overrides, message):
    given = ["bridges.mformer.enabled=false", "train.schedule.exchange_from_round=2", *overrides]
    with pytest.raises(UserError, match=message):
        load_config(None, given)
    load_config(None, [*given, "arm=id_only"])
