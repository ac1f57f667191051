"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest

from batchlab.files import check_writable, whole_file, write_whole

posix = pytest.mark.skipif(os.name != "posix", reason="links, modes and devices of POSIX")


def test_file_is_replaced_when_it_is_complete_and_not_before(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with whole_file(path, "test") as file:
        file.write(b"new")
        file.flush()
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    with pytest.raises(KeyboardInterrupt), whole_file(path, "test") as file:
        file.write(b"newer")
        raise KeyboardInterrupt
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_text_is_utf_8_and_keeps_its_line_ends(tmp_path: Path) -> None:
    write_whole(tmp_path / "file", "ä\r\n\n", "test")
    assert (tmp_path / "file").read_bytes() == b"\xc3\xa4\r\n\n"


@posix
def test_link_stays_a_link_and_mode_stays_the_mode(tmp_path: Path) -> None:
    path, link = tmp_path / "file", tmp_path / "link"
    path.write_text("old")
    path.chmod(0o664)
    link.symlink_to(path)
    write_whole(link, "new", "test")
    assert link.is_symlink()
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o664
    (tmp_path / "plain").write_text("as open() makes it")
    write_whole(tmp_path / "whole", "new", "test")
    assert (tmp_path / "whole").stat().st_mode == (tmp_path / "plain").stat().st_mode


@posix
def test_link_that_waits_for_a_temporary_file_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("secrets.token_hex", lambda size: "guessed")
    victim, trap = tmp_path / "victim", tmp_path / ".batchlab-guessed.new"
    victim.write_text("mine")
    trap.symlink_to(victim)
    with pytest.raises(FileExistsError, match="test: cannot write .*file'"):
        write_whole(tmp_path / "file", "new", "test")
    assert victim.read_text() == "mine"
    assert trap.is_symlink()


@posix
@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("/dev/null", OSError, "it is no regular file"),
        (".", IsADirectoryError, "it is a directory"),
        ("missing/file", FileNotFoundError, "No such file or directory"),
        ("file/below", NotADirectoryError, "Not a directory"),
        ("x" * 300, OSError, "File name too long"),
        (None, TypeError, "test: path must be a str or a Path, got NoneType"),
        (b"file", TypeError, "got bytes"),
    ],
)
def test_unusable_path_is_refused(
    name: str, error: type[Exception], message: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("old")
    path = tmp_path / name if isinstance(name, str) else name
    for write in (check_writable, lambda path, owner: write_whole(path, "new", owner)):
        with pytest.raises(error, match=message):
            write(path, "test")
    assert [each.name for each in tmp_path.iterdir()] == ["file"]
    assert Path("/dev/null").is_char_device()


def test_file_that_may_only_be_read_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("old")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    with pytest.raises(PermissionError, match="test: cannot write .*it may only be read"):
        write_whole(tmp_path / "file", "new", "test")
    assert (tmp_path / "file").read_text() == "old"


def test_what_killed_processes_left_is_removed_after_an_hour(tmp_path: Path) -> None:
    old, young = tmp_path / ".batchlab-1.new", tmp_path / ".batchlab-2.new"
    for left in (old, young):
        left.write_text("part")
    os.utime(old, (time.time() - 3700,) * 2)
    write_whole(tmp_path / "file", "new", "test")
    assert not old.exists()
    assert young.exists()  # another process may be at work on it
