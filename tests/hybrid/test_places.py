"""Relative paths in a run's config: other directories, moved folders, data that are gone."""

import pytest

from hybrid.cli import main
from hybrid.training.run_directory import RunDirectory, read_json, write_json

FAST = ["arm=id_only", "train.schedule.rounds=1", "train.schedule.id_length=1"]
DATA = ["data.dataset=a.csv", "data.item_file=items.csv"]


def write_data(folder, extra=""):
    rows = [f"u{user},i{(user + step) % 9},{step}" for user in range(12) for step in range(5)]
    (folder / "a.csv").write_text("\n".join(["user_id,item_id,timestamp", *rows]) + f"\n{extra}")
    titles = [f"i{number},Title {number}" for number in range(9)]
    (folder / "items.csv").write_text("\n".join(["item_id,title", *titles]) + "\n")


@pytest.fixture
def project(tiny, tmp_path, monkeypatch):
    """A folder with data and a finished run, both named by relative paths; the working directory is another one."""
    folder = tmp_path / "project"
    (tmp_path / "elsewhere").mkdir()
    folder.mkdir()
    write_data(folder)
    monkeypatch.chdir(folder)
    assert main(["train", str(tiny.path), *FAST, *DATA]) == 0
    monkeypatch.chdir(tmp_path / "elsewhere")
    return folder


def commands(run):
    return [
        ["recommend", str(run), "--user", "u3"],
        ["evaluate", str(run)],
        ["train", str(run / "config.yaml"), "--resume"],
    ]


def test_a_run_is_read_and_resumed_from_another_directory(project, tmp_path):
    for command in commands(project / "runs" / "run"):
        assert main(command) == 0
    assert not (tmp_path / "elsewhere" / "runs").exists()


def test_data_of_the_same_name_here_are_not_those_of_the_run(project, tmp_path):
    write_data(tmp_path / "elsewhere", extra="u1,i8,7\n")
    for command in commands(project / "runs" / "run"):
        assert main(command) == 0


def test_a_new_run_of_a_saved_config_is_written_here(project, tmp_path):
    assert main(["train", str(project / "runs" / "run" / "config.yaml"), "name=again"]) == 0
    assert (tmp_path / "elsewhere" / "runs" / "again" / "finished.json").exists()


def test_a_moved_folder_goes_on_and_relative_paths_may_have_become_absolute(project, tiny, tmp_path, monkeypatch):
    moved = project.rename(tmp_path / "moved")
    monkeypatch.chdir(moved)
    for command in commands(moved.relative_to(moved) / "runs" / "run"):
        assert main(command) == 0
    absolute = [f"data.dataset={moved / 'a.csv'}", f"data.item_file={moved / 'items.csv'}", f"output_dir={moved}/runs"]
    assert main(["train", str(tiny.path), *FAST, *absolute, "--resume"]) == 0


def test_a_run_from_before_the_directory_was_kept_is_resumed_as_before(project, monkeypatch):
    run = RunDirectory(project / "runs" / "run")
    write_json(run.environment, {key: value for key, value in read_json(run.environment).items() if key != "directory"})
    monkeypatch.chdir(project)
    for command in commands(run.path):
        assert main(command) == 0


def test_data_that_are_gone_are_named_by_where_they_were(project, capsys):
    (project / "a.csv").unlink()
    assert main(["recommend", str(project / "runs" / "run"), "--user", "u3"]) == 2
    assert f"no dataset '{project / 'a.csv'}'" in capsys.readouterr().err


def test_other_data_are_refused(project, tiny, monkeypatch, capsys):
    monkeypatch.chdir(project)
    write_data(project, extra="u1,i8,7\n")
    assert main(["train", str(tiny.path), *FAST, *DATA, "--resume"]) == 2
    assert " of a.csv, this one is " in capsys.readouterr().err


def test_a_language_model_named_by_a_relative_path_is_that_of_the_run(project):
    run = RunDirectory(project / "runs" / "run")
    for folder in ("model", "other"):
        (project / folder).mkdir()
    text = run.config.read_text()
    assert "  name: tiny-random" in text
    text = text.replace("  name: tiny-random", "  name: model").replace("sources: []", "sources: [other, gru4rec]")
    text = text.replace("  shared_encoder: ''", "  shared_encoder: other")
    run.config.write_text(text)
    config = run.read_config()
    assert config.llm.name == str(project / "model")
    assert config.llm.shared_encoder == str(project / "other")
    assert config.bridges.mformer.sources == (str(project / "other"), "gru4rec")
