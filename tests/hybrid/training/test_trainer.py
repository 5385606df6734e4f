"""The run as a whole: sides take turns, the idle one does not move, a resumed run is the uninterrupted one."""

import itertools
import json

import pytest
import torch

from hybrid.data.prepare import prepare
from hybrid.data.split import split_training
from hybrid.errors import UserError
from hybrid.runs import train_run
from hybrid.system import build_system
from hybrid.training.best_weights import keep_id, take_best
from hybrid.training.run_directory import RunDirectory, read_json
from hybrid.training.trainer import Trainer
from hybrid.training.validation import Validator

DRAWING = [
    "bridges.substitution.enabled=true",
    "bridges.hard_negatives.enabled=true",
    "bridges.hard_negatives.first=2",
    "bridges.hard_negatives.last=5",
    "bridges.hard_negatives.positions=3",
    "bridges.distill.positions=3",
]
"""Bridges whose losses have random draws of their own."""
LATE = [
    "bridges.sequence_smoothing.enabled=true",
    "bridges.attended_history.enabled=true",
    "bridges.distill.weight_by=blend",
]
"""What depends on what a side wrote, or was, when its last phase ended."""


def make_trainer(config, path, resume=False):
    data = split_training(prepare(config.data), config.data)
    trainer = Trainer(build_system(config, data))
    run = RunDirectory(path)
    if not resume:
        run.create(config, data.fingerprint)
    trainer.start(run, resume)
    return trainer


def weights(trainer, side):
    """Every tensor of a side: trainable, frozen and buffers, bridges included."""
    learner = trainer.learners[side]
    return {
        f"{number}.{name}": tensor.clone()
        for number, module in enumerate(learner.modules)
        for name, tensor in module.state_dict().items()
    }


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


class KilledError(Exception):
    """Stands for a process that is gone."""


def die_after(trainer, side, steps):
    """Let the run end without a word after so many steps of a side."""
    learner = trainer.learners[side]
    step = learner.step

    def step_or_die(batch):
        if learner.steps == steps:
            raise KilledError
        return step(batch)

    learner.step = step_or_die


@pytest.mark.parametrize("side", ["id", "llm"])
def test_the_idle_side_does_not_move_by_one_bit(tiny, tmp_path, side):
    config = tiny("train.id.weight_decay=0.1", "train.llm.weight_decay=0.1", f"train.schedule.first={side}")
    trainer = make_trainer(config, tmp_path / "run")
    trainer._prepare()
    idle = "llm" if side == "id" else "id"
    trainer._phase(trainer.schedule.current)  # its own phase first, so that its optimiser has momentum
    assert trainer.schedule.current.side == idle
    before, learner = weights(trainer, side), trainer.learners[idle]
    learner.wake()
    trainer._learn(learner, trainer.schedule.current)
    assert same(before, weights(trainer, side))
    assert all(parameter.grad is None for parameter in trainer.learners[side].parameters)


def test_the_side_whose_turn_it_is_moves(tiny, tmp_path):
    trainer = make_trainer(tiny(), tmp_path / "run")
    before = {side: weights(trainer, side) for side in ("id", "llm")}
    trainer.train()
    for side, old in before.items():
        new = weights(trainer, side)
        changed = {name for name in old if not torch.equal(old[name], new[name])}
        learned = [name for name in old if "num_batches" not in name]
        assert changed, side
        assert any("lora_B" in name for name in changed) == (side == "llm")
        assert len(learned) >= len(changed)


def test_frozen_weights_of_the_language_model_never_move(tiny, tmp_path):
    trainer = make_trainer(tiny(), tmp_path / "run")
    base = {n: p.clone() for n, p in trainer.system.recommender.lm.named_parameters() if "lora_" not in n}
    trainer.train()
    after = dict(trainer.system.recommender.lm.named_parameters())
    assert all(torch.equal(value, after[name]) for name, value in base.items())


def test_what_a_side_wrote_is_the_trained_model_and_no_untrained_one(tiny, tmp_path):
    trainer = make_trainer(tiny(), tmp_path / "run")
    trainer._prepare()
    store = trainer.system.exchange.store
    assert store.tables() == [("llm", "text")]
    trainer._phase(trainer.schedule.current)
    assert torch.equal(store.read("id", "item"), trainer.system.id_model.item_table().detach())


