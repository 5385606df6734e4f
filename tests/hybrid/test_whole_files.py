"""A file or a folder is there as a whole, or as it was."""

import os

import pytest

from hybrid.whole_files import first_folder, written_beside


def test_what_was_written_takes_the_place(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with written_beside(path) as beside:
        beside.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert [file.name for file in tmp_path.iterdir()] == ["file.txt"]


def half_written(path):
    path.write_text("half")
    raise OSError("disk full")


def test_after_an_error_nothing_has_changed(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")
    with pytest.raises(OSError, match="disk full"), written_beside(path) as beside:
        half_written(beside)
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["file.txt"]


def filled(target, text):
    with first_folder(target, "proof") as fresh:
        (fresh / "proof").write_text(text)


def test_of_two_processes_that_write_a_folder_the_first_one_stays(tmp_path):
    target = tmp_path / "cache" / "data"
    with first_folder(target, "proof") as fresh:
        (fresh / "proof").write_text("slow")
        filled(target, "quick")
    assert (target / "proof").read_text() == "quick"
    assert [path.name for path in target.parent.iterdir()] == ["data"]


def test_a_folder_that_is_not_whole_goes(tmp_path):
    (tmp_path / "data" / "rest").mkdir(parents=True)
    filled(tmp_path / "data", "new")
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["proof"]


def test_after_an_error_there_is_no_folder(tmp_path):
    def half(target):
        with first_folder(target, "proof") as fresh:
            half_written(fresh / "proof")

    with pytest.raises(OSError, match="disk full"):
        half(tmp_path / "data")
    assert not list(tmp_path.iterdir())


def test_others_may_read_the_folder_as_they_may_any_other(tmp_path):
    filled(tmp_path / "data", "new")
    (tmp_path / "plain").mkdir()
    assert os.stat(tmp_path / "data").st_mode == os.stat(tmp_path / "plain").st_mode
