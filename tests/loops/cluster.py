"""Start the processes that the tests of distributed training need, and hear what they trained."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Process:
    """One process that runs a job of :mod:`tests.loops.replicas`."""

    def __init__(self, folder: Path, name: str, job: dict[str, Any], **environment: str) -> None:
        self.result, self.log = folder / f"{name}.json", folder / f"{name}.log"
        self.running = subprocess.Popen(
            [sys.executable, "-m", "tests.loops.replicas", str(self.result), json.dumps(job)],
            cwd=REPOSITORY,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
            stdout=subprocess.DEVNULL,
            stderr=self.log.open("w"),
        )

    def end(self, seconds: float = 600) -> dict[str, Any]:
        """What it trained, when it has ended as it should."""
        assert self.running.wait(seconds) == 0, self.log.read_text()[-3000:]
        return json.loads(self.result.read_text())

    def error(self, seconds: float) -> str:
        """What it wrote, when it has ended with an error as it must."""
        assert self.running.wait(seconds) == 1, self.log.read_text()[-3000:]
        return self.log.read_text()


def workers(folder: Path, *jobs: dict[str, Any]) -> list[Process]:
    """Processes that train together, worker 0 first."""
    folder.mkdir(parents=True, exist_ok=True)
    addresses = [f"127.0.0.1:{port}" for port in free_ports(len(jobs))]
    return [
        Process(
            folder,
            f"worker{index}",
            {"kinds": ["workers"], **job},
            TF_CONFIG=json.dumps(
                {
                    "cluster": {"worker": addresses},
                    "task": {"type": "worker", "index": index},
                }
            ),
        )
        for index, job in enumerate(jobs)
    ]
