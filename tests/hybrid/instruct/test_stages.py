"""The whole run: general adapter, specific adapter, mixture, evaluation."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from hybrid.config.load import load_config
from hybrid.data.prepare import prepare
from hybrid.errors import UserError
from hybrid.evaluation.evaluate import evaluate_run
from hybrid.export.run import export_run
from hybrid.instruct.examples import Examiner, Example
from hybrid.instruct.stages import StagedTrainer
from hybrid.llm.backbone import Backbone
from hybrid.runs import create_trainer, train_run
from hybrid.system import load_llm
from idmodels.saved import load_id_model

SMALL = (
    "arm=llm_only",
    "llm.scorer.kind=candidate_likelihood",
    "llm.prompt.targets_per_prompt=1",
    "llm.lora.rank=2",
    "instruct.general_examples=16",
    "instruct.specific_examples=16",
    "instruct.general_epochs=1",
    "instruct.specific_epochs=1",
    "instruct.candidates=4",
    "instruct.valid_users=4",
    "instruct.test_users=4",
    "instruct.catalogue_users=2",
    "instruct.mixture.steps=2",
    "instruct.mixture.prompts=2",
)


def another_domain(cycle: Path, folder: Path, ending: str = "", greedy: int = 0) -> Path:
    """The cycle dataset under another name, its titles with an ending, and one more user of so many items."""
    folder.mkdir()
    items = (cycle / f"{cycle.name}.item").read_text().splitlines()
    titles = [items[0], *(line + ending for line in items[1:])]
    (folder / f"{folder.name}.item").write_text("\n".join(titles) + "\n")
    more = "".join(f"greedy\ti{step}\t{step}\n" for step in range(greedy))
    (folder / f"{folder.name}.inter").write_text((cycle / f"{cycle.name}.inter").read_text() + more)
    return folder


@pytest.fixture
def small(tiny, cycle):
    """A config of the whole run; its general domain is the run's own."""
    return lambda *overrides: tiny(*SMALL, f"instruct.general_datasets=[{cycle}]", *overrides)


def trained_parts(monkeypatch) -> list[str]:
    """Stages that are trained from now on."""
    trained, train = [], StagedTrainer._train_stage
    monkeypatch.setattr(
        StagedTrainer, "_train_stage", lambda self, stage, *rest: (trained.append(stage), train(self, stage, *rest))
    )
    return trained


def test_a_run_from_start_to_evaluation(small) -> None:
    run = train_run(small())
    results = json.loads(run.finished.read_text())
    assert results["general_weight"] + results["specific_weight"] == pytest.approx(1, abs=1e-3)
    assert {name.split("/")[1] for name in results if "/" in name} == {
        "general only", "specific only", "half and half", "learned",
    }  # fmt: skip
    origin = json.loads((run.path / "adapters" / "specific" / "adapter_origin.json").read_text())
    assert sum(origin["examples"].values()) <= 16  # less those that are among the general ones
    found = evaluate_run(run.path, "test")
    assert found["users"] == 4
    assert found["protocol"].startswith("1 true item among 4 by title likelihood")
    assert list(found["sides"]) == ["llm", "general only", "specific only", "half and half"]
    assert found["sides"]["general only"]["weights"] == [1, 0]
    assert found["sides"]["llm"]["weights"] == [results["general_weight"], results["specific_weight"]]
    for side in found["sides"].values():
        assert {"hr@1", "warm/users", "unseen/users", "catalogue/hr@1"} <= side["metrics"].keys()


def test_a_later_domain_only_loads_the_general_adapter(small, tmp_path, monkeypatch) -> None:
    trained, where = trained_parts(monkeypatch), f"instruct.general_dir={tmp_path / 'general'}"
    train_run(small(where, "name=first"))
    before = (tmp_path / "general" / "adapter_model.safetensors").read_bytes()
    train_run(small(where, "name=second", "instruct.specific_examples=12", "instruct.general_datasets=[]"))
    assert trained == ["general", "specific", "specific"]
    assert (tmp_path / "general" / "adapter_model.safetensors").read_bytes() == before


def test_evaluation_needs_no_general_adapter_but_the_runs_own(small, tmp_path) -> None:
    more = ("instruct.general_epochs=20", "train.llm.learning_rate=0.02", "instruct.valid_users=20")
    run = train_run(small(f"instruct.general_dir={tmp_path / 'general'}", *more, "instruct.test_users=20"))
    shutil.rmtree(tmp_path / "general")
    sides, trained = evaluate_run(run.path, "valid")["sides"], json.loads(run.finished.read_text())
    for name, side in {"general only": "general only", "specific only": "specific only", "learned": "llm"}.items():
        assert sides[side]["metrics"]["ndcg@10"] == trained[f"valid/{name}/ndcg@10"]
    assert trained["valid/general only/ndcg@10"] != trained["valid/specific only/ndcg@10"]


