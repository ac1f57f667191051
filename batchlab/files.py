"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

_ABANDONED = 3600.0  # seconds since the last write to a file: whoever wrote it was killed


@contextmanager
def whole_file(path: str | os.PathLike[str], owner: str) -> Iterator[BinaryIO]:
    """A new file, open to write and read, that takes the place of `path` when it is complete.

    Until then, and for good if anything goes wrong, `path` is what it was. Others see the old file
    or the new one, never a part, and two processes may write one `path`: the last one stays. What
    a killed process leaves, ``.batchlab-….new``, is removed by a later call, after an hour.

    Parameters
    ----------
    path : path
        A link is followed; the file that it leads to is replaced.
    owner : str
        Who writes, for messages.

    Raises
    ------
    TypeError
        If `path` is no path.
    OSError
        If the file cannot be written, in the class that fits, such as PermissionError.
    """
    with _explained(path, owner):
        target = _target(path)
        _remove_abandoned(target.parent)
        new = target.with_name(f".batchlab-{secrets.token_hex(8)}.new")
        with open(new, "x+b") as file:  # "x": never through a link or into another's file
            try:
                yield file
                file.flush()
                os.fsync(file.fileno())
                file.close()  # Windows moves no open file
                if target.exists():
                    shutil.copymode(target, new)
                os.replace(new, target)  # the one moment in which `path` changes
            except BaseException:
                with suppress(OSError):  # closing writes what is left: to a full disk, once more
                    file.close()
                with suppress(OSError):
                    new.unlink()
                raise


def write_whole(path: str | os.PathLike[str], content: str | bytes, owner: str) -> None:
    """Write `content`, text as UTF-8, by :func:`whole_file`."""
    with whole_file(path, owner) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def check_writable(path: str | os.PathLike[str], owner: str) -> None:
    """Raise now what :func:`whole_file` would raise about `path` later."""
    with _explained(path, owner), tempfile.TemporaryFile(dir=_target(path).parent):
        pass


def made_folder(path: str | os.PathLike[str], owner: str) -> Path:
    """The folder `path`, made if it does not exist; errors as in :func:`whole_file`."""
    with _explained(path, owner):
        folder = Path(path)
        if folder.exists() and not folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "it is no directory")
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def check_path(path: Any, owner: str) -> None:
    """Refuse what is no path."""
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"{owner}: path must be a str or a Path, got {type(path).__name__}.")


@contextmanager
def _explained(path: Any, owner: str) -> Iterator[None]:
    check_path(path, owner)
    try:
        yield
    except OSError as error:
        raise OSError(
            error.errno,
            f"{owner}: cannot write {os.fspath(path)!r} ({error.strerror or error}). What was there "
            "is as it was. Choose a path that can be written, or make room for it",
        ) from error


def _target(path: str | os.PathLike[str]) -> Path:
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, "it is a directory")
    if target.exists() and not target.is_file():  # such as /dev/null: it must not be replaced
        raise OSError(errno.EINVAL, "it is no regular file")
    if target.exists() and not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, "it may only be read")
    return target


def _remove_abandoned(folder: Path) -> None:
    for file in folder.glob(".batchlab-*.new"):
        with suppress(OSError):  # another process may be just as tidy
            if time.time() - file.stat().st_mtime > _ABANDONED:
                file.unlink()
