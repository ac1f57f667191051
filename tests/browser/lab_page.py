"""A real JupyterLab server, and a page of it in a real browser."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import nbformat
from nbformat.v4 import new_code_cell, new_notebook

CHROMIUM_NAMES = (os.environ.get("CHROMIUM"), "chromium", "chromium-browser", "google-chrome")
CHROMIUM_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

# Each of JupyterLab's own questions that would cover the page, answered beforehand.
SETTINGS = {
    "@jupyterlab/apputils-extension/notification.jupyterlab-settings": {
        "fetchNews": "false",
        "checkForUpdates": False,
    },
}

# JupyterLab shows "idle" before a kernel is connected, and drops what is run until then.
KERNEL_READY = """() => {
    const panel = window.jupyterapp?.shell.currentWidget;
    const context = panel?.sessionContext;
    return Boolean(panel?.content?.widgets?.length && panel.context.isReady && context?.isReady
        && context.session?.kernel?.connectionStatus === 'connected');
}"""


def find_chromium() -> str | None:
    """The path of a Chromium, if there is one."""
    return next(filter(None, (shutil.which(name) for name in CHROMIUM_NAMES if name)), None)


class LabServer:
    """JupyterLab serving one folder, with all of its own files in another.

    Parameters
    ----------
    folder : Path
        Holds the notebooks.
    private : Path
        For configuration, data, workspaces and the log; nothing of the user's own is read.
    """

    def __init__(self, folder: Path, private: Path) -> None:
        self.folder = folder
        self.log = private / "server.log"
        settings = private / "settings"
        for name, values in SETTINGS.items():
            path = settings / name
            path.parent.mkdir(parents=True)
            path.write_text(json.dumps(values))
        environment = {
            **os.environ,
            "JUPYTER_CONFIG_DIR": str(private / "config"),
            "JUPYTER_DATA_DIR": str(private / "data"),
            "JUPYTER_RUNTIME_DIR": str(private / "runtime"),
            "IPYTHONDIR": str(private / "ipython"),
        }
        command = [
            *(sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"),
            f"--ServerApp.root_dir={folder}",
            f"--LabApp.user_settings_dir={settings}",
            f"--LabApp.workspaces_dir={private / 'workspaces'}",
            "--LabApp.expose_app_in_browser=True",
        ]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        self.url, self.token = self._wait_until_up(private / "runtime")

    def _wait_until_up(self, runtime: Path, seconds: float = 60) -> tuple[str, str]:
        """Where the server listens, and the token it asks for, from the file it writes at last."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None:
            for path in runtime.glob("jpserver-*.json"):
                if text := path.read_text():
                    info = json.loads(text)
                    return info["url"], info["token"]
            time.sleep(0.1)
        self.stop()
        raise RuntimeError(f"JupyterLab did not start:\n{self.log.read_text()}")

    def add_notebook(self, name: str, *cells: str) -> Path:
        """Write a notebook of these code cells into the server's folder; its path."""
        spec = {"name": "python3", "display_name": "Python 3", "language": "python"}
        notebook = new_notebook(
            cells=[new_code_cell(cell) for cell in cells], metadata={"kernelspec": spec}
        )
        path = self.folder / name
        nbformat.write(notebook, path)
        return path

    def stop(self) -> None:
        """Stop the server; it stops its kernels."""
        self.process.terminate()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class LabPage:
    """One browser page on a notebook: run cells, look at outputs, take pictures.

    Parameters
    ----------
    page : playwright.sync_api.Page
        Use it directly for everything that a reader does with mouse and keyboard.
    server : LabServer
        What the page shows.
    screenshots : Path
        Where :meth:`screenshot` writes.
    """

    def __init__(self, page: Any, server: LabServer, screenshots: Path) -> None:
        self.page = page
        self.server = server
        self.screenshots = screenshots

    def open(self, notebook: str) -> None:
        """Open a notebook, named relative to the server's folder, and wait for its kernel."""
        # "reset" closes the tabs that an earlier page of this server left open.
        self.page.goto(f"{self.server.url}lab/tree/{notebook}?reset&token={self.server.token}")
        self.page.wait_for_function(KERNEL_READY, timeout=60_000)

    def run_all(self, timeout: float = 120) -> None:
        """Run all cells; fails with the traceback if one of them raises an error."""
        self._command("notebook:run-all-cells", timeout)
        self._check_outputs()

    def run_cells(self, *numbers: int, timeout: float = 120) -> None:
        """Run the cells of these positions (0 is the first cell, texts counted), one by one."""
        for number in numbers:
            self.select(number)
            self._command("notebook:run-cell", timeout)
        self._check_outputs()

    def select(self, number: int) -> None:
        """Make a cell the active one, in sight."""
        self.page.evaluate(
            """async number => {
                const notebook = window.jupyterapp.shell.currentWidget.content;
                notebook.deselectAll();
                notebook.activeCellIndex = number;
                await notebook.scrollToItem(number, 'start');
            }""",
            number,
        )

    def cell(self, source: str) -> Any:
        """The cell that begins with this source, as a locator."""
        code = source.partition("\n")[0]
        return self.page.locator(".jp-Notebook .jp-CodeCell").filter(has_text=code)

    def restart_kernel(self) -> None:
        """Restart the kernel, as a reader would, and wait for the new one."""
        old = self.in_kernel("__import__('os').getpid()")
        self.page.evaluate("void window.jupyterapp.commands.execute('notebook:restart-kernel')")
        self.page.locator(".jp-Dialog button.jp-mod-accept").click()
        self.page.wait_for_function(KERNEL_READY, timeout=60_000)
        assert self.in_kernel("__import__('os').getpid()") != old

    def outputs(self, number: int) -> list[dict[str, Any]]:
        """What a code cell has put out, as in the notebook file."""
        return self.page.evaluate(
            "number => window.jupyterapp.shell.currentWidget.content.widgets[number]"
            ".model.outputs?.toJSON() ?? []",
            number,
        )

    def text(self, number: int) -> str:
        """All text that a code cell has put out: its prints and the values it shows."""
        parts = []
        for output in self.outputs(number):
            part = output.get("text") or output.get("data", {}).get("text/plain", "")
            parts.append(part if isinstance(part, str) else "".join(part))
        return "".join(parts)

    def in_kernel(self, expression: str) -> str:
        """What a Python expression is in the kernel right now, as its ``repr``; no cell is run."""
        result = self.page.evaluate(
            """async expression => {
                const { kernel } = window.jupyterapp.shell.currentWidget.sessionContext.session;
                const request = {
                    code: '', silent: true, store_history: false, user_expressions: { expression },
                };
                const reply = await kernel.requestExecute(request).done;
                return reply.content.user_expressions.expression;
            }""",
            expression,
        )
        assert result["status"] == "ok", "\n".join(result["traceback"])
        return result["data"]["text/plain"]

    def wait_in_kernel(self, condition: str, timeout: float = 60) -> None:
        """Wait until a Python expression is true in the kernel.

        Widgets hold a change back until the kernel has answered the one before, so what a reader
        does arrives a moment later.
        """
        end = time.monotonic() + timeout
        while self.in_kernel(f"bool({condition})") != "True":
            assert time.monotonic() < end, f"after {timeout} s still not true: {condition}"
            self.page.wait_for_timeout(50)

    def save(self) -> None:
        """Save the notebook to the server's folder."""
        self._command("docmanager:save", 20)

    def use_theme(self, name: str) -> None:
        """Switch to "JupyterLab Light" or "... Dark"; the server keeps it for later pages."""
        self._command("apputils:change-theme", 20, {"theme": name})
        light = "false" if "Dark" in name else "true"
        self.page.wait_for_selector(f"body[data-jp-theme-light={light}]", state="attached")

    def toggle_sidebar(self) -> None:
        """Hide or show the list of files."""
        self._command("application:toggle-left-area", 20)

    def screenshot(self, name: str) -> Path:
        """A picture of what is in sight, as ``name.png``; its path."""
        path = self.screenshots / f"{name}.png"
        self.page.screenshot(path=path)
        return path

    def _command(self, command: str, timeout: float, args: dict[str, Any] | None = None) -> None:
        """Execute a command of JupyterLab and wait, at most `timeout` seconds, until it is done."""
        self.page.evaluate(
            """([command, args]) => {
                window.commandState = 'running';
                window.jupyterapp.commands.execute(command, args).then(
                    () => { window.commandState = 'done'; },
                    error => { window.commandState = String(error); });
            }""",
            [command, args or {}],
        )
        self.page.wait_for_function("window.commandState !== 'running'", timeout=timeout * 1000)
        state = self.page.evaluate("window.commandState")
        assert state == "done", f"{command}: {state}"

    def _check_outputs(self) -> None:
        count = self.page.evaluate("window.jupyterapp.shell.currentWidget.content.widgets.length")
        for number in range(count):
            for output in self.outputs(number):
                if output["output_type"] == "error":
                    traceback = "\n".join(output["traceback"])
                    raise AssertionError(f"cell {number} of the notebook failed:\n{traceback}")
