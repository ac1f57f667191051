"""What a step costs when several processes train together, and when there are very many samples.

    python tests/benchmarks/scale.py workers   # a step of 1, 2 and 4 processes on this machine
    python tests/benchmarks/scale.py samples   # drawing within an epoch, n = 10⁴ … 10⁷

Two cores cannot show a speed-up: the processes share them, so `workers` shows what the talk between
them adds, not what more machines gain: for the small net 0.12 ms a step alone, 4 ms with two and 11 ms
with four, on cores that were busy otherwise. `samples` counts CPU time, and is per sample drawn.

On paper: 10¹⁰ samples, W = 1 000 workers, 256 samples each, so a batch of B = 256 000
--------------------------------------------------------------------------------------
*Memory of the indices*, in every process. RandomSampler computes its order, O(1) memory. What holds
a number for every sample does not fit: a stored order, the cumulative weights of WeightedSampler, the
lists of ClassBalancedSampler and the tree of PrioritizedSampler take at least 8 bytes · 10¹⁰ = 80 GB
each, and so does `History.visits`. With 16 GB for it the limit is some 10⁹ samples for one such
array. Beyond, sample groups (files, sources: MixtureSampler over RandomSamplers), not single rows.

*Drawing.* Every process draws all B indices and uses B / W of them: what is drawn for nothing is the
price of sending nothing. At a cost of c a sample a step waits B · c. `samples` gave c = 40 to 120 ns at
n = 10⁷ for every strategy (priorities with their update): 10 to 31 ms. So steps of 0.1 s go to 1 000
workers, where a tenth to a third of the time is drawing, which could run beside the training; at
3 000 workers drawing is as slow as they are. Then each must draw for itself from a part of the data.

*Feedback.* The losses of a batch are 4 B = 1 MB, gathered once a call: each worker receives 1 MB a
step, 10 MB/s at 10 steps a second, 0.8 % of 10 Gbit/s. Gradients are the larger part by far: an
all-reduce moves about 2 · 4 bytes a parameter through each worker, 200 MB for 25 million of them.

*Stragglers.* A step ends with its slowest worker. If the time of a worker varies normally by s, the
mean of the greatest of 1 000 is the mean + 3.24 s: at s = 10 % a step takes 1.32 times as long. With
an exponential tail of mean s it is ln(1 000) + 0.58 = 7.5 s.

*Losses of workers.* If one machine fails once a year, one of 1 000 fails every 8.8 hours = 31 500 s.
All stop, and restart from the checkpoint. When saving takes 10 s, save about every
√(2 · 10 s · 31 500 s) = 790 s (Young's rule): saving and repeating cost 2 · 10 / 790 = 2.5 %. The state
of a sampler that learns, 5 to 7 MB a million samples, ends this at 10⁹ samples (6 GB) as well.
"""

from __future__ import annotations

import itertools
import json
import os
import socket
import subprocess
import sys
import time
from typing import Any

import numpy as np

STEPS, ROUNDS = 64, 5
NETS = {
    "20→32→2, batch 64": ((20, 32, 2), 64),
    "784→1024→1024→2, batch 512": ((784, 1024, 1024, 2), 512),
}
BATCH = 4096


def trained(widths: tuple[int, ...], batch: int) -> float:
    """Milliseconds a step: the shortest of some rounds, without compiling."""
    from batchlab import Loader, RandomSampler, train
    from batchlab.backend import keras, tf

    several = "TF_CONFIG" in os.environ
    strategy = (
        tf.distribute.MultiWorkerMirroredStrategy() if several else tf.distribute.get_strategy()
    )
    with strategy.scope():
        layers = [keras.layers.Dense(width, "relu") for width in widths[1:]]
        model = keras.Sequential([keras.Input(widths[:1]), *layers])
        model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    n = STEPS * batch
    rng = np.random.default_rng(0)
    x, y = rng.random((n, widths[0]), dtype=np.float32), rng.integers(0, 2, n)
    times = []

    class Clock(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            times.append(-time.perf_counter())

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            times[-1] += time.perf_counter()

    loader = Loader(x, y, sampler=RandomSampler(n, batch))
    options = {"steps_per_call": STEPS, "jit_compile": False, "verbose": 0}
    train(model, loader, ROUNDS + 1, callbacks=[Clock()], **options)
    return min(times[1:]) / STEPS * 1e3


def together(name: str, count: int) -> float:
    """The same in so many processes: milliseconds a step of the first."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    running = []
    for index in range(count):
        task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        config = {"TF_CONFIG": json.dumps(task)} if count > 1 else {}
        command = [sys.executable, __file__, "worker", name]
        running.append(
            subprocess.Popen(
                command,
                env={**os.environ, **config},
                stdout=-1,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        )
    return [float(process.communicate()[0].splitlines()[-1]) for process in running][0]


def workers() -> None:
    for name in NETS:
        alone = together(name, 1)
        print(f"{name}: 1 process {alone:.2f} ms a step", end="")
        for count in (2, 4):
            took = together(name, count)
            print(f", {count}: {took:.2f} ({took / alone:.1f}×, +{took - alone:.2f})", end="")
        print()


def samples() -> None:
    from batchlab.samplers import (
        ClassBalancedSampler,
        PrioritizedSampler,
        RandomSampler,
        WeightedSampler,
    )

    print(f"ns a sample, batches of {BATCH}; with n = 10⁴ … 10⁷")
    makers = {
        "random": lambda n: RandomSampler(n, BATCH),
        "weighted": lambda n: WeightedSampler(np.linspace(1, 2, n), BATCH),
        "class-balanced": lambda n: ClassBalancedSampler(np.arange(n) % 10, BATCH),
        "prioritized, with update": lambda n: PrioritizedSampler(n, BATCH),
    }
    losses = np.linspace(0.1, 2, BATCH, dtype=np.float32)
    for name, make in makers.items():
        print(
            f"{name:26s}", *(f"{_cost(make(n), losses):8.0f}" for n in (10**4, 10**5, 10**6, 10**7))
        )


def _cost(sampler: Any, losses: Any) -> float:
    """CPU ns a sample over a whole epoch; of one that learns, over 200 batches after the first."""
    batches, count = iter(sampler), 0
    if sampler.listens:
        next(batches)
        batches = itertools.islice(batches, 200)
    began = time.process_time()
    for batch in batches:
        if sampler.listens:
            sampler.update(batch, losses[: len(batch)])
        count += len(batch)
    return (time.process_time() - began) / count * 1e9


if __name__ == "__main__":
    what, *rest = sys.argv[1:] or ["samples"]
    if what == "worker":
        print(trained(*NETS[rest[0]]))
    else:
        {"workers": workers, "samples": samples}[what]()
