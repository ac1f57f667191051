"""The command ``batchlab``: a real server, real folders, a real wheel."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from batchlab import __main__ as cli, __version__, course
from tests.disk import full_disk

REPOSITORY = Path(__file__).parents[1]
NOTEBOOK = cli.FIRST_NOTEBOOK


def python(*words: str, cwd: Path, path: Path = REPOSITORY) -> subprocess.CompletedProcess[str]:
    """Run this Python elsewhere, with the `batchlab` of `path`."""
    environment = {**os.environ, "PYTHONPATH": str(path)}
    return subprocess.run(
        [sys.executable, *words],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@contextmanager
def running(cwd: Path, *words: str, path: Path = REPOSITORY) -> Iterator[tuple[str, list[str]]]:
    """The command as a running server: its URL, and what it printed before. Ends it by Ctrl-C."""
    kinds = ("config", "data", "runtime")
    private = {f"JUPYTER_{kind.upper()}_DIR": str(cwd / f".{kind}") for kind in kinds}
    process = subprocess.Popen(
        [sys.executable, "-m", "batchlab", "--no-browser", *words],
        cwd=cwd,
        env={**os.environ, **private, "PYTHONPATH": str(path)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    watchdog = threading.Timer(180, process.kill)
    watchdog.start()
    try:
        printed = []
        for line in process.stdout:
            if found := re.match(r"JupyterLab: (http://\S+)", line):
                yield found[1], printed
                break
            printed.append(line.rstrip())
        else:
            raise AssertionError(f"the server did not start: {process.stderr.read()}")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
        assert process.returncode == 0, errors
        assert "Traceback" not in errors
    finally:
        watchdog.cancel()
        process.kill()
        process.communicate()


def get(url: str) -> tuple[int, str]:
    """Status and text of a page."""
    try:
        with urllib.request.urlopen(url, timeout=20) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""


def server_and_token(url: str) -> tuple[str, str]:
    server, _, token = re.fullmatch(r"(http://[^/]+)/(.*)\?token=(\w+)", url).groups()
    return server, token


@pytest.fixture
def folder_with_edits(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / NOTEBOOK).write_text("my own edits")
    return folder


def test_version_needs_no_tensorflow(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['tensorflow'] = None; sys.modules['jupyterlab'] = None\n"
        "import batchlab.__main__ as cli; cli.main(['--version'])"
    )
    result = python("-c", code, cwd=tmp_path)
    assert (result.returncode, result.stdout) == (0, f"batchlab {__version__}\n"), result.stderr


def source_of(url: str) -> str:
    """All cells of a notebook that is served at this URL of the contents API."""
    return "".join(cell["source"] for cell in json.loads(get(url)[1])["content"]["cells"])


def test_server_in_a_clone_serves_students_copies(tmp_path: Path) -> None:
    original = (REPOSITORY / "notebooks" / NOTEBOOK).read_bytes()
    with running(tmp_path) as (url, printed):
        server, token = server_and_token(url)
        assert any("copied" in line and NOTEBOOK in line for line in printed)
        served = source_of(f"{server}/api/contents/{NOTEBOOK}?token={token}")
        assert course.YOUR_TURN in served
        assert "### BEGIN" not in served
        assert url.startswith(f"{server}/lab/tree/{NOTEBOOK}?")
        assert get(f"{server}/api/contents/{NOTEBOOK}")[0] == 403  # no token, no notebook
        assert get(f"{server}/api/contents/{NOTEBOOK}?token={token}")[0] == 200
        assert get(url)[0] == 200
        # Loopback only: a server on all interfaces would answer here too.
        port = int(server.rsplit(":", 1)[1])
        with pytest.raises(ConnectionError), socket.create_connection(("127.0.0.2", port), 5):
            pass
    made = [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")]
    assert made == ["batchlab-notebooks"]
    assert (REPOSITORY / "notebooks" / NOTEBOOK).read_bytes() == original


def test_git_does_not_see_the_copies() -> None:
    ignored = (REPOSITORY / ".gitignore").read_text().split()
    assert f"{cli.COPIES}/" in ignored
    assert f"{cli.SOLVED_COPIES}/" in ignored


def test_an_instructor_opens_solved_copies_in_a_folder_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folders = [cli._notebook_folder(None, solved) for solved in (False, True)]
    assert [folder.name for folder in folders] == [cli.COPIES, cli.SOLVED_COPIES]
    student, solved = ((folder / NOTEBOOK).read_text(encoding="utf-8") for folder in folders)
    assert course.YOUR_TURN in student
    assert course.YOUR_TURN not in solved
    assert "### BEGIN" not in solved
    assert len(solved) > len(student)  # the outputs are there


def test_copying_needs_no_tensorflow(tmp_path: Path) -> None:
    """Neither do the copies of the notebooks: the command is to start at once."""
    code = (
        "import sys; sys.modules['tensorflow'] = sys.modules['keras'] = None\n"
        "import batchlab.__main__ as cli; print(cli._notebook_folder(None, False).name)"
    )
    result = python("-c", code, cwd=tmp_path)
    assert result.stdout.endswith("batchlab-notebooks\n"), result.stderr


def test_port_and_folder(folder_with_edits: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with running(folder_with_edits, "--port", str(port), "--dir", ".") as (url, printed):
        server, token = server_and_token(url)
        assert server.endswith(f":{port}")
        assert "my own edits" in get(f"{server}/files/{NOTEBOOK}?token={token}")[1]
    assert f".: kept as they are: {NOTEBOOK}" in printed


def test_copy_never_overwrites(folder_with_edits: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "images").mkdir(parents=True)
    (source / ".ipynb_checkpoints").mkdir()
    for name in (NOTEBOOK, "02_new.md", "images/a.png", ".ipynb_checkpoints/02_new.ipynb"):
        (source / name).write_text(f"original {name}")
    copied, kept = cli._copy_new_files(source, folder_with_edits, Path.read_bytes)
    assert copied == ["02_new.md", str(Path("images/a.png"))]
    assert kept == [NOTEBOOK]
    assert (folder_with_edits / NOTEBOOK).read_text() == "my own edits"
    assert (folder_with_edits / "images/a.png").read_text() == "original images/a.png"
    assert cli._copy_new_files(source, folder_with_edits, Path.read_bytes)[0] == []
    (source / "03_linked.ipynb").write_text("original")
    (folder_with_edits / "03_linked.ipynb").symlink_to(tmp_path / "not there yet")
    assert "03_linked.ipynb" in cli._copy_new_files(source, folder_with_edits, Path.read_bytes)[1]
    assert not (tmp_path / "not there yet").exists()
    assert not (folder_with_edits / ".ipynb_checkpoints").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--port", "0"], "must be a whole number from 1 to 65535, got '0'"),
        (["--port", "65536"], "got '65536'"),
        (["--port", "-1"], "--port"),
        (["--port", "8888.0"], "got '8888.0'"),
        (["--port", "x"], "got 'x'"),
        (["--dir", __file__], "is a file"),
        (["--dir", f"{__file__}/below"], "below"),
        (["--directory-of-notebooks"], "unrecognized arguments"),
    ],
)
def test_bad_words(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_port_taken(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SystemExit):
            cli.main(["--port", str(port)])
    reason = os.strerror(errno.EADDRINUSE)
    assert f"port {port} cannot be used ({reason})" in capsys.readouterr().err


def test_folder_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(self: Path, *args: object, **kwargs: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)  # root may write everywhere, so pretend
    with pytest.raises(SystemExit):
        cli.main(["--dir", str(tmp_path / "locked")])
    error = capsys.readouterr().err
    assert "Permission denied" in error
    assert "locked" in error


def test_home_in_the_name_of_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))  # on Windows
    monkeypatch.chdir(tmp_path)
    assert cli._notebook_folder(Path("~/course"), False) == (tmp_path / "course").resolve()
    assert [path.name for path in tmp_path.iterdir()] == ["course"]


def test_full_disk_leaves_no_part_of_a_notebook(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with full_disk(2000), pytest.raises(SystemExit) as ended:
        cli.main(["--dir", str(tmp_path / "new")])
    assert ended.value.code == 2
    assert re.search(f"cannot write .*{NOTEBOOK}.*File too large", capsys.readouterr().err)
    assert not [path for path in (tmp_path / "new").rglob("*") if path.is_file()]
    copied, kept = cli._copy_new_files(
        REPOSITORY / "notebooks", tmp_path / "new", course.student_copy
    )
    assert NOTEBOOK in copied  # the next call goes on with it
    assert kept == []


def test_jupyterlab_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "jupyterlab", None)
    monkeypatch.setitem(sys.modules, "jupyterlab.labapp", None)
    with pytest.raises(SystemExit):
        cli.main(["--dir", str(tmp_path / "new")])
    assert 'pip install "batchlab[lab]"' in capsys.readouterr().err
    assert not (tmp_path / "new").exists()  # nothing is copied that cannot be opened


def test_installed_wheel_outside_the_repository(tmp_path: Path) -> None:
    command = ["-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    built = python(*command, cwd=REPOSITORY)
    assert built.returncode == 0, built.stderr
    site = tmp_path / "site"
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:  # what pip does with a pure Python wheel
        archive.extractall(site)
    (entry_points,) = site.glob("*.dist-info/entry_points.txt")
    assert "batchlab = batchlab.__main__:main" in entry_points.read_text()

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    where = python("-c", "import batchlab; print(batchlab.__file__)", cwd=elsewhere, path=site)
    assert where.stdout.startswith(str(site)), where.stderr
    before = {path: path.read_bytes() for path in site.rglob("*.ipynb")}
    assert {path.name for path in before} == {
        path.name for path in (REPOSITORY / "notebooks").glob("*.ipynb")
    }
    with running(elsewhere, path=site) as (url, printed):
        server, token = server_and_token(url)
        assert get(f"{server}/api/contents/{NOTEBOOK}?token={token}")[0] == 200
    assert any("copied" in line and NOTEBOOK in line for line in printed)
    mine = elsewhere / "batchlab-notebooks" / NOTEBOOK
    assert mine.read_bytes() == course.student_copy(site / "batchlab/notebooks" / NOTEBOOK)

    mine.write_text("my own edits")
    with running(elsewhere, path=site):
        pass
    assert mine.read_text() == "my own edits"
    assert {path: path.read_bytes() for path in before} == before
