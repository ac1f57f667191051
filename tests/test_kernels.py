"""The panel as a kernel and a front end see it: messages, without a browser, on several ipykernels.

Which thread handles a slider's message depends on the version: since ipykernel 7 a front end may
send it through a subshell. The versions that are not installed here are fetched and put before the
installed one, for one kernel each.
"""

from __future__ import annotations

import inspect
import os
import queue
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ipykernel
import psutil
import pytest
from ipykernel.kernelbase import Kernel
from ipykernel.zmqshell import ZMQInteractiveShell
from jupyter_client.manager import KernelManager

NEWEST = ipykernel.__version__
# The last one without subshells, and one that handles their messages in another way than the
# newest; with what they require and the newest does not.
VERSIONS = {"6.31.0": ["nest-asyncio"], "7.3.0": []}
PANEL = """
from batchlab import BatchLab, ClassBalancedSampler, datasets

data = datasets.moons(n=200, share=0.2)
y = data.y_train
lab = BatchLab(data.x_train, y, strategies={"balanced": ClassBalancedSampler(y, 32, balance=0.5)})
lab
"""
BUSY = """
import asyncio, threading, time

threading.Timer(0.5, setattr, (lab.widget.layout, "width", "{width}")).start()
{sleep}
"""
LEFT = "[each.name for each in __import__('threading').enumerate() if each.name == 'BatchLab']"


def install(version: str, folder: Path) -> None:
    """Put this ipykernel into a folder of its own; skip without a package index, but fail in CI."""
    # A virtual environment may have been made without pip: the Python it came from has one.
    for python in (sys.executable, sys._base_executable):
        if subprocess.run([python, "-m", "pip", "--version"], capture_output=True).returncode == 0:
            break
    command = [python, "-m", "pip", "--python", sys.executable, "install", "--no-deps", "--quiet"]
    wanted = [f"ipykernel=={version}", *VERSIONS[version]]
    done = subprocess.run(
        [*command, "--retries=1", "--target", str(folder), *wanted], capture_output=True, text=True
    )
    if done.returncode:
        message = f"ipykernel {version} could not be installed:\n{done.stderr}"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(message)


def test_names_that_ipykernel_does_not_call_public_are_still_there() -> None:
    """`batchlab.lab.kernel` uses them: see there for the versions that they were read in."""
    put_back = "signal(SIGINT, self.saved_sigint_handler)"
    assert put_back in inspect.getsource(Kernel), "Kernel.saved_sigint_handler is gone"
    assert hasattr(ZMQInteractiveShell, "get_parent"), "ZMQInteractiveShell.get_parent is gone"