def stage_examples(monkeypatch) -> dict[str, list[Example]]:
    """Examples of each stage that is trained from now on."""
    found, train = {}, StagedTrainer._train_stage

    def spy(self, stage, examples, epochs):
        found[stage] = list(examples)
        train(self, stage, examples, epochs)

    monkeypatch.setattr(StagedTrainer, "_train_stage", spy)
    return found


def test_the_general_adapter_is_trained_on_every_domain(small, cycle, tmp_path, monkeypatch) -> None:
    examples, other = stage_examples(monkeypatch), another_domain(cycle, tmp_path / "other", ending=" II")
    where = f"data.cache_dir={tmp_path / 'cache'}"
    run = train_run(small(where, f"instruct.general_datasets=[{cycle},{other}]", "llm.prompt.item_tokens=9"))
    origin = json.loads((run.path / "adapters" / "general" / "adapter_origin.json").read_text())
    assert origin["domains"] == ["cycle", "other"]
    read = load_llm(load_config(run.config, []), ["a"], torch.device("cpu")).tokenizer.decode
    by_stage = {stage: [" II" in read(one.prompt) for one in found] for stage, found in examples.items()}
    assert by_stage["general"] == [False] * 16 + [True] * 16
    assert not any(by_stage["specific"])


def test_specific_examples_are_none_of_the_general_ones(small, monkeypatch) -> None:
    examples = stage_examples(monkeypatch)
    train_run(small("instruct.tasks=[next_item]", "instruct.general_examples=30"))
    assert 0 < len(examples["specific"]) < 16  # both stages ask about the same few users
    assert not set(examples["specific"]) & set(examples["general"])


def stop_after_the_general_stage(config) -> None:
    """Train a run until the specific stage would begin."""
    train = StagedTrainer._train_stage

    def cut(self, stage, *rest):
        if stage == "specific":
            raise KeyboardInterrupt
        train(self, stage, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StagedTrainer, "_train_stage", cut)
        with pytest.raises(KeyboardInterrupt):
            train_run(config)


def test_train_seconds_of_a_resumed_run_are_those_of_all_its_processes(small, tmp_path) -> None:
    config = small()
    stop_after_the_general_stage(config)
    file = tmp_path / "runs" / config.name / "stages.json"
    done = json.loads(file.read_text())
    assert done["seconds"] > 0
    file.write_text(json.dumps(done | {"seconds": 1e6}))
    run = train_run(config, resume=True)
    assert 1e6 < json.loads(run.time.read_text())["train_s"] < 1e6 + 3600


def test_a_stage_that_is_done_is_not_done_again(small, monkeypatch) -> None:
    whole = train_run(small("name=whole"))
    trained = trained_parts(monkeypatch)
    stop_after_the_general_stage(small("name=cut"))
    resumed = train_run(small("name=cut"), resume=True)
    assert trained == ["general", "specific"]
    assert json.loads(resumed.finished.read_text()) == json.loads(whole.finished.read_text())


def test_weights_by_grid_and_fixed(small) -> None:
    fixed = train_run(small("name=fixed", "instruct.mixture.weights=fixed", "instruct.mixture.general_weight=0.25"))
    assert json.loads(fixed.finished.read_text())["general_weight"] == 0.25
    grid = train_run(small("name=grid", "instruct.mixture.weights=grid", "instruct.mixture.grid_points=3"))
    values = json.loads(grid.finished.read_text())
    by_weight = [values[f"valid/{name}/ndcg@3"] for name in ("specific only", "half and half", "general only")]
    assert values["general_weight"] == [0, 0.5, 1][by_weight.index(max(by_weight))]


def test_an_id_model_ranks_the_same_candidates(small, tiny) -> None:
    trained = train_run(tiny("arm=id_only", "name=id"))
    run = train_run(small(f"instruct.references=[{trained.path}]"))
    sides = evaluate_run(run.path, "test")["sides"]
    reference = sides[f"ID model {trained.path}"]
    assert reference["metrics"].keys() == {key for key in sides["llm"]["metrics"] if not key.startswith("catalogue/")}
    assert (reference["parameters"], sides["llm"]["metrics"]["warm/users"]) == (
        sum(weight.numel() for weight in load_id_model(trained.best_id)[0].parameters()),
        reference["metrics"]["warm/users"],
    )
    with pytest.raises(UserError, match=r"instruct\.references: no such folder: nowhere"):
        train_run(small("instruct.references=[nowhere]", "name=other"))


