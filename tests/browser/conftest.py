"""Fixtures for tests in a real headless Chromium.

It is found in ``$CHROMIUM`` or on the path. Where there is none, root on Debian gets the system's
own package; elsewhere these tests are skipped, but they fail in CI, where nobody reads a skip.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.browser.lab_page import CHROMIUM_FLAGS, LabPage, LabServer, find_chromium


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
    """A JupyterLab server on an empty folder."""
    server = LabServer(tmp_path_factory.mktemp("notebooks"), tmp_path_factory.mktemp("jupyter"))
    yield server
    server.stop()


@pytest.fixture(scope="package")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pictures of pages go; with $BATCHLAB_SCREENSHOTS they are kept there."""
    kept = os.environ.get("BATCHLAB_SCREENSHOTS")
    folder = Path(kept) if kept else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def opened(chromium: Browser, server: LabServer, screenshots: Path) -> Iterator[LabPage]:
    """A page of its own, without the cookies and the storage of others."""
    context = chromium.new_context(viewport={"width": 1280, "height": 1000})
    context.set_default_timeout(60_000)  # milliseconds; the machine may be busy
    yield LabPage(context.new_page(), server, screenshots)
    context.close()


@pytest.fixture
def lab_page(
    chromium: Browser, lab_server: LabServer, screenshots: Path, request: pytest.FixtureRequest
) -> Iterator[LabPage]:
    """A fresh page, and a picture of it at the end."""
    with opened(chromium, lab_server, screenshots) as page:
        yield page
        page.screenshot(f"{request.node.name}-end")