def test_no_parameter_belongs_to_both_sides(tiny, tmp_path):
    trainer = make_trainer(tiny(), tmp_path / "run")
    owned = {side: {id(p) for p in learner.parameters} for side, learner in trainer.learners.items()}
    assert owned["id"].isdisjoint(owned["llm"])
    for learner in trainer.learners.values():
        assert len({id(p) for p in learner.parameters}) == len(learner.parameters)


@pytest.mark.parametrize(("side", "steps"), [("id", 3), ("id", 5), ("llm", 2), ("llm", 4)])
@pytest.mark.parametrize(
    ("unit", "average", "source"), [("epochs", 0.0, "ranking"), ("epochs", 0.9, "text"), ("steps", 0.9, "ranking")]
)
def test_a_resumed_run_equals_the_uninterrupted_one_bit_for_bit(tiny, tmp_path, side, steps, unit, average, source):
    lengths = {"epochs": (2, 1), "steps": (7, 4)}[unit]
    config = tiny(
        "train.checkpoint_steps=1",
        f"train.schedule.unit={unit}",
        f"train.schedule.id_length={lengths[0]}",
        f"train.schedule.llm_length={lengths[1]}",
        "train.id.decay=cosine",
        "train.llm.warmup_steps=3",
        f"train.id.average={average}",
        f"train.llm.average={average}",
        f"bridges.substitution.source={source}",
        "llm.prompt.targets_per_prompt=3",
        *DRAWING,
        *LATE,
    )
    whole = make_trainer(config, tmp_path / "whole")
    expected = whole.train()
    broken = make_trainer(config, tmp_path / "broken")
    die_after(broken, side, steps)
    with pytest.raises(KilledError):
        broken.train()
    torch.manual_seed(12345)  # a new process starts with other random numbers
    resumed = make_trainer(config, tmp_path / "broken", resume=True)
    assert resumed.train() == expected
    for one in ("id", "llm"):
        assert same(weights(whole, one), weights(resumed, one))
    assert lines(tmp_path / "whole") == lines(tmp_path / "broken")


def lines(path):
    """Records of metrics.jsonl without what depends on time."""
    records = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in record.items() if key != "seconds"} for record in records]


def test_every_subset_of_bridges_trains(tiny, tmp_path):
    names = ["store", "mformer", "knowledge", "distill"]
    for chosen in itertools.product(["true", "false"], repeat=4):
        switches = [f"bridges.{name}.enabled={on}" for name, on in zip(names, chosen, strict=True)]
        short = ["train.schedule.rounds=2", "train.schedule.unit=steps", "train.schedule.id_length=1"]
        trainer = make_trainer(tiny(*short, *switches), tmp_path / "-".join(chosen))
        trainer.train()
        assert trainer.learners["id"].steps == 2
        assert trainer.learners["llm"].steps == 2
        assert set(trainer.system.exchange.bridges) == {n for n, on in zip(names, chosen, strict=True) if on == "true"}


@pytest.mark.parametrize(
    ("arm", "bridges", "sides"),
    [
        ("id_only", set(), {"id"}),
        ("llm_only", set(), {"llm"}),
        ("id2llm", {"store", "mformer", "distill"}, {"id", "llm"}),
        ("llm2id", {"knowledge", "distill"}, {"id", "llm"}),
        ("both", {"store", "mformer", "knowledge", "distill"}, {"id", "llm"}),
    ],
)
def test_an_arm_has_its_sides_and_bridges_only(tiny, tmp_path, arm, bridges, sides):
    trainer = make_trainer(tiny(f"arm={arm}", "train.schedule.rounds=1"), tmp_path / "run")
    assert set(trainer.system.exchange.bridges) == bridges
    assert set(trainer.learners) == sides
    assert {f"best_valid/{side}" for side in sides} == set(trainer.train())


@pytest.mark.parametrize(("arm", "learner"), [("id2llm", "id"), ("llm2id", "llm")])
def test_a_closed_direction_changes_nothing(tiny, tmp_path, arm, learner):
    """In a one-way arm the giving side trains exactly as it does alone."""
    alone = "id_only" if learner == "id" else "llm_only"
    runs = {}
    for name in (arm, alone):
        config = tiny(f"arm={name}", f"train.schedule.first={learner}", "train.schedule.rounds=1")
        runs[name] = make_trainer(config, tmp_path / name)
        runs[name].train()
    model = {name: trainer.learners[learner].modules[0].state_dict() for name, trainer in runs.items()}
    # item vectors are re-encoded after a phase in both; all weights must agree
    assert same(model[arm], model[alone])


