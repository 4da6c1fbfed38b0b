"""Files are written whole or not at all."""

import os

import pytest

from equipoise.errors import UsageError
from equipoise.study.files import prepare, write


def test_a_folder_is_made_and_left_empty(tmp_path):
    folder = prepare(tmp_path / "a" / "b")
    assert folder.is_dir()
    assert not list(folder.iterdir())


def test_a_parent_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "b"):
        with pytest.raises(UsageError, match=r"cannot write to .*name another folder with --out"):
            prepare(folder)


def test_a_folder_that_takes_no_files(tmp_path, monkeypatch):
    # root may write anywhere, so the refusal is the system's own in name only
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(UsageError, match="Permission denied; name another folder"):
        prepare(tmp_path)


@pytest.mark.parametrize("name", ["x" * 300, "a/" * 3000])
def test_a_name_that_is_too_long(tmp_path, name):
    with pytest.raises(UsageError, match="File name too long"):
        prepare(tmp_path / name)


def test_a_folder_in_the_place_of_a_file(tmp_path):
    (tmp_path / "report.html").mkdir()
    with pytest.raises(UsageError, match=r"report\.html is a folder"):
        prepare(tmp_path, ("report.html",))


def test_write_replaces_and_leaves_nothing_behind(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("before")
    assert write(path, "после").read_text(encoding="utf-8") == "после"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_the_mode_is_that_of_any_file(tmp_path):
    (tmp_path / "plain").write_text("")
    written = write(tmp_path / "a.txt", "")
    assert written.stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_error_keeps_what_was_there(tmp_path, monkeypatch, error):
    path = tmp_path / "a.txt"
    path.write_text("before")

    def fail(*args):
        raise error

    monkeypatch.setattr(os, "replace", fail)
    expected = UsageError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected):
        write(path, "after")
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_folder_that_is_gone(tmp_path):
    with pytest.raises(UsageError, match="No such file or directory"):
        write(tmp_path / "gone" / "a.txt", "")
