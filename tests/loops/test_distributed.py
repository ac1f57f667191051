"""Several devices or processes train as one: the same batches, weights, logs and priorities."""

from __future__ import annotations

import numpy as np
import pytest

from tests.loops.cluster import Process, workers
from tests.loops.replicas import OPTIMIZERS
from tests.samplers.strategies import STRATEGIES

TOLERANCE = 2e-6  # a sum over parts is rounded otherwise than one over all
KINDS = ["2", "4", "worker 0", "worker 1"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """What one device, 2 and 4 devices, and two processes trained."""
    folder = tmp_path_factory.mktemp("trained")
    together = workers(folder, *[{"run": "everything"}] * 2)
    results = {f"worker {index}": worker.end()["workers"] for index, worker in enumerate(together)}
    devices = Process(folder, "devices", {"run": "everything", "kinds": ["1", "2", "4"]})
    return {**results, **devices.end()}


def assert_same_run(one, other, tolerance=TOLERANCE):
    assert other["indices"] == one["indices"]
    for name in ("weights", "losses"):
        for ours, theirs in zip(one[name], other[name], strict=True):
            np.testing.assert_allclose(theirs, ours, atol=tolerance, err_msg=name)
    assert other["logs"].keys() == one["logs"].keys()
    for name, values in one["logs"].items():
        np.testing.assert_allclose(other["logs"][name], values, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_several_devices_train_as_one_with_every_sampler(trained, strategy, kind):
    one, other = (trained[k]["samplers"][strategy] for k in ("1", kind))
    assert_same_run(one, other)
    assert {"val_loss", "val_accuracy", "weighted_accuracy"} < one["logs"].keys()
    restored = [STRATEGIES[strategy](batch_size=14, seed=3) for _ in range(2)]
    for sampler, run in zip(restored, (one, other)):
        sampler.load_state_dict(run["state"])
    chances = [sampler.probabilities for sampler in restored]
    if chances[0] is not None:  # also what it learnt is the same
        np.testing.assert_allclose(*chances, rtol=1e-4)


EVERYWHERE = [("global_clipnorm", kind) for kind in KINDS]
ON_FOUR = [(name, "4") for name in OPTIMIZERS if name != "global_clipnorm"]


@pytest.mark.parametrize(("optimizer", "kind"), [*EVERYWHERE, *ON_FOUR])
def test_several_devices_train_as_one_with_every_option(trained, optimizer, kind):
    one, other = (trained[k]["optimizers"][optimizer] for k in ("1", kind))
    assert len(one["indices"][-1]) == 2  # fewer than there are replicas
    assert_same_run(one, other)


@pytest.fixture(scope="module")
def on_four(tmp_path_factory):
    folder = tmp_path_factory.mktemp("four")
    jobs = {"layers_and_steps": ["1", "4"], "impossible": ["4"]}
    started = {run: Process(folder, run, {"run": run, "kinds": jobs[run]}) for run in jobs}
    return {run: process.end() for run, process in started.items()}


@pytest.mark.parametrize(
    ("what", "tolerance"),
    [
        ("synchronized BatchNormalization", 2e-5),  # it divides by a difference of two sums
        ("a constraint", TOLERANCE),
        ("a step of one's own", TOLERANCE),
    ],
)
def test_four_devices_train_as_one(on_four, what, tolerance):
    one, four = (on_four["layers_and_steps"][kind][what] for kind in "14")
    assert_same_run(one, four, tolerance)


@pytest.mark.parametrize("what", ["BatchNormalization", "Dropout"])
def test_what_differs_on_several_devices_is_as_documented(on_four, what):
    one, four = (on_four["layers_and_steps"][kind][what] for kind in "14")
    assert one["indices"] == four["indices"]
    assert np.isfinite(four["logs"]["loss"]).all()
    assert not np.allclose(one["logs"]["loss"], four["logs"]["loss"], rtol=1e-3)


IMPOSSIBLE = [
    "run_eagerly",
    "gradient_accumulation_steps",
    "ema_overwrite_frequency",
    "loss scaling",
    "the reduction 'sum'",
    "one number",
    "a compute_loss",
    "a mask",
    "outside the scope",
    "jit_compile=True",
    "selection",
    "adversarial",
    "moves the weights itself",
    "eager_loop",
    "sample_losses",
]


@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_what_cannot_be_the_same_is_refused_by_name(on_four, what):
    assert what in on_four["impossible"]["4"].get(what, "nothing was said")


def test_workers_agree_to_the_last_bit(trained):
    assert trained["worker 0"] == trained["worker 1"]
