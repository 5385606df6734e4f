"""Input at the edges through the command line: long histories, one item, losses that run away."""

import json

import pytest

from hybrid.cli import main


@pytest.fixture
def arguments(tiny, tmp_path, cycle):
    return [
        str(tiny.path),
        f"data.cache_dir={cycle.parent / 'cache'}",
        f"output_dir={tmp_path / 'runs'}",
        "arm=id_only",
        "train.schedule.rounds=1",
    ]


@pytest.fixture
def run(tmp_path):
    return tmp_path / "runs" / "run"


def write(folder, rows):
    folder.mkdir()
    header = "user_id:token\titem_id:token\ttimestamp:float"
    lines = [f"{user}\t{item}\t{time}" for user, item, time in rows]
    (folder / f"{folder.name}.inter").write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return f"data.dataset={folder}"


def test_histories_longer_than_l_train_in_windows_and_are_ranked_by_their_last_items(arguments, run, tmp_path):
    rows = [(f"u{user}", (user + step) % 7, step) for user in range(10) for step in range(40)]
    learn = ["train.schedule.id_length=12", "train.id.learning_rate=0.03", "evaluation.mask_history=false"]
    assert main(["train", *arguments, write(tmp_path / "long", rows), *learn, "id.max_length=6"]) == 0
    assert json.loads((run / "finished.json").read_text())["best_valid/id"] > 0.95
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    # 10 users with 38 train items have 37 targets each, 12 batches of about 32: none is cut off.
    assert lines[0]["own_step"] == 12


def test_a_catalogue_of_one_item_is_refused_before_anything_is_written(arguments, run, tmp_path, capsys):
    rows = [(f"u{user}", "only", step) for user in range(3) for step in range(6)]
    assert main(["train", *arguments, write(tmp_path / "one", rows)]) == 2
    assert "only one item is left; a recommender needs at least two" in capsys.readouterr().err
    assert not run.exists()


def test_a_loss_that_runs_away_names_its_batch_and_the_checkpoint_goes_on(arguments, run, cycle, capsys):
    # A learning rate that throws the weights out of float32's range after the second step.
    wild = ["train.id.learning_rate=1e38", "train.id.warmup_steps=0", "train.checkpoint_steps=1", "id.model=gru4rec"]
    command = ["train", *arguments, f"data.dataset={cycle}", *wild]
    assert main(command) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "the id side's loss is nan at its step 1 (batch 2 of" in said
    assert "the last checkpoint is from before it" in said
    state = json.loads((max((run / "checkpoints").iterdir()) / "state.json").read_text())
    assert state["step"] == 1
    assert not (run / "finished.json").exists()
    assert main([*command, "--resume"]) == 2  # it goes on from there, and meets the same batch
    printed = capsys.readouterr().err
    assert "going on from" in printed
    assert said in printed
