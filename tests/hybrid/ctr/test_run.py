"""Task ctr as a whole: both sides learn a planted taste, the idle one does not move, a resumed run is the same run."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from hybrid.cli import main
from hybrid.comparison.compare import compare
from hybrid.comparison.plan import make_plan
from hybrid.data.prepare import prepare
from hybrid.errors import UserError
from hybrid.evaluation.click_metrics import click_metrics
from hybrid.evaluation.evaluate import evaluate_run
from hybrid.llm.backbone import Backbone
from hybrid.runs import create_trainer, train_run
from hybrid.training.run_directory import RunDirectory, read_json


def make_trainer(config, path, resume=False):
    dataset = prepare(config.data)
    trainer, run = create_trainer(config, dataset), RunDirectory(path)
    if not resume:
        run.create(config, dataset.fingerprint)
    trainer.start(run, resume)
    return trainer


def weights(trainer, side):
    """Every tensor of a side, bridges included."""
    return {
        f"{number}.{name}": tensor.clone()
        for number, module in enumerate(trainer.learners[side].modules)
        for name, tensor in module.state_dict().items()
    }


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


class KilledError(Exception):
    """Stands for a process that is gone."""


def test_the_click_model_learns_who_likes_what(tiny):
    run = train_run(tiny("arm=id_only", "train.schedule.id_length=30"))
    found = evaluate_run(run.path, "test")
    assert found["sides"]["id"]["metrics"]["auc"] > 0.9
    assert found["samples"] == found["of_samples"] == 35
    assert found["labels"] == "ratings above 3"
    low, high = found["sides"]["id"]["intervals"]["auc"]
    assert low <= found["sides"]["id"]["metrics"]["auc"] <= high
    assert (run.path / "best" / "id" / "id.safetensors").is_file()


@pytest.mark.parametrize("rule", ["quality", "moods"])
def test_the_language_model_learns_from_what_is_offered_and_from_what_was_liked(tiny, rule):
    lengths = ["train.schedule.llm_length=8", "train.llm.samples=0", "train.schedule.rounds=1"]
    run = train_run(tiny("arm=llm_only", "train.llm.learning_rate=0.02", *lengths, rule=rule))
    assert evaluate_run(run.path, "test")["sides"]["llm"]["metrics"]["auc"] > 0.95


def test_prompts_longer_than_the_context_are_refused_before_anything_is_written(tiny):
    config = tiny("arm=llm_only", f"llm.click_prompt.opening={'x' * 2048}")
    with pytest.raises(UserError, match=r"tokens, but llm.name reads 2048; lower llm.click_prompt.behaviours"):
        train_run(config)
    assert not (Path(config.output_dir) / config.name).exists()


def test_prompts_of_both_parts_are_checked_where_the_language_model_judges(tiny, monkeypatch):
    few = ["arm=llm2id", "train.llm.samples=4"]
    trainer = create_trainer(tiny(*few), prepare(tiny(*few).data))
    learner = trainer.learners["llm"]
    train, valid = (
        int(learner.scorer.prompts.builder.lengths(selected).max())
        for selected in (learner.selected, learner.scorer.selected(trainer.system.data.valid))
    )
    assert train < valid
    for context, longest in {train: valid, train - 1: train}.items():
        monkeypatch.setattr(Backbone, "context", context)
        with pytest.raises(UserError, match=f"a prompt of task ctr has {longest} tokens, but llm.name reads {context}"):
            create_trainer(tiny(*few), prepare(tiny(*few).data))
    unread = tiny(*few, "train.schedule.llm_length=0", "evaluation.untrained=false")
    create_trainer(unread, prepare(unread.data))


def test_zero_shot_measures_the_language_model_as_it_came(tiny):
    run = train_run(tiny("arm=llm_only", "train.schedule.llm_length=0"))
    found = evaluate_run(run.path, "test")["sides"]["llm"]["metrics"]
    trainer = make_trainer(tiny("arm=llm_only", "name=other"), run.path.parent / "fresh")
    assert trainer.learners["llm"].steps == 0
    from hybrid.evaluation.test_part import open_click_test

    config = tiny("arm=llm_only")
    samples = open_click_test(prepare(config.data), config.data)
    logits = trainer.system.llm_scorer().logits(samples)
    assert found == pytest.approx(click_metrics(logits, samples.labels, samples.users))


def test_a_frozen_language_model_without_adapter_is_judged_as_it_came(tiny):
    runs = [
        train_run(tiny("arm=llm_only", "train.schedule.llm_length=0", f"llm.tune={tune}", f"name={tune}"))
        for tune in ("none", "lora")
    ]
    found = [evaluate_run(run.path, "test")["sides"]["llm"]["metrics"] for run in runs]
    assert found[0] == pytest.approx(found[1])


def test_products_of_the_click_model_are_made_in_the_asked_precision(tiny, tmp_path):
    losses = {}
    for precision in ("float32", "bfloat16"):
        trainer = make_trainer(tiny("arm=id_only", f"train.id.precision={precision}"), tmp_path / precision)
        learner, seen = trainer.learners["id"], []
        trainer.system.id_model.predict[0].register_forward_hook(lambda _, __, out, seen=seen: seen.append(out.dtype))
        learner.wake()
        losses[precision] = learner.step(next(learner.stream())[0])["bce"]
        assert seen == [getattr(torch, precision)]
        assert all(weight.dtype == torch.float32 for weight in learner.parameters)
    assert losses["float32"] == pytest.approx(losses["bfloat16"], abs=0.01)


def test_a_hard_search_finds_what_shares_the_targets_category(tiny, tmp_path):
    settings = ["arm=id_only", "id.model=sim", "click.search=hard", "data.category_field=shelf", "click.recent_items=1"]
    trainer = make_trainer(tiny(*settings), tmp_path / "run")
    model, text = trainer.system.id_model, trainer.system.data.item_text
    batch = next(trainer.learners["id"].stream())[0]
    positions, real = model.find(model.item_table(), batch)
    assert real.any()
    for row, (places, there) in enumerate(zip(positions, real, strict=True)):
        wanted = text[batch.targets[row]][0]
        history = [text[item][0] for item in batch.histories[row, : batch.lengths[row]]]
        assert places[there].tolist() == [place for place, shelf in enumerate(history) if shelf == wanted]


@pytest.mark.parametrize("side", ["id", "llm"])
def test_the_idle_side_does_not_move_by_one_bit(tiny, tmp_path, side):
    trainer = make_trainer(tiny(f"train.schedule.first={side}", "train.id.weight_decay=0.1"), tmp_path / "run")
    trainer._prepare()
    idle = "llm" if side == "id" else "id"
    trainer._phase(trainer.schedule.current)
    before, learner = weights(trainer, side), trainer.learners[idle]
    learner.wake()
    trainer._learn(learner, trainer.schedule.current)
    assert same(before, weights(trainer, side))
    assert all(parameter.grad is None for parameter in trainer.learners[side].parameters)


@pytest.mark.parametrize(("side", "steps"), [("id", 5), ("llm", 3)])
def test_a_resumed_run_equals_the_uninterrupted_one_bit_for_bit(tiny, tmp_path, side, steps):
    config = tiny("train.checkpoint_steps=1", "train.id.decay=cosine")
    whole = make_trainer(config, tmp_path / "whole")
    expected = whole.train()
    broken = make_trainer(config, tmp_path / "broken")
    learner = broken.learners[side]
    step = learner.step

    def step_or_die(batch):
        if learner.steps == steps:
            raise KilledError
        return step(batch)

    learner.step = step_or_die
    with pytest.raises(KilledError):
        broken.train()
    torch.manual_seed(12345)
    resumed = make_trainer(config, tmp_path / "broken", resume=True)
    assert resumed.train() == expected
    for one in ("id", "llm"):
        assert same(weights(whole, one), weights(resumed, one))
    lines = [(tmp_path / name / "metrics.jsonl").read_text().splitlines() for name in ("whole", "broken")]
    plain = [[{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in one] for one in lines]
    assert plain[0] == plain[1]


def test_curves_of_both_sides_are_in_tensorboard(tiny):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = train_run(tiny())
    events = EventAccumulator(str(run.path)).Reload()
    tags = set(events.Tags()["scalars"])
    for side in ("id", "llm"):
        assert {f"train/{side}/bce", f"valid/{side}/auc", f"valid/{side}/ece", f"valid/{side}/uauc"} <= tags
    assert "exchange/agreement" in tags
    assert any(tag.startswith("clicks/user_") for tag in events.Tags()["tensors"])


def test_a_side_that_says_the_same_of_all_samples_agrees_with_nobody(tiny, tmp_path, monkeypatch):
    validator = make_trainer(tiny(), tmp_path / "run").validator
    logged = []
    monkeypatch.setattr(validator.monitor, "scalars", lambda group, values, step: logged.append(values))
    falling = -validator.scorers["id"].logits(validator.samples)
    validator._log_agreement(np.zeros_like(falling), 1)
    validator._log_agreement(falling, 2)
    assert logged == [{"agreement": pytest.approx(-1.0)}]


def test_few2many_the_click_model_has_all_samples_and_the_language_model_a_drawn_few(tiny, tmp_path):
    few = make_trainer(tiny("train.llm.samples=16"), tmp_path / "few")
    more = make_trainer(tiny("train.llm.samples=40"), tmp_path / "more")
    n_train = len(few.system.data.train)
    assert len(few.learners["id"].data.rows) == n_train > 40
    ends = [set(one.learners["llm"].selected.samples.ends) for one in (few, more)]
    assert [len(one.learners["llm"].selected) for one in (few, more)] == [16, 40]
    assert ends[0] <= ends[1]
    other = make_trainer(tiny("train.llm.samples=16", "seed=2"), tmp_path / "seed")
    assert set(other.learners["llm"].selected.samples.ends) != ends[0]


def test_knowledge_of_the_language_model_reaches_the_click_model(tiny, tmp_path):
    trainer = make_trainer(tiny("arm=llm2id"), tmp_path / "run")
    assert set(trainer.system.exchange.bridges) == {"knowledge"}
    trainer._prepare()
    model = trainer.system.id_model
    assert not torch.equal(model.item_table(), model.own_table())


def test_both_arms_are_compared_in_one_table(tiny):
    config = tiny("train.schedule.rounds=1", "train.schedule.id_length=1")
    found, runs = compare(config, make_plan(config, ["id_only", "llm_only", "both"], [1]))
    assert len(runs) == 3
    table = found.text()
    head = table.splitlines()[0].split()
    assert head[:5] == ["AUC", "UAUC", "LOGLOSS", "ACC", "ECE"]
    rows = table.partition("\n\n")[0].splitlines()
    assert sum("training" in line or "alone" in line for line in rows) == 4
    assert [note.partition(",")[0] for note in found.notes] == ["ID alone", "LLM alone"]  # after one epoch


def test_both_sides_are_judged_on_the_same_drawn_samples(tiny, tmp_path):
    first, second = (make_trainer(tiny("evaluation.ctr_samples=20", f"seed={n}"), tmp_path / str(n)) for n in (1, 2))
    assert len(first.validator.samples) == 20
    assert np.array_equal(first.validator.samples.ends, second.validator.samples.ends)
    assert np.array_equal(first.validator.samples.users, second.validator.samples.users)


def test_a_draw_with_one_class_is_an_error(tiny, tmp_path):
    with pytest.raises(UserError, match=r"evaluation.ctr_samples=1: all 1 drawn samples were .* ask for more"):
        make_trainer(tiny("evaluation.ctr_samples=1"), tmp_path / "run")


def test_training_samples_of_one_class_are_an_error_and_too_many_are_all(tiny, tmp_path, caplog):
    with pytest.raises(UserError, match=r"train.llm.samples=1: all 1 drawn samples were .* ask for more"):
        make_trainer(tiny("train.llm.samples=1"), tmp_path / "few")
    with caplog.at_level("INFO", "hybrid"):
        make_trainer(tiny("train.id.samples=70000"), tmp_path / "many")
    assert "train.id.samples=70000: there are " in caplog.text


def test_a_mean_over_no_user_picks_nothing(tiny, tmp_path):
    with pytest.raises(UserError, match=r"ctr_metric=uauc: no user .* has both clicked and not clicked"):
        make_trainer(tiny("evaluation.ctr_metric=uauc", rule="moods"), tmp_path / "run")


@pytest.mark.parametrize("model", ["sim", "deepfm", "dcnv2", "sasrec", "recbole:DeepFM", "recbole:STAMP"])
def test_every_kind_of_click_model_runs(tiny, model):
    shape = ["id.width=8", "id.inner_width=8", "id.max_length=6", "click.recent_items=3", "train.schedule.rounds=1"]
    run = train_run(tiny("arm=id_only", f"id.model={model}", *shape))
    metrics = evaluate_run(run.path, "valid")["sides"]["id"]["metrics"]
    assert 0 <= metrics["auc"] <= 1
    best = read_json(run.path / "best" / "id.json")
    assert best["auc"] == pytest.approx(metrics["auc"])  # what is evaluated is what validation kept


def test_data_without_ratings_get_drawn_negatives_and_say_so(tiny, tmp_path, capsys):
    folder = tmp_path / "plain"
    folder.mkdir()
    random = np.random.default_rng(1)
    lines = [f"u{user}\ti{item}\t{step}" for user in range(9) for step, item in enumerate(random.permutation(15)[:9])]
    head = "user_id:token\titem_id:token\ttimestamp:float"
    (folder / "plain.inter").write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")
    (folder / "plain.item").write_text("\n".join(["item_id:token\ttitle:token", *(f"i{n}\tT{n}" for n in range(15))]))
    arguments = [str(tiny.path), f"data.dataset={folder}", f"data.cache_dir={tmp_path}", f"output_dir={tmp_path}"]
    assert main(["train", *arguments]) == 2
    assert "plain has no ratings to make labels from" in capsys.readouterr().err.splitlines()[-1]
    assert main(["train", *arguments, "data.negatives=2", "train.schedule.rounds=1"]) == 0
    assert "beside 2 drawn items that the user never had" in capsys.readouterr().err
    assert main(["evaluate", str(tmp_path / "run")]) == 0
    printed = capsys.readouterr().out
    assert "33.3% clicked (2 drawn items beside each click)" in printed
    assert "ms/sample" in printed
    found = read_json(tmp_path / "run" / "test.json")["sides"]
    for side in ("id", "llm"):
        (low, high), auc = found[side]["intervals"]["auc"], found[side]["metrics"]["auc"]
        assert f"{side}: auc {auc:.4f} [{low:.4f}, {high:.4f}], uauc " in printed


def test_exporting_says_where_the_models_are(tiny, capsys):
    run = train_run(tiny("arm=id_only", "train.schedule.rounds=1"))
    assert main(["export", str(run.path)]) == 2
    said = capsys.readouterr().err
    assert "best/id/id.safetensors" in said
    assert "adapter" not in said


def test_an_unknown_click_model_names_the_nearest(tiny, tmp_path, capsys):
    places = [f"{key}={value}" for key, value in (("output_dir", tmp_path), ("data.cache_dir", tmp_path))]
    dataset = f"data.dataset={tiny().data.dataset}"
    assert main(["train", str(tiny.path), dataset, *places, "id.model=dinn"]) == 2
    assert "unknown click model 'dinn'; did you mean 'din'?" in capsys.readouterr().err
