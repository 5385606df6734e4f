"""The commands as a user types them: what they print, what they leave, and one clear line for bad input."""

import json

import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from hybrid.cli import main
from hybrid.config.schema import DataConfig
from hybrid.data.prepare import prepare
from idmodels.saved import load_id_model


@pytest.fixture
def arguments(tiny, tmp_path, cycle):
    """Yaml file and overrides of a tiny run."""
    cache = cycle.parent / "cache"
    return [
        str(tiny.path),
        f"data.dataset={cycle}",
        f"data.cache_dir={cache}",
        f"output_dir={tmp_path / 'runs'}",
        "train.schedule.rounds=1",
    ]


@pytest.fixture
def finished(arguments, tmp_path):
    """Directory of a finished joint run."""
    assert main(["train", *arguments]) == 0
    return tmp_path / "runs" / "run"


def test_prepare_prints_statistics(cycle, tmp_path, capsys):
    assert main(["prepare", str(cycle), f"data.cache_dir={tmp_path / 'cache'}"]) == 0
    printed = capsys.readouterr().out
    assert "20" in next(line for line in printed.splitlines() if line.startswith("users"))
    assert "12" in next(line for line in printed.splitlines() if line.startswith("items "))


def test_prepare_without_a_dataset_asks_for_that_alone(capsys):
    with pytest.raises(SystemExit):
        main(["prepare"])
    assert capsys.readouterr().err.splitlines()[-1].endswith("the following arguments are required: dataset")


def test_train_leaves_a_complete_run_directory(finished, capsys):
    for name in ("config.yaml", "environment.json", "metrics.jsonl", "log.txt", "finished.json", "checkpoints"):
        assert (finished / name).exists(), name
    assert (finished / "best" / "id" / "model.safetensors").exists()
    assert (finished / "best" / "llm" / "llm" / "adapter_model.safetensors").exists()
    assert list(finished.glob("events.out.tfevents.*"))
    assert not list(finished.rglob("*.new"))


def test_tensorboard_shows_both_sides_and_the_exchange(finished):
    events = EventAccumulator(str(finished), size_guidance={"tensors": 0})
    events.Reload()
    tags = set(events.Tags()["scalars"])
    wanted = {
        "train/id/loss",
        "train/id/softmax",
        "train/id/learning_rate",
        "train/llm/loss",
        "train/llm/fill",
        "valid/id/ndcg@10",
        "valid/llm/ndcg@10",
        "exchange/agreement@20",
        "exchange/staleness/id_item",
        "exchange/staleness/llm_text",
        "exchange/mformer/router_entropy",
        "exchange/mformer/expert_0",
        "exchange/distill/kl_llm",
        "best_valid/id",
    }
    assert wanted <= tags
    steps = [point.step for point in events.Scalars("valid/id/ndcg@10")]
    batches = json.loads((finished / "metrics.jsonl").read_text().splitlines()[0])["own_step"]
    assert steps == [batches, 2 * batches]  # over the side's own steps
    assert any("recommended" in tag for tag in events.Tags()["tensors"])
    hparams = events.summary_metadata
    assert any("hparams" in tag for tag in hparams)
    assert list(finished.rglob("metadata.tsv"))


def test_evaluate_reads_test_and_keeps_the_answer(finished, capsys):
    assert main(["evaluate", str(finished)]) == 0
    printed = capsys.readouterr().out
    assert "test: 20 users, full catalogue, history items left out" in printed
    kept = json.loads((finished / "test.json").read_text())
    assert set(kept["sides"]) == {"id", "llm"}
    (finished / "best").rename(finished / "moved")  # the second time nothing is ranked again
    assert main(["evaluate", str(finished)]) == 0
    assert capsys.readouterr().out == printed


def test_valid_metrics_of_the_kept_models_are_those_seen_in_training(finished):
    assert main(["evaluate", str(finished), "--split", "valid"]) == 0
    kept = json.loads((finished / "valid.json").read_text())
    best = json.loads((finished / "finished.json").read_text())
    for side in ("id", "llm"):
        assert kept["sides"][side]["metrics"]["ndcg@10"] == pytest.approx(best[f"best_valid/{side}"], abs=1e-6)