def test_the_id_model_learns_the_cycle_and_is_kept_at_its_best(tiny, tmp_path):
    config = tiny(
        "arm=id_only", "train.schedule.id_length=60", "train.schedule.rounds=1", "train.id.learning_rate=0.01"
    )
    trainer = make_trainer(config, tmp_path / "run")
    results = trainer.train()
    assert results["best_valid/id"] > 0.9
    assert json.loads((tmp_path / "run" / "best" / "id.json").read_text())["ndcg@10"] == results["best_valid/id"]


def test_patience_ends_a_sides_turns(tiny, tmp_path):
    config = tiny("arm=id_only", "train.schedule.id_length=50", "train.id.patience=2", "train.id.learning_rate=1e-9")
    trainer = make_trainer(config, tmp_path / "run")
    trainer.train()
    assert trainer.learners["id"].epoch < 50


def test_a_side_out_of_patience_has_its_next_phase_and_stops_after_the_second_in_vain(tiny, tmp_path):
    still = ("train.id.learning_rate=1e-12", "train.id.patience=1", "train.schedule.id_length=5")
    trainer = make_trainer(tiny("arm=id_only", "train.schedule.rounds=4", *still), tmp_path / "run")
    trainer.train()
    assert trainer.learners["id"].epoch == 3  # its first and one in vain; in round 2 another in vain; no round 3


def test_a_diverged_loss_stops_and_keeps_the_last_checkpoint(tiny, tmp_path):
    config = tiny("train.checkpoint_steps=1", "arm=id_only")
    trainer = make_trainer(config, tmp_path / "run")
    learner = trainer.learners["id"]
    losses = learner.losses

    def diverge(batch):
        found = losses(batch)
        return {name: loss * float("nan") for name, loss in found.items()} if learner.steps == 2 else found

    learner.losses = diverge
    with pytest.raises(UserError, match="the id side's loss is nan at its step 2"):
        trainer.train()
    assert trainer.checkpoints.latest().name == "step_00000002"


def test_the_exchange_is_logged_once_a_step(tiny, tmp_path):
    trainer = make_trainer(tiny("train.log_steps=1"), tmp_path / "run")
    points = []
    scalars = trainer.monitor.scalars

    def record(prefix, values, step):
        points.extend((f"{prefix}/{name}", step) for name in values)
        scalars(prefix, values, step)

    trainer.monitor.scalars = record
    trainer.train()
    steps = [step for tag, step in points if tag == "exchange/staleness/llm_text"]
    assert steps == list(range(1, trainer.step + 1))
    assert len(points) == len(set(points))


def test_only_the_newest_two_checkpoints_stay(tiny, tmp_path):
    trainer = make_trainer(tiny("train.checkpoint_steps=1", "arm=id_only"), tmp_path / "run")
    trainer.train()
    assert len(list((tmp_path / "run" / "checkpoints").iterdir())) == 2


def test_train_run_refuses_another_config_or_dataset(tiny, tmp_path):
    config = tiny("arm=id_only", "train.schedule.rounds=1")
    run = train_run(config)
    with pytest.raises(UserError, match="--resume"):
        train_run(config)
    with pytest.raises(UserError, match=r"train.schedule.rounds \(1 -> 3\)"):
        train_run(tiny("arm=id_only", "train.schedule.rounds=3"), resume=True)
    environment = json.loads(run.environment.read_text())
    run.environment.write_text(json.dumps(environment | {"dataset_fingerprint": "other"}))
    with pytest.raises(UserError, match="was started on dataset other"):
        train_run(config, resume=True)


KINDS = ["bsarec", "gru4rec", "bert4rec", "lightgcn", "srgnn", "recbole:NARM"]


@pytest.mark.parametrize("model", KINDS)
def test_bridges_of_the_texts_work_with_every_kind_of_id_model(tiny, model):
    """What `preset=joint` switches on, but for the language model's half."""
    on = [f"bridges.{name}.enabled=true" for name in ("neighbours", "smoothing", "collaborative")]
    settings = ["bridges.mformer.enabled=false", "llm.prompt.items=vectors", "id.recbole={embedding_size: 8}"]
    run = train_run(tiny(f"id.model={model}", "train.id.phase_end=best", *on, *settings))
    assert read_json(run.finished)["best_valid/id"] > 0


