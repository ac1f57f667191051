"""Save, kill, resume: the run ends as if nothing had happened."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import tracemalloc
import zipfile

import numpy as np
import pytest

from batchlab import History, RandomSampler, resume, save, train
from batchlab.backend import keras
from batchlab.loops import checkpoint
from tests.disk import full_disk
from tests.loops.models import FeedbackSampler, N, assert_same_weights, loader, model

OPTIONS = {"verbose": 0, "jit_compile": False}
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


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
            env=ENVIRONMENT,
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


def python(code, *arguments):
    """What other code prints, in a process of its own."""
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


# One process loads TensorFlow, and its forks die: each after another line of code of its save.
SECOND_SAVE = """
import os, signal, sys
from pathlib import Path
import batchlab.files
import batchlab.loops.checkpoint
from batchlab import resume, save, train
from tests.loops.test_checkpoint import OPTIONS, make

folder, old, new = (Path(each) for each in sys.argv[1:])
def save_and_die_after(lines):
    def traced(frame, event, argument):
        nonlocal lines
        code = frame.f_code.co_filename
        if code in (batchlab.loops.checkpoint.__file__, batchlab.files.__file__):
            lines -= 1
            if lines == 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return traced
    sys.settrace(traced)
    save(folder, *SECOND)
    sys.settrace(None)
    return lines

def loaded(path):
    net, source = make("dense")
    history = resume(path, net, source)
    return net, source, history

def weights(net):
    return [value.tolist() for value in net.get_weights()]

