"""A file is replaced as a whole, or stays as it was."""

import pytest

from hybrid.whole_files import written_beside


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
