"""Our loops beside Keras's and their peers, in one run, as microseconds a step and ratios.

    python tests/benchmarks/loops.py                        # all tasks
    python tests/benchmarks/loops.py dense-10k conv         # some of them
    python tests/benchmarks/loops.py mapped --gigabytes 1   # less of the disk
    python tests/benchmarks/loops.py --cpu-time             # on a machine that is busy otherwise

PyTorch and JAX are compared where they are installed (``pip install torch jax``). Every contender
is warmed up, so that compiling is not in its time, and then timed several times, all of them in
turn; the shortest time counts. ``fit best`` is the best of ``steps_per_execution`` in 1, 32, 256
with and without ``jit_compile``.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from batchlab import Loader, PrioritizedSampler, RandomSampler, train, use_xla
from batchlab.backend import keras, tf

layers = keras.layers
SECONDS = 1.0  # at least, per contender and round
ROUNDS = 3
Epoch = Callable[[int], int]  # trains that many epochs, returns the steps taken


class Task:
    """Data, a model, and the layer sizes by which peers build the same one."""

    def __init__(self, x: Any, y: Any, batch: int, widths: tuple[int, ...] = ()) -> None:
        self.x, self.y, self.batch, self.widths = x, y, batch, widths
        self.binary = widths[-1:] == (1,)
        self.loss = "binary_crossentropy" if self.binary else "sparse_categorical_crossentropy"
        self.steps = -(-len(x) // batch)

    def model(self, **options: Any) -> keras.Model:
        inputs = output = keras.Input(self.x.shape[1:])
        if not self.widths:
            for layer in (layers.Conv2D(16, 3), layers.BatchNormalization(), layers.ReLU()):
                output = layer(output)
            output = layers.Dense(10, "softmax")(layers.Flatten()(output))
        for width in self.widths[:-1]:
            output = layers.Dense(width, "relu")(output)
        if self.widths:
            last = "sigmoid" if self.binary else "softmax"
            output = layers.Dense(self.widths[-1], last)(output)
        model = keras.Model(inputs, output)
        model.compile("adam", self.loss, **options)
        return model


def random_task(n: int, widths: tuple[int, ...], batch: int, dtype: str = "float64") -> Task:
    rng = np.random.default_rng(0)
    x = rng.random((n, widths[0])).astype(dtype)
    return Task(x, rng.integers(0, max(widths[-1], 2), n), batch, widths[1:])


def conv_task() -> Task:
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return Task(images.reshape(-1, 8, 8, 1).astype("float32") / 16, labels, 32)


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


# -- the contenders: each is warmed up by its first call -------------------------------------------


def article(task: Task) -> Epoch:
    """The article's loop, as it stands there; 40 steps of an epoch are enough to time it."""
    model, rng = task.model(), np.random.default_rng(0)
    optimizer, loss_fn = keras.optimizers.Adam(), keras.losses.get(task.loss)

    def run(epochs: int) -> int:
        steps = min(task.steps, 40) * epochs
        order = rng.permutation(len(task.x))
        for step in range(steps):
            rows = order[step % task.steps * task.batch :][: task.batch]
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(loss_fn(_column(task, task.y[rows]), model(task.x[rows])))
            gradients = tape.gradient(loss, model.trainable_variables)
            optimizer.apply_gradients(zip(gradients, model.trainable_variables))
        return steps

    return run


def function_step(task: Task) -> Epoch:
    """One compiled step, batches sliced in NumPy."""
    model = task.model()
    loss_fn = keras.losses.get(task.loss)

    @tf.function(reduce_retracing=True)
    def step(x: Any, y: Any) -> None:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(loss_fn(y, model(x, training=True)))
        gradients = tape.gradient(loss, model.trainable_variables)
        model.optimizer.apply_gradients(zip(gradients, model.trainable_variables))

    model.optimizer.build(model.trainable_variables)

    def run(epochs: int) -> int:
        for _ in range(epochs):
            for rows in RandomSampler(len(task.x), task.batch):
                step(task.x[rows], _column(task, task.y[rows]))
        return epochs * task.steps

    return run


def fit(task: Task, steps_per_execution: int = 1, jit_compile: bool = False) -> Epoch:
    model = task.model(steps_per_execution=steps_per_execution, jit_compile=jit_compile)

    def run(epochs: int) -> int:
        model.fit(task.x, task.y, batch_size=task.batch, epochs=epochs, verbose=0)
        return epochs * task.steps

    return run