first, SECOND, both = loaded(old), loaded(new), make("dense")
valid = [weights(first[0]), weights(SECOND[0])]
save_and_die_after(10**6)
count = 10**6 - save_and_die_after(10**6)  # the second time: nothing is imported any more
found = []
for point in (*range(1, count, count // 16), count):
    if (child := os.fork()) == 0:
        save(folder, *first)
        save_and_die_after(point)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, (point, status)
    for left in folder.glob(".batchlab-*.new"):
        left.unlink()
    resume(folder, *both)
    found.append(valid.index(weights(both[0])))
print(found, flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_second_save_that_is_killed_anywhere_leaves_one_of_the_two(tmp_path, trained):
    save(tmp_path / "old", *trained)
    other, source = make("dense")
    history = resume(tmp_path / "old", other, source)
    other.set_weights([value + 1 for value in other.get_weights()])  # another run, at the same step
    save(tmp_path / "new", other, source, history)
    folders = [str(tmp_path / name) for name in ("both", "old", "new")]
    output = python(SECOND_SAVE, *folders)
    found = json.loads(output)
    assert len(found) > 12
    assert found == sorted(found)  # first the old one, then the new one
    assert set(found) == {0, 1}


TWO_PROCESSES = """
import os, sys
from batchlab import resume, save
from tests.loops.test_checkpoint import make
net, source = make("dense")
history = resume(sys.argv[1], net, source)
child = os.fork()
for _ in range(20):
    save(sys.argv[1], net, source, history)
    resume(sys.argv[1], net, source)
if child == 0:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
print("both went on")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_two_processes_that_save_to_one_directory_both_go_on(saved):
    assert python(TWO_PROCESSES, str(saved)) == "both went on\n"


@pytest.fixture(scope="module")
def trained():
    net, source = make("dense")
    return net, source, train(net, source, 1, **OPTIONS)


@pytest.fixture
def saved(tmp_path, trained):
    save(tmp_path, *trained)
    return tmp_path


def assert_refused(path, error, message):
    """`resume` raises, and model, sampler and files are what they were."""
    net, source = make("dense")
    before = net.get_weights(), source.sampler.state_dict(), contents(path)
    with pytest.raises(error, match=message):
        resume(path, net, source)
    assert source.sampler.state_dict() == before[1]
    assert contents(path) == before[2]
    for ours, theirs in zip(net.get_weights(), before[0], strict=True):
        np.testing.assert_array_equal(ours, theirs)


def contents(path):
    return {file.name: file.read_bytes() for file in path.iterdir()}


def flipped(place):
    def changed(content):
        place_in_file = int(place * len(content)) if isinstance(place, float) else place
        content = bytearray(content)
        content[place_in_file] ^= 1
        return content

    return changed


@pytest.mark.parametrize(
    "changed",
    [
        lambda content: content.replace(b'"epochs": 1', b'"epochs": 3'),
        lambda content: content[:-10],
        lambda content: content[: len(content) // 2],
        lambda content: content + b" ",
        lambda content: b"",
        lambda content: b"{}",
        *map(flipped, (0, -1, -70, -100, *np.linspace(0.01, 0.99, 9).tolist())),
    ],
)
def test_one_changed_byte_anywhere_is_found(saved, changed):
    content = (saved / "checkpoint.npz").read_bytes()
    assert changed(content) != content
    (saved / "checkpoint.npz").write_bytes(changed(content))
    assert_refused(saved, ValueError, "checkpoint.npz in .* is damaged.*start anew")


def without(*keys):
    def changed(manifest, arrays):
        for key in keys[:-1]:
            manifest = manifest[key]
        del manifest[keys[-1]]

    return changed


def set_to(value, *keys):
    def changed(manifest, arrays):
        for key in keys[:-1]:
            manifest = manifest[key]
        manifest[keys[-1]] = value

    return changed


def array(name, value):
    return lambda manifest, arrays: arrays.update({name: value})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (without("variables"), "is damaged.*'variables'"),
        (without("sampler"), "is damaged.*'sampler'"),
        (without("history"), "is damaged.*'history'"),
        *((without("history", key), f"is damaged.*{key}") for key in ("keep", "steps", "epochs")),
        (without("sampler", "parameters"), "cannot load this state: it has no 'parameters'"),
        (set_to(None, "sampler"), "cannot load this state"),
        (set_to(3, "variables"), "is damaged"),
        (set_to("DEEP", "history", "history", "loss"), "is damaged.*RecursionError"),
        (set_to(3, "version"), "no checkpoint of version 2 .*it says .* version 3"),
        (set_to("other", "format"), "it says 'other'"),
        (set_to(10**9, "history", "n"), "made with 1000000000 samples"),
        (set_to(10**9, "history", "steps"), "history_step_losses is float32 .*not float32"),
        (lambda manifest, arrays: arrays.pop("variable_0"), "is damaged.*variable_0"),
        (lambda manifest, arrays: arrays.pop("history_visits"), "is damaged.*history_visits"),
        (array("variable_0", np.zeros((9, 9), np.float32)), r"variable_0 is float32 \(9, 9\)"),
        (array("variable_0", np.zeros((4, 6))), "variable_0 is float64"),
        (array("history_losses", np.zeros(3, np.float32)), "do not fit together"),
        (
            array("history_indices", np.zeros((3, 9), np.int32)),
            r"history_indices is int32 \(3, 9\)",
        ),
    ],
)
def test_a_file_that_was_made_up_is_refused(saved, changed, message):
    """Even with the right SHA-256."""
    with np.load(saved / "checkpoint.npz") as file:
        manifest = json.loads(file["manifest.json"])
        arrays = {name: file[name] for name in file.files if name != "manifest.json"}
    changed(manifest, arrays)
    text = json.dumps(manifest).replace('"DEEP"', "[" * 10**5 + "]" * 10**5)
    with open(saved / "checkpoint.npz", "w+b") as file:
        checkpoint._write(file, text, arrays)
    assert_refused(saved, ValueError, message)


def test_a_small_file_that_would_be_large_in_memory_is_refused_unread(saved):
    with open(saved / "checkpoint.npz", "w+b") as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.comment = bytes(64)
            archive.writestr("manifest.json", " " * 10**8)
        digest = checkpoint._digest(file)
        file.seek(-64, os.SEEK_END)
        file.write(digest)
    net, source = make("dense")
    tracemalloc.start()
    with pytest.raises(ValueError, match="it is compressed"):
        resume(saved, net, source)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10**7


def test_where_there_is_no_checkpoint_or_an_older_one(saved, tmp_path):
    (saved / "checkpoint.npz").unlink()
    assert_refused(saved, FileNotFoundError, "resume: there is no checkpoint.npz in ")
    (saved / "checkpoint.json").write_text("{}")
    assert_refused(saved, ValueError, "is of version 1 .*reads version 2.*start anew")
    with pytest.raises(FileNotFoundError, match="there is no checkpoint.npz in"):
        resume(saved / "checkpoint.json", *make("dense"))
    with pytest.raises(TypeError, match="resume: path must be a str or a Path, got NoneType"):
        resume(None, *make("dense"))


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


def test_a_checkpoint_is_one_file_without_a_pickle(saved):
    net, source = make("dense")
    history = resume(saved, net, source)
    history.record_event("balance", np.float32(0.5))
    save(saved, net, source, history)
    (file,) = saved.iterdir()
    with np.load(file, allow_pickle=False) as arrays:
        assert isinstance(arrays["manifest.json"], bytes)
        kinds = {array.dtype.kind for array in arrays.values() if isinstance(array, np.ndarray)}
    assert kinds <= set("iufb")
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


@pytest.mark.parametrize("size", [0, 100, 5000])
def test_a_full_disk_leaves_the_old_checkpoint_and_nothing_else(saved, trained, size):
    before = contents(saved)
    with full_disk(size), pytest.raises(OSError, match="checkpoint: cannot write .*File too large"):
        save(saved, *trained)
    assert contents(saved) == before
    assert resume(saved, *make("dense")).steps == 7


def test_a_state_that_is_no_json_is_refused_and_the_old_checkpoint_stays(saved, trained):
    before = contents(saved)
    with pytest.raises(TypeError, match="checkpoint: a set in the sampler's state .* plain JSON"):
        save(saved, *trained, sampler_state={"seen": {1, 2}})
    assert contents(saved) == before


def file_in_the_way(path):
    path.write_text("mine")
    return path


def below_a_file(path):
    return file_in_the_way(path) / "below"


def folder_in_the_way(path):
    (path / "checkpoint.npz").mkdir(parents=True)
    return path


def pipe_in_the_way(path):
    path.mkdir()
    os.mkfifo(path / "checkpoint.npz")
    return path


def none_at_all(path):
    return 3


@pytest.mark.parametrize(
    ("spoilt", "error", "message"),
    [
        (file_in_the_way, NotADirectoryError, "it is no directory"),
        (below_a_file, NotADirectoryError, "Not a directory"),
        (folder_in_the_way, IsADirectoryError, "it is a directory"),
        (pipe_in_the_way, OSError, "it is no regular file"),
        (none_at_all, TypeError, "path must be a str or a Path, got int"),
    ],
)
def test_an_unusable_path_is_found_before_the_first_step(tmp_path, spoilt, error, message):
    path = spoilt(tmp_path / "runs")
    net, source = make("dense")
    with pytest.raises(error, match=f"train: checkpoint: .*{message}"):
        train(net, source, checkpoint=path, **OPTIONS)
    assert source.sampler.state_dict() == make("dense")[1].sampler.state_dict()
    assert net.optimizer.iterations == 0
    with pytest.raises(error, match=f"checkpoint: .*{message}"):
        save(path, net, source, History(N))


def test_a_disk_that_is_full_already_is_found_before_the_first_step(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    net, source = make("dense")
    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(OSError, match="train: checkpoint: cannot write .*No space left on device"):
        train(net, source, checkpoint=tmp_path, **OPTIONS)
    assert net.optimizer.iterations == 0


def test_weights_that_numpy_has_no_name_for(tmp_path):
    def build():
        keras.utils.set_random_seed(1)
        dense = keras.layers.Dense(3, "softmax", dtype="bfloat16")
        net = keras.Sequential([keras.Input((4,)), dense])
        net.compile("adam", "sparse_categorical_crossentropy")
        return net, loader("dense", RandomSampler(N, 4))

    net, source = build()
    save(tmp_path, net, source, train(net, source, 1, **OPTIONS))
    again, source = build()
    resume(tmp_path, again, source)
    assert_same_weights(again, net)


def test_a_missing_file_of_the_data_is_no_missing_checkpoint(saved, monkeypatch):
    def gather(*_):
        raise FileNotFoundError(errno.ENOENT, "No such file", "x.npy")

    monkeypatch.setattr(checkpoint, "build", gather)
    with pytest.raises(FileNotFoundError, match="x.npy"):
        resume(saved, *make("dense"))
