"""Our samplers beside their peers, in one run, as ratios.

    python tests/benchmarks/samplers.py                 # n = 10⁴, 10⁶, 10⁷
    python tests/benchmarks/samplers.py 1e5 1e8         # other sizes
    python tests/benchmarks/samplers.py growth          # every strategy, n = 10³ … 10⁷, and a plot

PyTorch and cpprb or TorchRL are compared where they are installed: ``pip install torch cpprb``.
Each case runs in a process of its own, so that its memory peak is its own. The ratio is the peer's
time over ours: above 1, ours is faster.
"""

from __future__ import annotations

import functools
import importlib.util
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from batchlab.figures import Figure
from batchlab.samplers import (
    ClassBalancedSampler,
    CurriculumSampler,
    MixtureSampler,
    MPerClassSampler,
    PrioritizedSampler,
    RandomSampler,
    RankSampler,
    StratifiedSampler,
    WeightedSampler,
)
from batchlab.style import class_markers, colours_of, tidy

BATCH = 128
HAVE = {name for name in ("torch", "cpprb", "torchrl") if importlib.util.find_spec(name)}
Case = Callable[[int], Callable[[], Any]]  # prepares for n, gives what is to be timed


def weights_of(n: int) -> np.ndarray:
    return np.random.default_rng(0).random(n) ** 2 + 1e-9


def exhaust(iterable: Iterable[Any]) -> None:
    for _ in iterable:
        pass


def ours_epoch(n: int) -> Callable[[], Any]:
    weights = weights_of(n)
    return lambda: exhaust(WeightedSampler(weights, BATCH))


def torch_epoch(n: int) -> Callable[[], Any]:
    import torch

    weights = torch.from_numpy(weights_of(n))
    return lambda: exhaust(torch.utils.data.WeightedRandomSampler(weights, n))


def torch_batched_epoch(n: int) -> Callable[[], Any]:
    import torch

    weights = torch.from_numpy(weights_of(n))
    data = torch.utils.data
    return lambda: exhaust(data.BatchSampler(data.WeightedRandomSampler(weights, n), BATCH, False))


def numpy_epoch(n: int) -> Callable[[], Any]:
    weights, generator = weights_of(n), np.random.default_rng(0)
    return lambda: generator.choice(n, n, p=weights / weights.sum())


def ours_first(n: int) -> Callable[[], Any]:
    weights = weights_of(n)
    return lambda: next(iter(WeightedSampler(weights, BATCH)))


def torch_first(n: int) -> Callable[[], Any]:
    import torch

    weights = torch.from_numpy(weights_of(n))
    data = torch.utils.data
    return lambda: next(
        iter(data.BatchSampler(data.WeightedRandomSampler(weights, n), BATCH, False))
    )


def ours_without(n: int) -> Callable[[], Any]:
    weights = weights_of(n)
    return lambda: exhaust(WeightedSampler(weights, BATCH, replacement=False))


def numpy_without(n: int) -> Callable[[], Any]:
    weights, generator = weights_of(n), np.random.default_rng(0)
    return lambda: generator.choice(n, n, replace=False, p=weights / weights.sum())


def torch_without(n: int) -> Callable[[], Any]:
    import torch

    weights = torch.from_numpy(weights_of(n))
    return lambda: exhaust(torch.utils.data.WeightedRandomSampler(weights, n, replacement=False))


def ours_shuffle(n: int) -> Callable[[], Any]:
    return lambda: exhaust(RandomSampler(n, BATCH))


def numpy_shuffle(n: int) -> Callable[[], Any]:
    def run() -> None:
        order = np.random.default_rng(0).permutation(n)
        exhaust(order[start : start + BATCH] for start in range(0, n, BATCH))

    return run


def torch_shuffle(n: int) -> Callable[[], Any]:
    import torch

    return lambda: exhaust(torch.utils.data.RandomSampler(range(n)))


def losses_for(n: int) -> np.ndarray:
    return np.abs(np.sin(np.arange(n, dtype=np.float32))) + np.float32(0.01)


# Draw a batch, weigh it, report its losses; with alpha 0.6 and beta 0.4 everywhere.
STEPS = 200


def ours_prioritized(n: int) -> Callable[[], Any]:
    sampler, losses = PrioritizedSampler(n, BATCH, alpha=0.6, beta=0.4), losses_for(n)
    exhaust(sampler)  # the first epoch is not prioritized
    sampler.update(np.arange(n), losses)
    batches = iter(forever(sampler))  # one for all runs: to leave an epoch is dear, and no peer does

    def run() -> None:
        for _ in range(STEPS):
            batch = next(batches)
            sampler.importance_weights(batch)
            sampler.update(batch, losses[batch])

    return warm(run)


def warm(run: Callable[[], Any]) -> Callable[[], Any]:
    """The same, after it ran once: a tree is built with the first batch."""
    run()
    return run


