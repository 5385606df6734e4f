"""A folder is replaced as a whole, or stays as it was."""

import os
from pathlib import Path

import pytest

from idmodels.folders import complete_folder, recover_folder, replaced_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with replaced_folder(tmp_path / "deep" / "best") as fresh:
        (fresh / "a").write_text("1")
    return tmp_path / "deep" / "best"


def content(folder: Path) -> list[str]:
    """What is in the folder, and that nothing stands beside it."""
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    return [path.name for path in folder.iterdir()]


def half_written(folder: Path) -> None:
    with replaced_folder(folder) as fresh:
        (fresh / "half").write_text("")
        raise OSError("disk full")


def test_the_new_takes_the_place_of_the_old(folder: Path) -> None:
    with replaced_folder(folder) as fresh:
        (fresh / "b").write_text("2")
        assert [path.name for path in folder.iterdir()] == ["a"]
    assert content(folder) == ["b"]


def test_after_an_error_nothing_has_changed(folder: Path) -> None:
    with pytest.raises(OSError, match="disk full"):
        half_written(folder)
    assert content(folder) == ["a"]


def test_an_error_between_the_two_renames_puts_the_old_back(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, replace = [], os.replace

    def second_fails(source: Path, target: Path) -> None:
        calls.append(source)
        if len(calls) == 2:
            raise OSError("no more")
        replace(source, target)

    monkeypatch.setattr(os, "replace", second_fails)
    with pytest.raises(OSError, match="no more"), replaced_folder(folder) as fresh:
        (fresh / "b").write_text("2")
    assert content(folder) == ["a"]


def test_what_a_killed_process_left_is_put_back_before_the_next_attempt(folder: Path) -> None:
    folder.rename(folder.with_name(".best.old"))
    folder.with_name(".best.new").mkdir()
    with pytest.raises(OSError, match="disk full"):
        half_written(folder)
    assert content(folder) == ["a"]


def test_recovery_leaves_a_folder_that_is_there(folder: Path) -> None:
    folder.with_name(".best.old").mkdir()
    recover_folder(folder)
    assert [path.name for path in folder.iterdir()] == ["a"]


def test_the_folder_one_stands_in_can_be_replaced(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    with complete_folder(Path("."), [path.name for path in folder.iterdir()]) as fresh:
        (fresh / "new").write_text("1")
    assert [path.name for path in folder.iterdir()] == ["new"]