def fit_loader(task: Task) -> Epoch:
    """Keras on data that it cannot hold: the same loader as ours."""
    model = task.model(steps_per_execution=32)
    loader = Loader(task.x, task.y, sampler=RandomSampler(len(task.x), task.batch))

    def run(epochs: int) -> int:
        model.fit(loader, shuffle=False, steps_per_epoch=200, verbose=0)
        return 200

    return run


def ours(task: Task, lag: int | None = None, in_memory: bool = False) -> Epoch:
    """Without a lag the static RandomSampler, with one the PrioritizedSampler."""
    x, y = task.x, task.y
    if isinstance(x, np.memmap):  # an epoch of 200 steps, from anywhere in the data
        rows = np.random.default_rng(0).integers(0, len(x), (200, task.batch))
        if in_memory:
            x, y = np.ascontiguousarray(x[rows.ravel()]), y[rows.ravel()]
            rows = np.random.default_rng(0).permutation(rows.size).reshape(rows.shape)
        sampler: Any = list(rows)
    elif lag is None:
        sampler = RandomSampler(len(x), task.batch)
    else:
        sampler = PrioritizedSampler(len(x), task.batch)
    model, loader = task.model(), Loader(x, y, sampler=sampler)
    # As in a long run: a few epochs alone would not be worth what XLA takes to compile.
    options = {"verbose": 0, "lag": lag or 16, "jit_compile": use_xla(model)}
    return lambda epochs: train(model, loader, epochs, **options).steps


def torch_loader(task: Task) -> Epoch:
    """DataLoader with WeightedRandomSampler."""
    import torch

    x, y = torch.from_numpy(task.x).float(), torch.from_numpy(task.y)
    widths = (task.x.shape[1], *task.widths)
    modules: list[Any] = []
    for before, after in itertools.pairwise(widths):
        modules += [torch.nn.Linear(before, after), torch.nn.ReLU()]
    model = torch.nn.Sequential(*modules[:-1])
    loss_fn = torch.nn.BCEWithLogitsLoss() if task.binary else torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters())
    sampler = torch.utils.data.WeightedRandomSampler(torch.ones(len(x)), len(x))
    dataset = torch.utils.data.TensorDataset(x, y)
    loader = torch.utils.data.DataLoader(dataset, task.batch, sampler=sampler)

    def run(epochs: int) -> int:
        for _ in range(epochs):
            for xb, yb in loader:
                optimizer.zero_grad()
                out = model(xb)
                loss = loss_fn(out[:, 0], yb.float()) if task.binary else loss_fn(out, yb)
                loss.backward()
                optimizer.step()
        return epochs * task.steps

    return run