def forever(sampler: Any) -> Iterable[np.ndarray]:
    while True:
        yield from sampler


def cpprb_prioritized(n: int) -> Callable[[], Any]:
    import cpprb

    losses = losses_for(n)
    buffer = cpprb.PrioritizedReplayBuffer(n, {"i": {"dtype": np.int64}}, alpha=0.6)
    buffer.add(i=np.arange(n), priorities=losses)

    def run() -> None:
        for _ in range(STEPS):
            indices = buffer.sample(BATCH, beta=0.4)["indexes"]  # with the weights
            buffer.update_priorities(indices, losses[indices])

    return warm(run)


def torchrl_prioritized(n: int) -> Callable[[], Any]:
    import torch
    from torchrl.data import LazyTensorStorage
    from torchrl.data.replay_buffers.samplers import PrioritizedSampler as Peer

    losses = torch.from_numpy(losses_for(n))
    storage, sampler = LazyTensorStorage(n), Peer(n, 0.6, 0.4)
    storage.set(range(n), torch.arange(n))
    sampler.extend(torch.arange(n))
    sampler.update_priority(torch.arange(n), losses)

    def run() -> None:
        for _ in range(STEPS):
            indices = torch.as_tensor(sampler.sample(storage, BATCH)[0])  # with the weights
            sampler.update_priority(indices, losses[indices])

    return warm(run)


# -- what a batch costs as n grows -----------------------------------------------------------------