def test_faiss_export_finds_what_the_model_ranks_first(finished):
    import faiss

    assert main(["export", str(finished), "--format", "faiss"]) == 0
    target = finished / "export" / "faiss"
    index = faiss.read_index(str(target / "items.faiss"))
    ids = json.loads((target / "items.ids.json").read_text())
    model, item_ids = load_id_model(finished / "best" / "id")
    state = torch.randn(1, 8)
    _, found = index.search(state.numpy(), 3)
    assert "Place k in it is\nrow k + 1" in (target / "README.md").read_text()
    expected = (state @ model.item_table()[1:].T).topk(3).indices[0] + 1
    assert [ids[place] for place in found[0]] == [item_ids[item] for item in expected.tolist()]


def test_a_comparisons_folder_lists_its_runs(arguments, tmp_path, capsys):
    assert main(["compare", *arguments, "--arms", "id_only", "name=all"]) == 0
    for command in ("evaluate", "export"):
        assert main([command, str(tmp_path / "runs" / "all")]) == 2
        assert f"the runs in it: {tmp_path / 'runs' / 'all' / 'id_only' / 'seed-1'}" in capsys.readouterr().err


def test_a_run_without_an_id_model_exports_none_and_names_its_adapter(arguments, tmp_path, capsys):
    assert main(["train", *arguments, "arm=llm_only"]) == 0
    run = tmp_path / "runs" / "run"
    assert main(["export", str(run), "--format", "faiss"]) == 2
    printed = capsys.readouterr().err.splitlines()[-1]
    assert "llm_only trains no ID model" in printed
    assert (run / "best" / "llm" / "llm" / "adapter_config.json").is_file()
    assert printed.endswith(str(run / "best" / "llm" / "llm"))


def test_resuming_nothing_says_so_and_begins(arguments, tmp_path):
    assert main(["train", *arguments, "arm=id_only", "--resume"]) == 0
    assert "no checkpoint to go on from" in (tmp_path / "runs" / "run" / "log.txt").read_text()


def test_a_finished_run_resumed_writes_its_item_embeddings_once(arguments, tmp_path, capsys):
    for _ in range(2):
        assert main(["train", *arguments, "arm=id_only", "--resume"]) == 0
    assert "Embedding dir exists" not in capsys.readouterr().out
    config = (tmp_path / "runs" / "run" / "projector_config.pbtxt").read_text()
    assert config.count("tensor_path") == 1


def test_the_help_of_compare_names_its_default_arms(capsys):
    with pytest.raises(SystemExit):
        main(["compare", "--help"])
    assert "default: id_only,llm_only,both" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("form", ["safetensors", "recbole"])
def test_export_writes_the_best_id_model(finished, form, capsys):
    assert main(["export", str(finished), "--format", form]) == 0
    target = finished / "export" / form
    assert str(target) in capsys.readouterr().out
    assert target.is_dir()
    if form == "safetensors":
        model, ids = load_id_model(target)
        best = load_file(finished / "best" / "id" / "model.safetensors")
        assert torch.equal(model.item_embedding.weight, best["item_embedding.weight"])
        assert ids[0] == "[PAD]"
        assert sorted(ids[1:]) == sorted(f"i{n}" for n in range(12))


def test_compare_prints_both_sides_and_their_blends_and_skips_what_is_there(arguments, tmp_path, capsys):
    assert main(["compare", *arguments, "name=four"]) == 0
    table = capsys.readouterr().out
    labels = ["ID alone", "ID after joint training", "LLM alone", "LLM after joint training"]
    blends = ["Blend of both, before", "Blend of both, after (both)"]
    assert [line.split("  ")[0] for line in table.splitlines()[2:8]] == [*labels, *blends]
    assert "ERROR" not in table
    for path in (tmp_path / "runs" / "four").glob("*/*/checkpoints"):
        path.rename(path.with_name("moved"))  # a second training would make them again
    assert main(["compare", *arguments, "name=four"]) == 0
    assert capsys.readouterr().out == table
    assert not list((tmp_path / "runs" / "four").glob("*/*/checkpoints"))


