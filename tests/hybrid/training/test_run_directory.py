"""Files are whole or absent."""

import os

import pytest

from hybrid.config.schema import Config
from hybrid.errors import UserError
from hybrid.evaluation.evaluate import evaluate_run
from hybrid.export.run import export_run
from hybrid.training.run_directory import RunDirectory, read_json, replace_directory, write_json


def test_replaced_directory_holds_only_the_new(tmp_path):
    target = tmp_path / "best"
    replace_directory(target, lambda path: (path / "a").write_text("1"))
    replace_directory(target, lambda path: (path / "b").write_text("2"))
    assert [path.name for path in target.iterdir()] == ["b"]
    assert [path.name for path in tmp_path.iterdir()] == ["best"]


def test_one_process_at_a_time_trains_a_run(tmp_path):
    run = RunDirectory(tmp_path / "run")
    with run.held(), pytest.raises(UserError, match="another process is training this run"), run.held():
        pass
    with run.held():
        pass


def test_failure_leaves_the_old_directory(tmp_path):
    target = tmp_path / "best"
    replace_directory(target, lambda path: (path / "a").write_text("1"))

    def full_disk(path):
        (path / "b").write_text("2")
        raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match="No space left on device"):
        replace_directory(target, full_disk)
    assert (target / "a").read_text() == "1"
    assert [path.name for path in tmp_path.iterdir()] == ["best"]


def test_failed_json_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    write_json(path, {"a": 1})

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(UserError, match=r"x\.json: can't write: No space left on device"):
        write_json(path, {"a": 2})
    assert read_json(path) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_second_run_in_the_same_place_is_refused(tmp_path):
    run = RunDirectory(tmp_path / "run")
    run.create(Config(), "abc")
    assert run.dataset_fingerprint() == "abc"
    with pytest.raises(UserError, match="--resume"):
        run.create(Config(), "abc")


def test_broken_json_says_where(tmp_path):
    path = tmp_path / "x.json"
    path.write_text("{\n")
    with pytest.raises(UserError, match="line 2"):
        read_json(path)


def test_a_best_model_lost_between_two_renames_comes_back(tmp_path):
    run = RunDirectory(tmp_path)
    old = run.best_id.with_name(".id.old")
    old.mkdir(parents=True)
    (old / "model.safetensors").write_text("weights")
    run.recover()
    assert (run.best_id / "model.safetensors").read_text() == "weights"
    assert not old.exists()


@pytest.mark.parametrize("side", ["id", "llm"])
def test_a_reader_leaves_a_replacement_to_the_process_that_trains(tmp_path, side: str):
    best = tmp_path / "best" / side
    best.with_name(f".{side}.old").mkdir(parents=True)
    with RunDirectory(tmp_path).held():
        with pytest.raises(UserError, match=r"not whole at the moment; try again .*another process is training"):
            RunDirectory(tmp_path).recover_unless_held()
        assert not best.exists()
    RunDirectory(tmp_path).recover_unless_held()
    assert best.is_dir()


def test_a_reader_of_a_whole_run_writes_nothing(tmp_path):
    RunDirectory(tmp_path).recover_unless_held()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("read", [lambda path: evaluate_run(path, "valid"), lambda path: export_run(path, "faiss")])
def test_readers_wait_for_the_process_that_trains(tmp_path, read):
    run = RunDirectory(tmp_path)
    run.create(Config(), "abc")
    run.best_id.with_name(".id.old").mkdir(parents=True)
    with run.held(), pytest.raises(UserError, match="not whole at the moment"):
        read(tmp_path)
