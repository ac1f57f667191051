"""Our loops beside Keras's and their peers, in one run, as microseconds a step and ratios.

    python tests/benchmarks/loops.py                        # all tasks
    python tests/benchmarks/loops.py dense-10k transformer  # some of them
    python tests/benchmarks/loops.py strategies --n 1e5     # every strategy against random
    python tests/benchmarks/loops.py mapped --gigabytes 1   # less of the disk
    python tests/benchmarks/loops.py --cpu-time             # on a machine that is busy otherwise

PyTorch and JAX are compared where they are installed (``pip install torch jax``), each in a process
of its own: beside TensorFlow they crash, or fight over the cores; PyTorch with one thread or one per
core, whichever is faster for the task. Every contender is warmed up, so that compiling is not in its
time, and then timed several times, all of them in turn; the shortest time counts. ``fit best`` is
the best of ``steps_per_execution`` in 1, 32, 256 with and without ``jit_compile``.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

DENSE = ("dense-100", "dense-10k", "dense-100k", "mlp")
TASKS = (*DENSE, "conv", "transformer", "resnet", "strategies", "mapped")
WITH_TORCH, WITH_JAX = (*DENSE, "transformer", "resnet"), DENSE  # nobody else has the others
SECONDS = 1.0  # at least, per contender and round
ROUNDS = 3
Epoch = Callable[[int], int]  # trains that many epochs, returns the steps taken


class Task:
    """Data, and by which everyone builds the same model: its kind, and the sizes of dense layers."""

    def __init__(
        self, x: Any, y: Any, batch: int, widths: tuple[int, ...] = (), kind: str = "dense"
    ) -> None:
        self.x, self.y, self.batch, self.widths, self.kind = x, y, batch, widths, kind
        self.binary = widths[-1:] == (1,)
        self.loss = "binary_crossentropy" if self.binary else "sparse_categorical_crossentropy"
        self.steps = -(-len(x) // batch)


def random_task(n: int, widths: tuple[int, ...], batch: int, dtype: str = "float64") -> Task:
    rng = np.random.default_rng(0)
    x = rng.random((n, widths[0])).astype(dtype)
    return Task(x, rng.integers(0, max(widths[-1], 2), n), batch, widths[1:])


def conv_task() -> Task:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return Task(images.reshape(-1, 8, 8, 1).astype("float32") / 16, labels, 32, kind="conv")


def tokens_task() -> Task:
    """Two blocks of attention, 64 wide, on 32 tokens."""
    rng = np.random.default_rng(0)
    return Task(rng.integers(0, 64, (2_000, 32)), rng.integers(0, 10, 2_000), 32, kind="transformer")


def images_task() -> Task:
    """Three residual blocks of 16, 32 and 64 filters, on pictures of 32 × 32."""
    rng = np.random.default_rng(0)
    x = rng.random((640, 32, 32, 3), dtype="float32")
    return Task(x, rng.integers(0, 10, 640), 32, kind="resnet")


def mapped_task(directory: str, gigabytes: float) -> Task:
    """784-512-512-10 on memory-mapped data, really written, read once to warm the page cache."""
    n = int(gigabytes * 2**30 / (784 * 4))
    path = Path(directory) / "x.npy"
    x = np.lib.format.open_memmap(path, "w+", "float32", (n, 784))
    rng = np.random.default_rng(0)
    for start in range(0, n, 50_000):
        x[start : start + 50_000] = rng.random(x[start : start + 50_000].shape, dtype="float32")
    x.flush()
    x = np.load(path, mmap_mode="r")
    for start in range(0, n, 50_000):
        x[start : start + 50_000].sum()
    return Task(x, rng.integers(0, 10, n), 128, (512, 512, 10))


def task_of(name: str, options: argparse.Namespace, directory: str) -> Task:
    sizes = {"dense-100": 100, "dense-10k": 10**4, "dense-100k": 10**5, "strategies": options.n}
    if name in sizes:
        return random_task(int(sizes[name]), (20, 16, 1), 32)
    if name == "mlp":
        return random_task(20_000, (784, 512, 512, 10), 128, "float32")
    others = {"conv": conv_task, "transformer": tokens_task, "resnet": images_task}
    return others[name]() if name in others else mapped_task(directory, options.gigabytes)


class Peer:
    """The contenders of one library, loops_<library>.py, in a process that loads no other."""

    def __init__(self, library: str, *arguments: Any) -> None:
        self.pipe, theirs = multiprocessing.Pipe()
        context = multiprocessing.get_context("spawn")
        self.process = context.Process(target=serve, args=(theirs, library, *arguments))
        self.process.start()
        theirs.close()
        self.firsts: dict[str, float] = {}
        try:
            self.firsts = self.pipe.recv()
        except EOFError:
            print(f"{library} is left out: see its error above.")
        self.times: dict[str, list[float]] = {who: [] for who in self.firsts}

    def measure(self) -> None:
        if not self.times:
            return
        self.pipe.send(True)
        for who, value in self.pipe.recv().items():
            self.times[who].append(value)

    def stop(self) -> None:
        if self.times:
            self.pipe.send(False)
        self.process.join()


def serve(pipe: Any, library: str, name: str, options: argparse.Namespace, directory: str) -> None:
    """Warm up all contenders, tell the seconds of their first epochs, and time them when asked."""
    clock = time.process_time if options.cpu_time else time.perf_counter
    module = importlib.import_module(f"loops_{library}")
    runs, firsts = {}, {}
    for who, make in module.contenders(name, task_of(name, options, directory)):
        start = clock()
        run = make()
        run(1)
        firsts[who] = clock() - start
        epochs, taken = 1, 0.0
        while taken < SECONDS:
            run(epochs)  # XLA compiles for every number of steps, and anew when there are losses
            start = clock()
            run(epochs)
            taken = clock() - start
            epochs *= 2
        runs[who] = (run, epochs // 2)
    pipe.send(firsts)
    while pipe.recv():
        times = {}
        for who, (run, epochs) in runs.items():
            start = clock()
            steps = run(epochs)
            times[who] = (clock() - start) / steps * 1e6
        pipe.send(times)


def report(name: str, times: dict[str, float], firsts: dict[str, float]) -> None:
    base = "ours in memory" if name == "mapped" else "ours"
    print(f"\n| {name} | µs a step | times {base} | first call, s |")
    print("|---|---:|---:|---:|")
    for who, value in times.items():
        print(f"| {who} | {value:,.1f} | {value / times[base]:.2f} | {firsts[who]:.1f} |")
    fits = [value for who, value in times.items() if who.startswith("fit") and name != "mapped"]
    if fits:
        print(f"| fit best | {min(fits):,.1f} | {min(fits) / times[base]:.2f} | |")
    print(flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tasks", nargs="*", default=TASKS, metavar=f"{{{','.join(TASKS)}}}")
    parser.add_argument("--n", type=float, default=1e4, help="samples of the task 'strategies'")
    parser.add_argument("--gigabytes", type=float, default=4.0, help="size of the mapped data")
    parser.add_argument("--cpu-time", action="store_true", help="count the processor's time")
    options = parser.parse_args()
    if unknown := set(options.tasks) - set(TASKS):
        parser.error(f"no such task: {', '.join(sorted(unknown))}")
    tasks_of = {"tensorflow": TASKS, "torch": WITH_TORCH, "jax": WITH_JAX}
    libraries = [library for library in tasks_of if importlib.util.find_spec(library)]
    for name in options.tasks:
        with tempfile.TemporaryDirectory() as directory:
            peers = [
                Peer(library, name, options, directory)
                for library in libraries
                if name in tasks_of[library]
            ]
            for _ in range(ROUNDS):
                for peer in peers:
                    peer.measure()
            for peer in peers:
                peer.stop()
        times = {who: min(each) for peer in peers for who, each in peer.times.items()}
        report(name, times, {who: first for peer in peers for who, first in peer.firsts.items()})


if __name__ == "__main__":
    main()