@pytest.mark.parametrize("command", ["prepare", "train", "compare", "evaluate", "export"])
def test_help_is_there(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    printed = capsys.readouterr().out
    if command in ("train", "compare"):
        assert "bridges.mformer.experts" in printed
        assert "Query experts E" in printed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("no text", "cycle.item has none for any of these items: name its text columns in data.text_fields"),
        ("prepared", "was prepared without them: name the raw files in data.dataset and data.item_file"),
        ("no item file", "name the file with one row per item in data.item_file"),
        ("short users", "no user"),
    ],
)
def test_untrainable_data_leaves_no_run_directory(change, message, arguments, own_cycle, tmp_path, capsys):
    if change == "no text":
        (own_cycle / "cycle.item").write_text("item_id:token\ttitle:token_seq\ni0\t\n", encoding="utf-8")
    elif change == "short users":
        rows = [line for line in (own_cycle / "cycle.inter").read_text().splitlines() if line[-1] in "012t"]
        (own_cycle / "cycle.inter").write_text("\n".join(rows) + "\n", encoding="utf-8")
    else:
        (own_cycle / "cycle.item").unlink()
    dataset = own_cycle
    if change == "prepared":
        dataset = prepare(DataConfig(dataset=str(own_cycle), cache_dir=str(tmp_path / "cache"))).path
    assert main(["train", *arguments, f"data.dataset={dataset}"]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("mask", ["true", "false"])
def test_the_log_tells_of_repeats_where_history_items_are_left_out(arguments, own_cycle, tmp_path, mask):
    rows = "".join(f"u{user}\ti{user % 12}\t99\n" for user in range(20))  # each user's first item once more
    with (own_cycle / "cycle.inter").open("a") as file:
        file.write(rows)
    overrides = ["arm=id_only", f"data.dataset={own_cycle}", f"evaluation.mask_history={mask}"]
    assert main(["train", *arguments, *overrides]) == 0
    said = (tmp_path / "runs" / "run" / "log.txt").read_text()
    assert ("12.5% of the interactions are of an item that the user had before" in said) == (mask == "true")


def test_overrides_may_follow_an_option(arguments, tmp_path):
    assert main(["train", arguments[0], "--resume", *arguments[1:], "arm=id_only", "--train.schedule.id_length=1"]) == 0
    assert (tmp_path / "runs" / "run" / "finished.json").exists()
    with pytest.raises(SystemExit):
        main(["train", "--resum", "name=a"])


def test_compare_refuses_finished_runs_of_another_dataset(arguments, own_cycle, capsys):
    command = ["compare", *arguments, f"data.dataset={own_cycle}", "--arms", "id_only"]
    assert main(command) == 0
    with (own_cycle / "cycle.inter").open("a", encoding="utf-8") as file:
        file.write("".join(f"new\ti{n}\t{n}\n" for n in range(5)))
    assert main(command) == 2
    assert "was started on dataset" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["prepare", "ml-100m"], "ml-100k"),
        (["train", "nowhere.yaml"], "config file not found: nowhere.yaml"),
        (["train", "train.round=3"], "unknown key 'train.round'"),
        (["train", "llm.name=/no/such/model", "data.dataset=DATA"], "no such directory"),
        (["train", "llm.num_layers=3", "data.dataset=DATA", "llm.name=tiny-random"], "has only 2 layers"),
        (["train", "id.model=sasrek", "data.dataset=DATA", "arm=id_only"], "sasrec"),
        (["train", "device=cuda:9", "data.dataset=DATA"], "device: cuda:9 is not there"),
        (["compare", "--arms", "id_only,bth"], "unknown arm 'bth'; did you mean 'both'?"),
        (["compare", "--arms", "id_only, id_only"], "--arms: id_only, id_only names an arm twice"),
        (["compare", "arm=llm2id"], "arm=llm2id has no say here: the arms are those of --arms id_only,llm_only,both"),
        (["evaluate", "nowhere"], "not a run directory"),
        (["export", "nowhere"], "not a run directory"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(command, message, cycle, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    command = [part.replace("DATA", str(cycle)) for part in command]
    assert main(command) == 2
    printed = capsys.readouterr().err.strip().splitlines()
    assert message in printed[-1]
    assert printed[-1].startswith("hybridrec: ")
    assert not any("Traceback" in line for line in printed)


def test_evaluating_an_unfinished_run_says_how_to_go_on(finished, capsys):
    (finished / "finished.json").unlink()
    assert main(["evaluate", str(finished)]) == 2
    assert "--resume" in capsys.readouterr().err


def test_an_interrupted_run_says_how_to_go_on_and_does(arguments, tmp_path, monkeypatch, capsys):
    from hybrid.training.trainer import Trainer

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_learn", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
        assert main(["train", *arguments]) == 130
    assert "--resume" in capsys.readouterr().err
    assert main(["train", *arguments]) == 2
    assert main(["train", *arguments, "--resume"]) == 0