class FrontEnd:
    """What a notebook page does: run code, keep the state of the widgets, send their changes.

    Parameters
    ----------
    path : Path
        A folder to look for packages in first.
    """

    def __init__(self, path: Path) -> None:
        self.widgets: dict[str, dict[str, Any]] = {}
        self.ended: set[str] = set()
        self.manager = KernelManager(kernel_name="python3")
        known = [str(path), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(known)}
        self.manager.start_kernel(env=environment, cwd=str(Path(__file__).parents[1]))
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=120)

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)

    def listen(self, until: Any, seconds: float = 60) -> None:
        """Take what the kernel publishes, until a condition holds."""
        end = time.monotonic() + seconds
        while not until():
            assert time.monotonic() < end, f"waited {seconds} s in vain"
            try:
                message = self.client.get_iopub_msg(timeout=0.05)
            except queue.Empty:
                continue
            content = message["content"]
            if message["msg_type"] in ("comm_open", "comm_msg") and "state" in content["data"]:
                state = self.widgets.setdefault(content["comm_id"], {})
                state.update(content["data"]["state"])
                for place, buffer in zip(content["data"]["buffer_paths"], message["buffers"]):
                    state[place[0]] = bytes(buffer)
            elif message["msg_type"] == "status" and content["execution_state"] == "idle":
                self.ended.add(message["parent_header"].get("msg_id"))

    def start(self, code: str, **options: Any) -> str:
        """Send a cell; its number."""
        return self.client.execute(code, **options)

    def reply(self, number: str, seconds: float = 120) -> dict[str, Any]:
        """What the kernel answers to a cell; it may answer a moment before it has ended it."""
        found: list[dict[str, Any]] = []

        def answered() -> bool:
            while self.client.shell_channel.msg_ready():
                message = self.client.get_shell_msg()
                if message["parent_header"].get("msg_id") == number:
                    found.append(message["content"])
            return bool(found) and number in self.ended

        self.listen(answered, seconds)
        return found[0]

    def run(self, code: str) -> None:
        reply = self.reply(self.start(code))
        assert reply["status"] == "ok", "\n".join(reply["traceback"])

    def value(self, expression: str) -> str:
        """The ``repr`` of an expression in the kernel."""
        number = self.start("", silent=True, user_expressions={"it": expression})
        result = self.reply(number)["user_expressions"]["it"]
        assert result["status"] == "ok", "\n".join(result["traceback"])
        return result["data"]["text/plain"]

    def wait(self, condition: str, seconds: float = 60) -> None:
        """Wait until an expression is true in the kernel."""
        end = time.monotonic() + seconds
        while self.value(f"bool({condition})") != "True":
            assert time.monotonic() < end, f"after {seconds} s still not true: {condition}"

    def find(self, **state: str) -> str:
        """The widget that has this state, by its comm."""
        (comm,) = self.found(**state)
        return comm

    def found(self, **state: str) -> list[str]:
        """The widgets that have this state, by their comms."""
        return [comm for comm, known in self.widgets.items() if state.items() <= known.items()]

    def pictures(self) -> list[bytes]:
        """What the panel shows in this moment."""
        return [state["value"] for state in self.widgets.values() if state.get("format") == "png"]

    def send(self, comm: str, data: dict[str, Any], subshell: str | None = None) -> None:
        """Tell a widget something, through the main shell or a subshell."""
        message = self.client.session.msg("comm_msg", {"comm_id": comm, "data": data})
        if subshell is not None:
            message["header"]["subshell_id"] = subshell
        self.client.shell_channel.send(message)

    def press(self, button: str, subshell: str | None = None) -> None:
        if button in ("Play", "Pause"):
            self.change("ToggleButtonModel", button, button == "Play", subshell)
            return
        click = {"method": "custom", "content": {"event": "click"}}
        self.send(self.find(_model_name="ButtonModel", description=button), click, subshell)

    def move(self, slider: str, value: float, subshell: str | None = None) -> None:
        self.change("FloatSliderModel", slider, value, subshell)

    def change(self, kind: str, description: str, value: Any, subshell: str | None) -> None:
        self.listen(lambda: self.found(_model_name=kind, description=description))
        update = {"method": "update", "state": {"value": value}, "buffer_paths": []}
        self.send(self.find(_model_name=kind, description=description), update, subshell)

    def new_subshell(self) -> str | None:
        """A subshell, as JupyterLab asks for one for all widgets; None where there are none."""
        request = self.client.session.msg("create_subshell_request", {})
        if "kernel subshells" not in self.features():
            return None
        self.client.control_channel.send(request)
        return self.client.get_control_msg(timeout=60)["content"]["subshell_id"]

    def features(self) -> list[str]:
        return self.reply(self.client.kernel_info()).get("supported_features", [])


@pytest.fixture(scope="module", params=dict.fromkeys([*VERSIONS, NEWEST]))
def page(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FrontEnd]:
    """A front end on a kernel of this version that shows a panel."""
    folder = tmp_path_factory.mktemp("ipykernel")
    if request.param != NEWEST:
        install(request.param, folder)
    page = FrontEnd(folder)
    assert page.value("__import__('ipykernel').__version__") == repr(request.param)
    page.run(PANEL)
    yield page
    page.close()


@pytest.fixture(scope="module")
def subshell(page: FrontEnd) -> str | None:
    return page.new_subshell()


@pytest.fixture(params=["main shell", "subshell"])
def route(request: pytest.FixtureRequest, subshell: str | None) -> str | None:
    """Where a front end may send what a reader does."""
    if request.param == "subshell" and subshell is None:
        pytest.skip("this ipykernel has no subshells")
    return subshell if request.param == "subshell" else None


