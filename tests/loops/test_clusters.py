"""The files to copy for a cluster do what they say, as far as one machine can tell."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.loops.cluster import REPOSITORY, free_ports

FILES = REPOSITORY / "tests/clusters"


def started(arguments: list[str], **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def by_hand(index: int, ports: list[int], **environment: str) -> subprocess.Popen:
    addresses = [f"127.0.0.1:{port}" for port in ports]
    return started([str(FILES / "by_hand.py"), str(index), *addresses], **environment)


def slurm(index: int, ports: list[int], **environment: str) -> subprocess.Popen:
    given = {"PROCID": str(index), "STEP_NUM_TASKS": "2", "STEP_NODELIST": "localhost"}
    given["STEP_TASKS_PER_NODE"] = "2"
    variables = {f"SLURM_{name}": value for name, value in given.items()}
    return started([str(FILES / "slurm.py")], PORT=str(ports[0]), **variables, **environment)


def kubernetes(index: int, ports: list[int], **environment: str) -> subprocess.Popen:
    job = yaml.safe_load((FILES / "kubernetes.yaml").read_text())
    worker = job["spec"]["tfReplicaSpecs"]["Worker"]
    (container,) = worker["template"]["spec"]["containers"]
    addresses = [f"127.0.0.1:{port}" for port in ports]
    config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
    assert worker["replicas"] == len(ports)
    return started(container["command"][1:], TF_CONFIG=json.dumps(config), **environment)


@pytest.mark.parametrize("start", [by_hand, slurm, kubernetes])
def test_the_file_trains_two_workers(tmp_path: Path, start) -> None:
    first = free_ports(1)[0]
    workers = [start(index, [first, first + 1], CHECKPOINT=str(tmp_path)) for index in range(2)]
    ended = [(*worker.communicate(timeout=600), worker.returncode) for worker in workers]
    assert [code for *_, code in ended] == [0, 0], ended[0][1]
    losses = [json.loads(printed) for printed, *_ in ended]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 4
    assert losses[0][-1] < losses[0][0]
    assert (tmp_path / "checkpoint.npz").exists()
