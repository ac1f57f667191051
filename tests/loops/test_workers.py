"""Workers that are killed, interrupted, stopped, or started with something else, as real processes."""

from __future__ import annotations

import signal
import time

import pytest

from tests.loops.cluster import Process, workers
from tests.loops.test_distributed import assert_same_run

RUN = {"run": "one_run"}
NOTICED = 60  # seconds, after which the others must have ended; measured: 5 to 13


def wait_for(path, processes):
    while not path.exists():
        time.sleep(0.05)
        assert all(each.running.poll() is None for each in processes), processes[0].log.read_text()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The run that nothing stops, on one device; it goes on while the others are killed."""
    return Process(tmp_path_factory.mktemp("whole"), "whole", {**RUN, "kinds": ["1"]})


@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_worker_is_named_and_any_number_goes_on(tmp_path, whole, killed):
    saved = tmp_path / "saved"
    slow = {**RUN, "checkpoint": str(saved), "pause": 0.05}
    together = workers(tmp_path / "killed", slow, slow)
    wait_for(saved / "checkpoint.npz", together)
    together[killed].running.send_signal(signal.SIGKILL)
    error = together[1 - killed].error(NOTICED)
    assert "ConnectionError: train: another worker has gone" in error
    assert "resume(checkpoint, model, loader)" in error

    going_on = {**RUN, "go_on": True, "checkpoint": str(saved)}
    if killed:  # a single device goes on
        ended = [Process(tmp_path, "alone", {**going_on, "kinds": ["1"]}).end()["1"]]
    else:
        three = workers(tmp_path / "three", going_on, going_on, going_on)
        ended = [worker.end()["workers"] for worker in three]
    for run in ended:
        assert_same_run(whole.end()["1"], run)


def test_workers_stop_together(tmp_path):
    """When a callback of one of them says so, and when one of them gets Ctrl-C."""
    stopped = workers(tmp_path / "stopped", RUN, {**RUN, "stop_at": 7})
    ends = [worker.end()["workers"] for worker in stopped]
    assert [len(end["indices"]) for end in ends] == [7, 7]
    assert ends[0] == ends[1]

    saved = tmp_path / "saved"
    slow = {**RUN, "checkpoint": str(saved), "pause": 0.05}
    together = workers(tmp_path / "interrupted", slow, slow)
    wait_for(saved / "checkpoint.npz", together)
    together[1].running.send_signal(signal.SIGINT)
    ends = [worker.end()["workers"] for worker in together]
    assert 0 < len(ends[0]["indices"]) < 100
    assert ends[0] == ends[1]


OTHERS = {
    "the seed": {"seed": 4},
    "the length of the data": {"n": 50},
    "the sampler": {"sampler": "prioritized"},
    "the version of batchlab": {"version": "0.2.0"},
    "epochs": {"epochs": 2},
}


def test_a_worker_with_something_else_is_refused_by_name(tmp_path):
    same = {"run": "refusals", "others": [{}] * len(OTHERS)}
    together = workers(tmp_path, same, {**same, "others": list(OTHERS.values())})
    said = [worker.end()["workers"] for worker in together]
    assert said[0] == said[1]  # every worker hears of it
    assert len(said[0]) == len(OTHERS)
    for (name, other), message in zip(OTHERS.items(), said[0]):
        (value,) = other.values()
        assert f"train: {name} differs between the workers" in message
        assert str(value) in message.lower()
        assert "on worker 1" in message