def jax_scan(task: Task) -> Epoch:
    """``lax.scan`` over an index matrix, with Adam by hand; whole batches only."""
    import jax
    import jax.numpy as jnp

    keys = jax.random.split(jax.random.key(0), len(task.widths))
    sizes = itertools.pairwise((task.x.shape[1], *task.widths))
    init = jax.nn.initializers.glorot_uniform()
    params = [(init(key, size), jnp.zeros(size[1])) for key, size in zip(keys, sizes)]
    x, y = jnp.asarray(task.x, jnp.float32), jnp.asarray(task.y)

    def losses(params: Any, xb: Any, yb: Any) -> Any:
        for weights, bias in params[:-1]:
            xb = jax.nn.relu(xb @ weights + bias)
        logits = xb @ params[-1][0] + params[-1][1]
        if task.binary:
            return jnp.logaddexp(0, logits[:, 0]) - yb * logits[:, 0]
        return -jax.nn.log_softmax(logits)[jnp.arange(len(yb)), yb]

    def mean_loss(params: Any, rows: Any) -> Any:
        each = losses(params, x[rows], y[rows])
        return each.mean(), each

    def step(state: Any, rows: Any) -> Any:
        params, mean, square, time = state
        (_, each), slopes = jax.value_and_grad(mean_loss, has_aux=True)(params, rows)
        time += 1
        mean = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, mean, slopes)
        square = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, square, slopes)
        rate = 0.001 * jnp.sqrt(1 - 0.999**time) / (1 - 0.9**time)
        params = jax.tree.map(
            lambda p, m, v: p - rate * m / (jnp.sqrt(v) + 1e-7), params, mean, square
        )
        return (params, mean, square, time), each

    epoch = jax.jit(lambda state, matrix: jax.lax.scan(step, state, matrix))
    zeros = jax.tree.map(jnp.zeros_like, params)
    state = [(params, zeros, zeros, 0.0)]
    rng = np.random.default_rng(0)
    whole = max(len(task.x) // task.batch, 1)

    def run(epochs: int) -> int:
        for _ in range(epochs):
            order = rng.permutation(len(task.x))[: whole * task.batch]
            state[0], each = epoch(state[0], order.reshape(whole, -1))
            np.asarray(each)
        return epochs * whole

    return run


def _column(task: Task, y: Any) -> Any:
    return y[:, None] if task.binary else y


# -- measuring -------------------------------------------------------------------------------------


def contenders(name: str, task: Task) -> Iterator[tuple[str, Callable[[], Epoch]]]:
    if name == "mapped":
        yield "fit loader", lambda: fit_loader(task)
        yield "ours in memory", lambda: ours(task, in_memory=True)
        yield "ours mapped", lambda: ours(task)
        return
    yield "article", lambda: article(task)
    yield "fit default", lambda: fit(task)
    for steps, jit_compile in itertools.product((32, 256), (False, True)):
        yield f"fit {steps}{' jit' * jit_compile}", lambda s=steps, j=jit_compile: fit(task, s, j)
    yield "fit 1 jit", lambda: fit(task, 1, True)
    yield "tf.function step", lambda: function_step(task)
    if task.widths and importlib.util.find_spec("torch"):
        yield "torch DataLoader", lambda: torch_loader(task)
    if task.widths and importlib.util.find_spec("jax"):
        yield "jax lax.scan", lambda: jax_scan(task)
    yield "ours", lambda: ours(task)
    yield "ours prioritized, lag 16", lambda: ours(task, 16)
    yield "ours prioritized, lag 64", lambda: ours(task, 64)


def measure(
    name: str, task: Task, clock: Callable[[], float]
) -> tuple[dict[str, float], dict[str, float]]:
    """Microseconds a step of every contender, and the seconds of its first call and epoch."""
    runs, times, firsts = {}, {}, {}
    for who, make in contenders(name, task):
        start = clock()
        runs[who] = make()
        runs[who](1)
        firsts[who] = clock() - start
        epochs, taken = 1, 0.0
        while taken < SECONDS:
            start = clock()
            runs[who](epochs)
            taken = clock() - start
            epochs *= 2
        times[who] = []
        runs[who] = (runs[who], epochs // 2)
    for _ in range(ROUNDS):
        for who, (run, epochs) in runs.items():
            start = clock()
            steps = run(epochs)
            times[who].append((clock() - start) / steps * 1e6)
    return {who: min(rounds) for who, rounds in times.items()}, firsts


def report(name: str, times: dict[str, float], firsts: dict[str, float]) -> None:
    base = "ours in memory" if name == "mapped" else "ours"
    print(f"\n| {name} | µs a step | times {base} | first call, s |")
    print("|---|---:|---:|---:|")
    for who, value in times.items():
        print(f"| {who} | {value:,.1f} | {value / times[base]:.2f} | {firsts[who]:.1f} |")
    if name != "mapped":
        best = min(value for who, value in times.items() if who.startswith("fit"))
        print(f"| fit best | {best:,.1f} | {best / times[base]:.2f} | |")
    print(flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = ("dense-100", "dense-10k", "dense-100k", "conv", "mlp", "mapped")
    parser.add_argument("tasks", nargs="*", default=names, metavar=f"{{{','.join(names)}}}")
    parser.add_argument("--gigabytes", type=float, default=4.0, help="size of the mapped data")
    parser.add_argument("--cpu-time", action="store_true", help="count the processor's time")
    options = parser.parse_args()
    clock = time.process_time if options.cpu_time else time.perf_counter
    if unknown := set(options.tasks) - set(names):
        parser.error(f"no such task: {', '.join(sorted(unknown))}")
    for name in options.tasks:
        with tempfile.TemporaryDirectory() as directory:
            task = {
                "dense-100": lambda: random_task(100, (20, 16, 1), 32),
                "dense-10k": lambda: random_task(10_000, (20, 16, 1), 32),
                "dense-100k": lambda: random_task(100_000, (20, 16, 1), 32),
                "conv": conv_task,
                "mlp": lambda: random_task(20_000, (784, 512, 512, 10), 128, "float32"),
                "mapped": lambda where=directory: mapped_task(where, options.gigabytes),
            }[name]()
            print(f"{name}: {len(task.x)} samples, {task.steps} steps an epoch")
            report(name, *measure(name, task, clock))


if __name__ == "__main__":
    main()