def test_going_back_to_the_best_weights_keeps_the_neighbours_of_the_newest_texts(tiny, tmp_path):
    trainer = make_trainer(tiny("bridges.neighbours.enabled=true", "train.id.phase_end=best"), tmp_path / "run")
    trainer._prepare()
    system, learner = trainer.system, trainer.learners["id"]
    keep_id(learner, trainer.run)
    texts = torch.randn_like(system.exchange.store.read("llm", "text"))
    system.exchange.store.write("llm", "text", texts, step=1, fingerprint=system.exchange.fingerprint)
    system.exchange.refresh()
    newest = system.exchange.bridges["neighbours"].near.ids.clone()
    take_best(system, learner, trainer.run)
    assert torch.equal(system.exchange.bridges["neighbours"].near.ids, newest)


def test_substitutions_change_what_the_id_side_reads_while_it_learns_and_nothing_else(tiny, tmp_path):
    on = ["bridges.substitution.enabled=true", "bridges.substitution.share=1.0"]
    trainer = make_trainer(tiny(*on), tmp_path / "run")
    trainer._prepare()
    learner, read = trainer.learners["id"], []
    encode = learner.model.encode
    learner.model.encode = lambda items, table=None: read.append(items) or encode(items, table)
    batch = next(iter(learner.batches(0, 0)))
    learner.losses(batch)
    assert ((read[0] != batch.items) == (batch.items > 0)).all()
    read.clear()
    learner.write_store(step=1)
    shown = torch.cat([items[items > 0] for items in read])
    assert torch.equal(shown.sort().values, torch.from_numpy(learner.data.items).long().sort().values)


def test_substitutions_end_where_the_id_side_is_not_taught_any_more_or_the_bridge_rests(tiny, tmp_path):
    trainer = make_trainer(tiny("bridges.substitution.enabled=true"), tmp_path / "run")
    trainer._prepare()
    exchange, batch = trainer.system.exchange, next(iter(trainer.learners["id"].batches(0, 0)))
    items, targets, rows = (part.repeat(9, 1) for part in (batch.items, batch.targets, batch.rows))
    assert not torch.equal(exchange.histories(items, targets, rows), items)
    exchange.resting.add("substitution")
    assert torch.equal(exchange.histories(items, targets, rows), items)
    exchange.resting.clear()
    trainer.safeguard.close()
    assert torch.equal(exchange.histories(items, targets, rows), items)


def test_substitutions_by_the_llms_ranking_begin_after_its_first_phase_at_the_positions_it_wrote(tiny, tmp_path):
    on = ["bridges.substitution.enabled=true", "bridges.substitution.share=1.0", "bridges.substitution.source=ranking"]
    off = [f"bridges.{name}.enabled=false" for name in ("distill", "knowledge", "mformer", "store")]
    config = tiny("llm.prompt.targets_per_prompt=4", "train.safeguard_patience=0", *on, *off)
    trainer, seen = make_trainer(config, tmp_path / "run"), []
    exchange, store = trainer.system.exchange, trainer.system.exchange.store
    histories = exchange.histories

    def recorded(items, targets, rows):
        found = histories(items, targets, rows)
        before = torch.cat([torch.full_like(rows[:, :1], -1), rows[:, :-1]], dim=1)
        seen.append((found != items, store.written("llm", "user", before) & (items > 0), trainer.learners["llm"].steps))
        return found

    exchange.histories = recorded
    trainer.train()
    assert store.tables() == [("llm", "item"), ("llm", "user")]
    first, later = ([step for step in seen if bool(step[2]) == learned] for learned in (False, True))
    assert first
    assert not any(changed.any() for changed, _, _ in first)
    assert later
    for changed, known, _ in later:
        assert torch.equal(changed, known)
    assert any(known.any() for _, known, _ in later)


