"""Fixtures for tests in a real headless Chromium.

It is found in ``$CHROMIUM`` or on the path. Where there is none, root on Debian gets the system's
own package; elsewhere these tests are skipped, but they fail in CI, where nobody reads a skip.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.browser.lab_page import CHROMIUM_FLAGS, LabPage, LabServer

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
NAMES = (os.environ.get("CHROMIUM"), "chromium", "chromium-browser", "google-chrome")


def find_chromium() -> str | None:
    """The path of a Chromium, if there is one."""
    return next(filter(None, (shutil.which(name) for name in NAMES if name)), None)


def install_chromium() -> None:
    """Debian's own package, where this process may install it; quietly nothing elsewhere."""
    if getattr(os, "geteuid", lambda: 1)() == 0 and shutil.which("apt-get"):
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "timeout": 900}
        subprocess.run(["apt-get", "update"], check=False, **quiet)
        command = ["apt-get", "install", "-y", "--no-install-recommends", "chromium"]
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(command, check=False, env=environment, **quiet)


# Package scope, not session: while Playwright runs, its event loop occupies this thread, and the
# notebooks' tests, which come later, need one of their own.
@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """A headless Chromium."""
    path = find_chromium()
    if path is None:
        install_chromium()
        path = find_chromium()
    if path is None:
        message = "no Chromium found: install it, or name it in the environment variable CHROMIUM"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(message)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def lab_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabServer]:
    """A JupyterLab server on copies of the notebooks."""
    folder = tmp_path_factory.mktemp("notebooks")
    shutil.copytree(NOTEBOOKS, folder, dirs_exist_ok=True)
    server = LabServer(folder, tmp_path_factory.mktemp("jupyter"))
    yield server
    server.stop()


@pytest.fixture
def lab_page(
    chromium: Browser, lab_server: LabServer, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[LabPage]:
    """A fresh page; with $BATCHLAB_SCREENSHOTS its pictures, the last one too, are kept there."""
    kept: Any = os.environ.get("BATCHLAB_SCREENSHOTS")
    screenshots = Path(kept) if kept else tmp_path
    screenshots.mkdir(parents=True, exist_ok=True)
    context = chromium.new_context(viewport={"width": 1400, "height": 1000})
    lab = LabPage(context.new_page(), lab_server, screenshots)
    yield lab
    lab.screenshot(f"{request.node.name}-end")
    context.close()
