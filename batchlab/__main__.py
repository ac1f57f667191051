"""The command ``batchlab``: open the notebooks in JupyterLab."""

from __future__ import annotations

import argparse
import os
import signal
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

from batchlab import __version__, course
from batchlab.files import write_whole

FIRST_NOTEBOOK = "01_fit_baseline.ipynb"
COPIES, SOLVED_COPIES = "batchlab-notebooks", "batchlab-notebooks-solved"
PACKAGE = Path(__file__).resolve().parent


def main(arguments: Sequence[str] | None = None) -> None:
    """Open JupyterLab on the first notebook, and serve it until Ctrl-C.

    Parameters
    ----------
    arguments : sequence of str, optional
        The words of the command line; those of this process by default.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        from jupyterlab.labapp import LabApp
    except ModuleNotFoundError as error:
        parser.error(
            f"JupyterLab is not installed (there is no module {error.name!r}). "
            'Install it with: python -m pip install "batchlab[lab]"'
        )
    if options.port is not None:
        try:
            _check_free(options.port)
        except OSError as error:
            parser.error(
                f"port {options.port} cannot be used ({error.strerror}). "
                "Choose another, or leave --port out to get a free one."
            )
    try:
        folder = _notebook_folder(options.dir, options.solved)
    except OSError as error:
        parser.error(f"cannot put the notebooks into a folder: {error}")
    _serve(LabApp, folder, options.port, options.browser)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="batchlab", description="Open the batchlab notebooks in JupyterLab."
    )
    parser.add_argument(
        "--dir",
        type=Path,
        help="where your copies of the notebooks are, or are to be; a file that is already there is "
        f"kept as it is (default: {COPIES} here, or {SOLVED_COPIES})",
    )
    parser.add_argument(
        "--solved", action="store_true", help="for instructors: copies with solutions and outputs"
    )
    parser.add_argument("--port", type=_port, help="listen on this port (default: a free one)")
    parser.add_argument(
        "--no-browser", dest="browser", action="store_false", help="print the URL, open no browser"
    )
    parser.add_argument("--version", action="version", version=f"batchlab {__version__}")
    return parser


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to 65535, got {text!r}")
    return int(text)


def _check_free(port: int) -> None:
    with socket.socket() as probe:
        if os.name == "posix":  # as the server does: a port that was just left counts as free
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))


def _notebook_folder(wanted: Path | None, solved: bool) -> Path:
    """The folder to open, with copies of the notebooks in it.

    Copies in a clone, too: edits belong to the learner, and solving an exercise in the notebooks
    that the tests compare would make the tests fail.
    """
    installed, cloned = PACKAGE / "notebooks", PACKAGE.parent / "notebooks"
    # In --dir=~/course the shell leaves the ~ to us.
    target = (wanted or Path(SOLVED_COPIES if solved else COPIES)).expanduser()
    if target.is_file():
        raise NotADirectoryError(f"{target} is a file")
    source = installed if installed.is_dir() else cloned
    version = course.solved_copy if solved else course.student_copy
    copied, kept = _copy_new_files(source, target, version)
    for verb, names in (("copied", copied), ("kept as they are", kept)):
        if names:
            print(f"{target}: {verb}: {', '.join(names)}")
    return target.resolve()


def _copy_new_files(
    source: Path, target: Path, version: Callable[[Path], bytes]
) -> tuple[list[str], list[str]]:
    """Write what `target` lacks, as `version` makes it; the names of what is new, and of the rest."""
    copied, kept = [], []
    for path in sorted(source.rglob("*")):
        name = path.relative_to(source)
        if path.is_dir() or any(part.startswith(".") for part in name.parts):
            continue
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(target / name):  # a link that leads nowhere yet is kept, too
            kept.append(str(name))
        else:
            write_whole(target / name, version(path), "--dir")
            copied.append(str(name))
    return copied, kept


def _serve(lab_app: type, folder: Path, port: int | None, browser: bool) -> None:
    arguments = [
        f"--ServerApp.root_dir={folder}",
        f"--LabApp.default_url=/lab/tree/{FIRST_NOTEBOOK}",
        "--Application.log_level=WARN",
    ]
    if port is not None:
        arguments += [f"--ServerApp.port={port}", "--ServerApp.port_retries=0"]
    if not browser:
        arguments.append("--no-browser")
    if getattr(os, "geteuid", lambda: -1)() == 0:
        arguments.append("--allow-root")  # Jupyter refuses root otherwise, e.g. in a container
    server = lab_app.initialize_server(argv=arguments)
    # One Ctrl-C ends it in order, without a question, and where there is no terminal too.
    signal.signal(signal.SIGINT, signal.getsignal(signal.SIGTERM))

    def announce() -> None:
        print(f"JupyterLab: {server.local_url}\nCtrl-C ends it.", flush=True)

    server.io_loop.add_callback(announce)  # in the loop: when the server listens
    server.start()


if __name__ == "__main__":
    main()