def test_the_llm_distils_from_its_round_on_in_a_resumed_run_too(tiny, tmp_path):
    settings = ["train.schedule.rounds=2", "train.schedule.id_length=1", "train.schedule.llm_length=1"]
    config = tiny(*settings, "bridges.distill.llm_from_round=2", "train.checkpoint_steps=1")
    trainer = make_trainer(config, tmp_path / "run")
    epoch = trainer.learners["llm"].batches_per_epoch()
    distils = terms_of(trainer, "llm")
    die_after(trainer, "llm", epoch + 1)
    with pytest.raises(KilledError):
        trainer.train()
    resumed = make_trainer(config, tmp_path / "run", resume=True)
    later = terms_of(resumed, "llm")
    resumed.train()
    assert epoch > 1
    assert ["distill" in terms for terms in distils] == [False] * epoch + [True]
    assert ["distill" in terms for terms in later] == [True] * (epoch - 1)


@pytest.fixture
def shares_asked(monkeypatch):
    """Grows by a step whenever the best blend is looked for; it is the ID side alone."""
    asked = []
    monkeypatch.setattr(Validator, "best_share", lambda self: asked.append(1) or 1.0)
    return asked


@pytest.mark.parametrize(("id_length", "llm_length", "looked"), [(7, 4, 4), (7, 5, 4), (3, 2, 4)])
def test_the_blend_is_looked_for_before_every_phase_of_steps_too(
    tiny, tmp_path, shares_asked, id_length, llm_length, looked
):
    lengths = [f"train.schedule.id_length={id_length}", f"train.schedule.llm_length={llm_length}"]
    settings = ["train.schedule.unit=steps", "train.schedule.rounds=3", "bridges.distill.weight_by=blend", *lengths]
    make_trainer(tiny("train.id.patience=0", "train.llm.patience=0", *settings), tmp_path / "run").train()
    assert len(shares_asked) == looked


def test_who_adds_nothing_to_the_blend_does_not_teach_in_a_resumed_run_either(tiny, tmp_path, shares_asked):
    settings = ["train.schedule.rounds=2", "train.schedule.id_length=1", "train.schedule.llm_length=1"]
    config = tiny(*settings, "bridges.distill.weight_by=blend", "train.checkpoint_steps=1")
    trainer = make_trainer(config, tmp_path / "run")
    epoch = trainer.learners["id"].batches_per_epoch()
    taught, taught_llm = terms_of(trainer, "id"), terms_of(trainer, "llm")
    die_after(trainer, "id", epoch + 2)
    with pytest.raises(KilledError):
        trainer.train()
    assert len(shares_asked) == 1  # before round 2: in round 1 one side has not learned yet
    assert ["distill" in terms for terms in taught_llm] == [True] * len(taught_llm)
    resumed = make_trainer(config, tmp_path / "run", resume=True)
    later, later_llm = terms_of(resumed, "id"), terms_of(resumed, "llm")
    resumed.train()
    assert len(taught) + len(later) == 2 * epoch
    assert not any("distill" in terms for terms in taught + later)
    assert all("distill" in terms for terms in later_llm)
    assert len(shares_asked) == 2  # once before each phase of round 2, not again in its middle


def test_the_share_of_a_side_that_knows_the_targets_is_one(tiny, tmp_path):
    trainer = make_trainer(tiny(), tmp_path / "run")
    targets = trainer.system.data.valid
    matrix = torch.eye(trainer.system.data.n_items)

    class Known:
        def __init__(self, sign):
            self.sign = sign

        def user_states(self, targets):
            return self.sign * matrix[torch.from_numpy(targets.items)]

        def item_matrix(self):
            return matrix

    validator = Validator(trainer.system, {"id": Known(1.0), "llm": Known(-1.0)}, trainer.monitor)
    assert validator.best_share() > 0.5
    validator = Validator(trainer.system, {"id": Known(-1.0), "llm": Known(1.0)}, trainer.monitor)
    assert validator.best_share() < 0.5
    assert len(targets.items) > 0


@pytest.mark.parametrize("setting", ["bridges.distill.weight_by=setting", "bridges.distill.teacher=self"])
def test_no_blend_is_looked_for_where_nobody_asks_or_nobody_teaches(tiny, tmp_path, shares_asked, setting):
    make_trainer(tiny("bridges.distill.weight_by=blend", setting), tmp_path / "run").train()
    assert not shares_asked


def terms_of(trainer, side):
    """Grows by the names of the losses of each step of a side from here on."""
    learner, found = trainer.learners[side], []
    losses = learner.losses

    def recorded(batch):
        terms = losses(batch)
        found.append(set(terms))
        return terms

    learner.losses = recorded
    return found