def test_export_names_the_mixture(small) -> None:
    run = train_run(small())
    with pytest.raises(UserError, match=rf"llm_only trains no ID model.*: {run.best_llm}$"):
        export_run(run.path, "safetensors")
    assert (run.best_llm / "adapter_config.json").is_file()


def test_prompts_of_the_test_part_are_read_by_evaluate_alone(small) -> None:
    run = train_run(small("instruct.mixture.source=test", "instruct.mixture.learning_rate=1"))
    learned = json.loads(run.finished.read_text())["general_weight"]
    assert evaluate_run(run.path, "test")["sides"]["llm"]["weights"][0] != learned


def test_a_general_adapter_that_cannot_be_had_is_an_error_before_anything_is_written(small, tmp_path) -> None:
    config = small("instruct.general_datasets=[]")
    with pytest.raises(UserError, match="no domain-general adapter: name the datasets"):
        train_run(config)
    half = tmp_path / "half"
    half.mkdir()
    (half / "adapter_config.json").write_text("{}")
    with pytest.raises(UserError, match=r"not a whole adapter directory, adapter_model\.safetensors is missing"):
        train_run(small(f"instruct.general_dir={half}"))
    assert not (tmp_path / "runs").exists()


def test_a_user_who_took_almost_all_is_an_error_before_anything_is_written(small, cycle, tmp_path) -> None:
    """12 items and 4 candidates: one user may take 9; the last two items are of the valid and the test part."""
    where = f"data.cache_dir={tmp_path / 'cache'}"
    general = another_domain(cycle, tmp_path / "general", greedy=12)
    with pytest.raises(UserError, match=r"^general: a user took all but 2 of the 12 .*see instruct\.candidates"):
        train_run(small(where, f"instruct.general_datasets=[{general}]"))
    own = another_domain(cycle, tmp_path / "own", greedy=11)  # enough in the train part, too few in the valid part
    with pytest.raises(UserError, match=r"^own: a user took all but 2 of the 12 .*see instruct\.candidates"):
        train_run(small(where, f"data.dataset={own}", "instruct.valid_users=100"))
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("whose", ["general", "own"])
def test_a_domain_whose_instructions_are_too_long_is_an_error_before_anything_is_written(
    small, cycle, tmp_path, monkeypatch, whose: str
) -> None:
    long = another_domain(cycle, tmp_path / "long", ending=" and more of it")
    where = {"general": f"instruct.general_datasets=[{long}]", "own": f"data.dataset={long}"}[whose]
    config = small(f"data.cache_dir={tmp_path / 'cache'}", where, "llm.prompt.item_tokens=64")
    longest, check = {}, Examiner.check_length
    monkeypatch.setattr(
        Examiner, "check_length", lambda self, context: longest.update({self.domain.name: self.longest()})
    )
    create_trainer(config, prepare(config.data))
    monkeypatch.setattr(Examiner, "check_length", check)
    monkeypatch.setattr(Backbone, "context", longest["long"] - 1)
    with pytest.raises(UserError, match=r"^long: an instruction and its answer may have \d+ tokens, but the LLM reads"):
        train_run(config)
    assert longest["cycle"] < longest["long"]
    assert not (tmp_path / "runs").exists()


def test_items_without_text_are_an_error(own_cycle, small, tmp_path) -> None:
    (own_cycle / "cycle.item").write_text("item_id:token\ttitle:token_seq\n" + "".join(f"i{n}\t\n" for n in range(12)))
    with pytest.raises(UserError, match="no item has a title, so there is no text to ask about"):
        train_run(small(f"data.dataset={own_cycle}", f"data.cache_dir={tmp_path / 'cache'}"))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("arm=both", "ranks by text, so there are no states to exchange; set arm=llm_only"),
        ("llm.tune=none", r"needs llm\.tune=lora and llm\.lora\.kind=plain"),
        ("llm.lora.kind=gated", r"needs llm\.tune=lora and llm\.lora\.kind=plain"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(small, override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        small(override)


def test_the_preset_is_a_whole_config() -> None:
    config = load_config(None, ["preset=molorec"])
    assert config.llm.scorer.kind == "candidate_likelihood"
    assert (config.instruct.candidates, config.instruct.mixture.merge, config.llm.lora.rank) == (30, "ab", 16)