def test_training_hears_the_sliders_and_shows_pictures(page: FrontEnd, route: str | None) -> None:
    page.press("Play", route)
    page.wait("lab.playing")
    steps, before = page.value("lab.history.steps"), page.pictures()
    page.wait(f"lab.history.steps > {steps} + 5")
    page.listen(lambda: page.pictures() != before)
    page.move("balance", 0.25, route)
    page.wait("lab.sampler.balance == 0.25")
    page.wait("lab.history.steps > lab.history.events[-1].step")  # goes on with it
    assert page.value("lab.history.events[-1].value") == "0.25"

    for value in range(1, 101):
        page.move("balance", value / 100, route)
    page.wait("lab.sampler.balance == 1.0")

    page.press("Pause", route)
    page.wait(f"not {LEFT}")
    steps = int(page.value("lab.history.steps"))
    page.press("Step", route)
    page.wait(f"lab.history.steps == {steps + 1}")
    page.wait(f"not {LEFT}")


def test_a_slider_moved_while_a_cell_is_busy(page: FrontEnd, subshell: str | None) -> None:
    page.press("Play")
    page.wait("lab.playing")
    # With a subshell the cell itself sees the change; without one it comes when the cell is over.
    seconds = 1 if subshell is None else 60
    cell = page.start(f"""
        import time
        end = time.monotonic() + {seconds}
        while lab.sampler.balance != 0.125 and time.monotonic() < end:
            time.sleep(0.01)
        seen = lab.sampler.balance == 0.125
    """)
    page.move("balance", 0.125, subshell)
    assert page.reply(cell)["status"] == "ok"
    assert page.value("seen") == str(subshell is not None)
    page.wait("lab.sampler.balance == 0.125")
    page.press("Pause")
    page.wait(f"not {LEFT}")


def test_buttons_are_heard_while_a_cell_is_busy(page: FrontEnd, subshell: str | None) -> None:
    if subshell is None:
        pytest.skip("this ipykernel has no subshells")
    steps = int(page.value("lab.history.steps"))
    cell = page.start(f"""
        import time
        end = time.monotonic() + 60
        while lab.history.steps < {steps} + 11 and time.monotonic() < end:
            time.sleep(0.01)
        seen = lab.history.steps
    """)
    page.press("Step", subshell)
    page.press("10 steps", subshell)
    assert page.reply(cell)["status"] == "ok"
    assert page.value("seen") == str(steps + 11)
    page.wait(f"not {LEFT}")


@pytest.mark.parametrize(
    "sleep, error",
    [
        ("", ""),
        ("time.sleep(600)", "KeyboardInterrupt"),
        # An interrupt cancels it when the kernel's loop turns for the next time.
        ("while True: await asyncio.sleep(0.1)", "CancelledError"),
    ],
    ids=["idle", "busy", "awaiting"],
)
def test_interrupting_the_kernel_pauses_the_training(
    page: FrontEnd, sleep: str, error: str
) -> None:
    page.press("Play")
    page.wait("lab.playing")
    if sleep:
        # A width that the page has not seen yet says that the cell sleeps: an interrupt that comes
        # before is none of the cell. Another thread sends it, because an interrupt while a message
        # is being sent is lost in what sends it.
        width = f"{uuid.uuid4().int}px"
        cell = page.start(BUSY.format(width=width, sleep=sleep))
        page.listen(lambda: page.found(width=width))
    page.manager.interrupt_kernel()
    if sleep:
        assert page.reply(cell)["ename"] == error
    page.wait(f"not lab.playing and not {LEFT}")
    steps = int(page.value("lab.history.steps"))
    page.press("Step")  # the panel is as ready as before
    page.wait(f"lab.history.steps == {steps + 1}")


def test_restarting_the_kernel_leaves_no_training(page: FrontEnd) -> None:
    page.press("Play")
    page.wait("lab.playing")
    process = psutil.Process(int(page.value("__import__('os').getpid()")))
    page.manager.restart_kernel(now=False)
    page.client.wait_for_ready(timeout=120)
    assert not process.is_running()
    assert page.value(LEFT) == "[]"
