"""The search for settings on tiny data: it finds, goes on, refuses, and never opens the test part."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from hybrid.config.load import load_config

SCRIPT = Path(__file__).parents[2] / "scripts" / "tune.py"


@pytest.fixture(scope="module")
def tune() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tune", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    """Ten users who walk round a cycle of six items."""
    rows = [f"u{user}\ti{(user + step) % 6}\t{step}" for user in range(10) for step in range(7)]
    data = tmp_path / "walk.inter"
    data.write_text("\n".join(["user_id:token\titem_id:token\ttimestamp:float", *rows]) + "\n", encoding="utf-8")
    fixed = [f"data.cache_dir={tmp_path}/cache", "id.layers=1", "train.id.batch_targets=16", "device=cpu"]
    search = ["--choose", "id.width=4,8", "--choose", "id.max_length=5", "--storage", str(tmp_path / "study.log")]
    return ["--dataset", str(data), "--epochs", "3", *search, *fixed]


def test_the_best_is_printed_as_overrides(
    tune: ModuleType, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert tune.main([*arguments, "--trials", "3"]) == 0
    *trials, found, overrides = capsys.readouterr().out.splitlines()
    assert len(trials) == 3
    values = [float(line.split()[2]) for line in trials]
    assert values == sorted(values)
    assert found.startswith(f"best of 3 trials: valid ndcg@10 {values[-1]:.4f}, trial ")
    config = load_config(None, overrides.split())
    assert config.id.width in (4, 8)
    assert config.id.inner_width == 4 * config.id.width
    assert config.id.attention_dropout == config.id.dropout
    assert 3e-4 <= config.train.id.learning_rate <= 3e-3


def test_it_goes_on_where_it_stopped(
    tune: ModuleType, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    tune.main([*arguments, "--trials", "1"])
    first = capsys.readouterr().out.splitlines()[0]
    assert tune.main([*arguments, "--trials", "2"]) == 0
    *trials, found, _ = capsys.readouterr().out.splitlines()
    assert first in trials
    assert len(trials) == 2
    assert trials[0].split("  ", 3)[3] != trials[1].split("  ", 3)[3]  # other settings, not the same draw again
    assert found.startswith("best of 2 trials")


def test_the_same_seed_finds_the_same(
    tune: ModuleType, arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = []
    for name in ("a.log", "b.log"):
        tune.main([*arguments, "--trials", "2", "--storage", str(tmp_path / name)])
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1]


def test_a_grid_tries_every_combination_once_and_nothing_else(
    tune: ModuleType, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    grid = [*arguments, "--grid", "--choose", "id.dropout=0.1,0.3"]
    assert tune.main(grid) == 0
    *trials, found, _ = capsys.readouterr().out.splitlines()
    assert found.startswith("best of 4 trials")
    tried = [dict(pair.split("=") for pair in line.split("complete")[1].split()) for line in trials]
    assert all(len(values) == 5 for values in tried)  # width, length, dropout, and the two that follow them
    pairs = {(values["id.width"], values["id.dropout"]) for values in tried}
    assert pairs == {("4", "0.1"), ("4", "0.3"), ("8", "0.1"), ("8", "0.3")}
    assert tune.main(grid) == 0  # there is nothing left to do
    assert capsys.readouterr().out.splitlines()[:4] == trials


def test_a_combination_that_was_cut_off_is_trained_again(
    tune: ModuleType, arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = [*arguments, "--grid"]
    asked: list[int] = []  # in time before the first trial, too late after its first epoch
    with monkeypatch.context() as patch:
        patch.setattr(tune._Search, "over", property(lambda search: bool(asked) or asked.append(1)))
        assert tune.main(grid) == 0
    first = capsys.readouterr().out.splitlines()
    assert first[0] == "2 combinations are left: the same command goes on with them"
    assert first[1].startswith("no trial came to the end of its training; allow more time")
    assert tune.main(grid) == 0
    *trials, found, _ = capsys.readouterr().out.splitlines()
    assert found.startswith("best of 2 trials")
    assert {line.split("id.width=")[1].split()[0] for line in trials} == {"4", "8"}


def test_a_combination_that_ends_as_the_time_does_is_kept(
    tune: ModuleType, arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []  # in time before the first trial and after its first two epochs, too late after its third
    monkeypatch.setattr(tune._Search, "over", property(lambda search: asked.append(True) or len(asked) > 3))
    assert tune.main([*arguments, "--grid"]) == 0
    left, trial, found, _ = capsys.readouterr().out.splitlines()
    assert left.startswith("1 combinations are left")
    assert "complete" in trial
    assert found.startswith("best of 1 trials")


def test_a_combination_that_diverges_is_not_tried_for_ever(
    tune: ModuleType, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    grid = [*arguments, "--grid", "--choose", "id.width=4", "train.id.clip_norm=0"]
    assert tune.main([*grid, "--choose", "train.id.learning_rate=1e30,0.001"]) == 0
    *trials, found, overrides = capsys.readouterr().out.splitlines()
    assert len(trials) == 1
    assert found.startswith("best of 1 trials")
    assert "train.id.learning_rate=0.001" in overrides


def test_a_grid_in_which_all_diverges_says_so(
    tune: ModuleType, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    grid = [*arguments, "--grid", "train.id.clip_norm=0", "--choose", "train.id.learning_rate=1e30"]
    assert tune.main(grid) == 0
    assert capsys.readouterr().out.startswith("the loss of every trial diverged; choose a smaller")


def test_every_value_of_a_grid_is_checked_before_a_study_is_there(
    tune: ModuleType, arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tune.main([*arguments, "--grid", "--choose", "id.dropout=0.1,1.5"]) == 2
    assert "dropout must be in [0, 1)" in capsys.readouterr().err
    assert not (tmp_path / "study.log").exists()


def test_a_search_does_not_go_on_in_the_file_of_a_grid(
    tune: ModuleType, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    every = [*arguments, "--choose", "id.dropout=0.1"]  # all that a search chooses by default
    assert tune.main([*every, "--grid"]) == 0
    assert tune.main([*every, "--trials", "3"]) == 2
    assert "begun under other conditions: grid (True -> False); choose" in capsys.readouterr().err


def test_an_unknown_key_leaves_no_study(
    tune: ModuleType, arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tune.main([*arguments, "--grid", "--choose", "id.dropuot=0.1"]) == 2
    assert "unknown key 'id.dropuot'; did you mean 'id.dropout'?" in capsys.readouterr().err
    assert not (tmp_path / "study.log").exists()


def test_a_grid_of_nothing_is_refused(tune: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert tune.main(["--grid"]) == 2
    assert "--grid has nothing to choose from; name settings" in capsys.readouterr().err


def test_a_study_under_other_conditions_is_refused(
    tune: ModuleType, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    tune.main([*arguments, "--trials", "1"])
    capsys.readouterr()
    assert tune.main([*arguments, "--trials", "2", "--epochs", "4"]) == 2
    assert "begun under other conditions: epochs (3 -> 4); choose another --storage" in capsys.readouterr().err


def test_time_cuts_a_trial_off_and_its_value_counts(
    tune: ModuleType, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert tune.main([*arguments, "--trials", "5", "--timeout-s", "0"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[3:6] == ["at", "epoch", "1"]  # cut off after its first epoch
    assert lines[-2].startswith("best of 1 trials")


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--model", "sasrek"], "unknown ID model 'sasrek'; did you mean 'sasrec'?"),
        (["id.layer=2"], "unknown key 'id.layer'; did you mean 'id.layers'?"),
    ],
)
def test_errors_are_one_line(
    tune: ModuleType, arguments: list[str], capsys: pytest.CaptureFixture[str], extra: list[str], message: str
) -> None:
    assert tune.main([*arguments, "--trials", "1", *extra]) == 2
    assert message in capsys.readouterr().err


def test_without_optuna_the_command_is_named(
    tune: ModuleType, arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert tune.main(arguments) == 2
    assert 'not installed; type: pip install -c constraints.txt -e ".[tune]"' in capsys.readouterr().err


def test_the_test_part_is_never_imported() -> None:
    code = (
        "import runpy, sys; runpy.run_path(sys.argv[1], run_name='tune');"
        "sys.exit(any(name in sys.modules for name in ('hybrid.evaluation.test_part', 'hybrid.evaluation.evaluate')))"
    )
    assert subprocess.run([sys.executable, "-c", code, str(SCRIPT)], check=False).returncode == 0


def test_a_trial_that_was_cut_off_counts_with_its_best_epoch(tune: ModuleType) -> None:
    study = tune._optuna().create_study(direction="maximize")
    trial = study.ask()
    for step, value in enumerate((0.1, 0.5, 0.2)):
        trial.report(value, step)
    study.tell(trial, state=tune._optuna().trial.TrialState.PRUNED)
    assert tune._value(study.trials[0]) == 0.5