def mixture(n: int) -> MixtureSampler:
    sources = {name: RandomSampler(n // 3, 1) for name in "abc"}
    return MixtureSampler(sources, dict(zip("abc", (0.5, 0.3, 0.2))), BATCH)


STRATEGIES: dict[str, Callable[[int], Any]] = {
    "random": lambda n: RandomSampler(n, BATCH),
    "weighted": lambda n: WeightedSampler(weights_of(n), BATCH),
    "weighted, without replacement": lambda n: WeightedSampler(
        weights_of(n), BATCH, replacement=False
    ),
    "class-balanced": lambda n: ClassBalancedSampler(np.arange(n) % 8, BATCH),
    "stratified": lambda n: StratifiedSampler(np.arange(n) % 8, BATCH),
    "m per class": lambda n: MPerClassSampler(np.arange(n) % 8, 16, BATCH),
    "curriculum": lambda n: CurriculumSampler(weights_of(n), BATCH, pacing_epochs=100),
    "mixture of three": mixture,
    "prioritized": lambda n: PrioritizedSampler(n, BATCH),
    "rank": lambda n: RankSampler(n, BATCH),
    "self-paced": lambda n: CurriculumSampler(weights_of(n), BATCH, self_paced=True),
}


def batches_of(n: int) -> int:
    """An epoch at least, so that its shuffle counts, in blocks of 512 as the loops draw them."""
    return 512 * max(round(n / BATCH / 512), 1)


def steady(name: str, n: int) -> Callable[[], Any]:
    """Batches as the loops draw them, with feedback every 16 where the strategy listens."""
    sampler, losses = STRATEGIES[name](n), losses_for(n)
    batches, block = iter(forever(sampler)), 16 if sampler.listens else 512

    def drawn() -> np.ndarray:
        parts, left = [], block
        while left:
            parts.append(next(batches))
            ahead = sampler.batches_ahead(left - 1)
            parts.append(ahead.reshape(-1))
            left -= 1 + len(ahead)
        return np.concatenate(parts)

    def run() -> None:
        for _ in range(batches_of(n) // block):
            indices = drawn()
            if sampler.listens:
                sampler.update(indices, losses[indices])

    if sampler.listens:
        sampler.update(np.arange(n), losses)
        while sampler.epoch == 0:  # which shows every sample once, and prefers none
            drawn()
    return run


PLOT = Path(__file__).parents[2] / "notebooks" / "images" / "cost.png"


def growth(sizes: list[int]) -> None:
    """Microseconds a batch and MB, and the time as a multiple of random's; drawn to `PLOT`."""
    print(f"µs a batch of {BATCH} (times random; MB of the process's peak, with the weights or labels)")
    print("| |", *(f"n = {n:.0e} |" for n in sizes))
    print("|---|", "---:|" * len(sizes))
    base: dict[int, float] = {}
    points: dict[str, list[tuple[int, float, float]]] = {}
    for name in STRATEGIES:
        cells = []
        for n in sizes:
            result = measure(functools.partial(steady, name), n, whole=True)
            if isinstance(result, str):
                cells.append(result)
                continue
            seconds, memory = result
            base.setdefault(n, seconds)
            each = seconds / batches_of(n) * 1e6
            cells.append(f"{each:,.1f} ({seconds / base[n]:.1f}; {memory:.0f})")
            points.setdefault(name, []).append((n, each, memory))
        print(f"| {name} |", " | ".join(cells), "|", flush=True)
    draw(points)


def draw(points: dict[str, list[tuple[int, float, float]]]) -> None:
    """Time and memory against n, one line a strategy, the dearest at the largest n named first."""
    figure = Figure(8.6, 4.0)
    charts = figure.subplots(1, 2)
    looks = dict(zip(points, zip(colours_of(points), class_markers(len(points)))))
    for name in sorted(points, key=lambda name: -points[name][-1][1]):
        colour, marker = looks[name]
        line = "--" if STRATEGIES[name](1000).listens else "-"
        look = {"color": colour, "marker": marker, "markersize": 5, "linestyle": line}
        sizes, *measured = zip(*points[name])
        for axes, values in zip(charts, measured):
            axes.loglog(sizes, values, label=name, **look)
    for axes, title in zip(charts, (f"µs for a batch of {BATCH}", "MB, with the weights or labels")):
        tidy(axes, title, "samples to choose from", "")
        axes.grid(alpha=0.3)
    style = {"fontsize": 8, "title_fontsize": 8, "handlelength": 3.5, "frameon": False}
    key = charts[0].get_legend_handles_labels()
    figure.legend(*key, loc="outside right center", title="dashed: learns from losses", **style)
    figure.savefig(PLOT)
    print(f"drawn: {PLOT.name}")


def ours_huge(n: int) -> Callable[[], Any]:
    return lambda: next(iter(RandomSampler(n, BATCH)))


TABLE: list[tuple[str, Case, dict[str, Case], int]] = [
    (
        "weighted epoch, with replacement",
        ours_epoch,
        {"torch": torch_epoch, "torch, batches": torch_batched_epoch, "numpy": numpy_epoch},
        10**8,
    ),
    ("first weighted batch", ours_first, {"torch": torch_first}, 10**8),
    (
        "weighted epoch, without replacement",
        ours_without,
        {"numpy": numpy_without, "torch": torch_without},
        10**7,
    ),
    ("shuffled epoch", ours_shuffle, {"numpy": numpy_shuffle, "torch": torch_shuffle}, 10**8),
    (
        f"{STEPS} prioritized batches + updates",
        ours_prioritized,
        {"cpprb": cpprb_prioritized, "torchrl": torchrl_prioritized},
        10**7,
    ),
]


def measure(case: Case, n: int, whole: bool = False) -> tuple[float, float] | str:
    """Seconds (the best of up to three) and the peak in MB, or why there are none.

    The peak is that of the runs; with `whole`, of what was prepared for them as well.
    """
    receive, send = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(
        target=_measure, args=(case, n, whole, send)
    )
    process.start()
    send.close()
    try:
        result = receive.recv()
    except EOFError:
        result = "died"
    process.join()
    return result


def _measure(case: Case, n: int, whole: bool, send: Any) -> None:
    try:
        empty = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        run = case(n)
        before = empty if whole else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        best, spent = float("inf"), 0.0
        while spent < 3 and best > spent / 3:
            start = time.perf_counter()
            run()
            best = min(best, time.perf_counter() - start)
            spent += time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        send.send((best, (peak - before) / 1024))
    except Exception as error:
        send.send(f"{type(error).__name__}: {error}"[:60])


def main(sizes: list[int]) -> None:
    print(f"batch {BATCH}; MB: what the run added to the memory peak of its process")
    print(f"{'':40}{'n':>8}{'ours ms':>10}{'MB':>6}  peer{'':14}{'ms':>10}{'MB':>6}{'ratio':>8}")
    for name, case, peers, largest in TABLE:
        for n in [size for size in sizes if size <= largest]:
            ours = measure(case, n)
            for peer, its_case in peers.items():
                if peer in {"cpprb", "torchrl"} and peer not in HAVE:
                    continue
                if peer.startswith("torch") and "torch" not in HAVE:
                    continue
                theirs = measure(its_case, n)
                print(f"{name:40}{n:8.0e}", end="")
                if isinstance(ours, str) or isinstance(theirs, str):
                    print(f"  ours: {ours}; {peer}: {theirs}")
                    continue
                (mine, memory), (its, its_memory) = ours, theirs
                print(
                    f"{mine * 1e3:10.2f}{memory:6.0f}  {peer:18}{its * 1e3:10.2f}{its_memory:6.0f}"
                    f"{its / mine:7.1f}x",
                    flush=True,
                )
    seconds, memory = measure(ours_huge, 10**9)
    print(f"{'first shuffled batch':40}{1e9:8.0e}{seconds * 1e3:10.2f}{memory:6.0f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["growth"]:
        growth([int(float(size)) for size in sys.argv[2:]] or [10**k for k in range(3, 8)])
    else:
        main([int(float(size)) for size in sys.argv[1:]] or [10**4, 10**6, 10**7])
