"""Save, kill, resume: the run ends as if nothing had happened."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from batchlab import RandomSampler, resume, save, train
from batchlab.loops import checkpoint
from tests.loops.models import FeedbackSampler, N, assert_same_weights, loader, model

OPTIONS = {"verbose": 0, "jit_compile": False}


class Stop(Exception):
    pass


def make(kind="conv"):
    """Model and loader as every process builds them; the sampler listens."""
    return model(kind, "adam"), loader(kind, FeedbackSampler(N, 4, seed=2))


@pytest.mark.parametrize("stop_after", range(1, 7))
def test_a_run_that_stops_anywhere_goes_on_as_if_it_had_not(stop_after, tmp_path, monkeypatch):
    whole, source = make()
    expected = train(whole, source, 2, lag=2, **OPTIONS)

    saves = []
    real = checkpoint.save

    def failing(*args, **kwargs):
        real(*args, **kwargs)
        saves.append(args)
        if len(saves) == stop_after:
            raise Stop

    monkeypatch.setattr(checkpoint, "save", failing)
    net, source = make()
    with pytest.raises(Stop):
        train(net, source, 2, lag=2, checkpoint=tmp_path, checkpoint_every=3, **OPTIONS)
    net, source = make()
    history = resume(tmp_path, net, source)
    assert 0 < history.steps < expected.steps or stop_after == 6
    history = train(net, source, 2, lag=2, history=history, **OPTIONS)
    assert_same_weights(net, whole)
    assert history.history == expected.history
    assert history.epoch == [0, 1]
    for ours, theirs in zip(history.indices, expected.indices, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(history.visits, expected.visits)


SCRIPT = """
import sys
from batchlab import resume, train
from tests.loops.test_checkpoint import OPTIONS, make
net, source = make("dense")
try:
    history = resume(sys.argv[1], net, source)
except FileNotFoundError:
    history = None
print("ready", flush=True)
saving = {"checkpoint": sys.argv[1], "checkpoint_every": 3}
train(net, source, 25, history=history, lag=2, **saving, **OPTIONS)
print("done", flush=True)
"""


def test_killed_at_random_moments_a_run_ends_with_the_same_weights(tmp_path):
    rng = np.random.default_rng()
    for attempt in range(8):
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(tmp_path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        assert process.stdout.readline() == "ready\n", process.stderr.read()
        if attempt < 2:
            time.sleep(rng.uniform(0.1, 0.9))
            process.send_signal(signal.SIGKILL)
        output, errors = process.communicate(timeout=120)
        if "done" in output:
            break
        assert process.returncode == -signal.SIGKILL, errors
    assert "done" in output

    killed, source = make("dense")
    history = resume(tmp_path, killed, source)
    whole, source = make("dense")
    expected = train(whole, source, 25, lag=2, **OPTIONS)
    assert_same_weights(killed, whole)
    assert history.history == expected.history
    for ours, theirs in zip(history.indices, expected.indices, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.fixture
def saved(tmp_path):
    net, source = make("dense")
    save(tmp_path, net, source, train(net, source, 1, **OPTIONS))
    return tmp_path


def damage_manifest(path):
    manifest = path / "checkpoint.json"
    manifest.write_text(manifest.read_text()[:-10])


def damage_arrays(path):
    (arrays,) = path.glob("*.npz")
    content = bytearray(arrays.read_bytes())
    content[len(content) // 2] ^= 1
    arrays.write_bytes(content)


def lose_arrays(path):
    next(path.glob("*.npz")).unlink()


def be_foreign(path):
    (path / "checkpoint.json").write_text(json.dumps({"epoch": 3}))


@pytest.mark.parametrize(
    ("harm", "error", "message"),
    [
        (damage_manifest, ValueError, "checkpoint.json .* is damaged"),
        (damage_arrays, ValueError, "missing or damaged"),
        (lose_arrays, ValueError, "missing or damaged"),
        (be_foreign, ValueError, "is no batchlab checkpoint of version 1"),
        (lambda path: (path / "checkpoint.json").unlink(), FileNotFoundError, "there is no"),
    ],
)
def test_damaged_and_foreign_checkpoints_are_refused(saved, harm, error, message):
    harm(saved)
    net, source = make("dense")
    before = net.get_weights(), source.sampler.state_dict()
    with pytest.raises(error, match=message):
        resume(saved, net, source)
    assert source.sampler.state_dict() == before[1]
    for ours, theirs in zip(net.get_weights(), before[0]):
        np.testing.assert_array_equal(ours, theirs)


def test_another_model_optimizer_or_sampler_is_refused(saved):
    for net, source, message in (
        (model("two_outputs"), loader("two_outputs", FeedbackSampler(N, 4)), "another model"),
        (model("dense", "sgd"), loader(sampler=FeedbackSampler(N, 4)), "another model"),
        (model("dense", "adam"), loader(sampler=RandomSampler(N, 4)), "another sampler"),
    ):
        before = net.get_weights()
        with pytest.raises(ValueError, match=message):
            resume(saved, net, source)
        for ours, theirs in zip(net.get_weights(), before):
            np.testing.assert_array_equal(ours, theirs)


def test_a_sampler_without_a_state_is_refused_before_training(tmp_path):
    net = model("dense")
    with pytest.raises(TypeError, match="list has no state_dict"):
        train(net, loader(sampler=[np.arange(4)]), checkpoint=tmp_path, **OPTIONS)
    assert int(net.optimizer.iterations.numpy()) == 0


def test_a_checkpoint_holds_no_pickle_and_only_the_newest_arrays(saved):
    net, source = make("dense")
    history = resume(saved, net, source)
    history.record_event("balance", np.float32(0.5))
    save(saved, net, source, history)
    assert sorted(path.suffix for path in saved.iterdir()) == [".json", ".npz"]
    with np.load(next(saved.glob("*.npz")), allow_pickle=False) as arrays:
        assert all(array.dtype.kind in "iufb" for array in arrays.values())
    assert resume(saved, net, source).events[0].value == 0.5


def test_a_static_sampler_that_is_drawn_ahead_of_resumes_in_mid_epoch(tmp_path, monkeypatch):
    def build():
        return model("dense", "adam"), loader(sampler=RandomSampler(N, 4, seed=1))

    whole, source = build()
    expected = train(whole, source, 2, **OPTIONS)
    real, saves = checkpoint.save, []

    def failing(*args, **kwargs):
        real(*args, **kwargs)
        saves.append(args)
        if len(saves) == 2:
            raise Stop

    monkeypatch.setattr(checkpoint, "save", failing)
    net, source = build()
    streaming = {"checkpoint": tmp_path, "checkpoint_every": 2, "steps_per_call": 1}
    with pytest.raises(Stop):
        train(net, source, 2, resident_limit=1, **streaming, **OPTIONS)
    net, source = build()
    history = resume(tmp_path, net, source)
    assert history.epoch_steps == 4
    history = train(net, source, 2, history=history, **OPTIONS)
    np.testing.assert_array_equal(np.concatenate(history.indices), np.concatenate(expected.indices))
    assert_same_weights(net, whole)
