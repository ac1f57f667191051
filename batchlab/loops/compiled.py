"""Index batches to trained weights: data kept on the device or streamed to it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchlab.backend import keras, tf
from batchlab.loaders import Loader
from batchlab.loops.adversarial import Adversarial
from batchlab.loops.calls import Columns, Group, Result, empty, filled
from batchlab.loops.distributed import DistributedProgram, check_strategy, replicas
from batchlab.loops.own_step import check_count
from batchlab.loops.priorities import Priorities
from batchlab.loops.program import Program, plain
from batchlab.loops.ready import build, check_own_step, check_ready
from batchlab.loops.selection import PoolSelection
from batchlab.loops.step import in_compute_dtype, loss_tracker
from batchlab.loops.targets import check_has_targets, check_targets
from batchlab.parameters import shown
from batchlab.samplers import PrioritizedSampler
from batchlab.sources import is_text
from batchlab.validation import check_indices

# Samples and steps per call at most. A call costs about half a millisecond on the host, so that
# 2048 steps make it negligible even where one takes 10 microseconds.
_CALL_SAMPLES = 2**16
_CALL_STEPS = (16, 2048)  # at least, whatever the batch size, and at most
_STREAM_BYTES = 2**22  # of gathered data per call: for XLA a smaller block is filled up to this
RESIDENT_LIMIT = 2**31
_SHAPES = 32  # of made batches: each is compiled anew, which takes as long as thousands of steps
# Programs kept per model: as many strategies as one compares, with what each holds of its data.
_PROGRAMS = 8


class CompiledSteps:
    """Train a model for several batches per call of one compiled function.

    Data that fit go to the device once and are gathered there. What is not in memory, or larger
    than `resident_limit`, is gathered on the host; so is what the loader makes batch by batch, in
    its ``workers`` threads.

    Parameters
    ----------
    model : keras.Model
        Compiled.
    loader : Loader
        Its arrays and weights are used; its sampler is not asked.
    selection : PoolSelection, optional
        Makes every batch out of a pool.
    adversarial : Adversarial, optional
        Turns part of every batch into adversarial examples.
    jit_compile : bool, optional
        Whether to use XLA; by default the rule of :func:`use_xla`.
    resident_limit : int, default 2**31
        Bytes of data that may be copied to the device.
    most : int, optional
        Steps per call at most; by default up to 2048, fewer for large batches.
    lag : int, optional
        Steps per call at most, where the sampler listens and draws by itself.
    step : callable, optional
        A training step of your own: see :func:`train`.
    fixed_sizes : bool, default False
        Whether the compiled function is to know the sizes of the sampler's batches. Its steps are
        faster then, and a call can hold several epochs, but the smaller last batch is traced as
        well. For XLA it always does.

    Attributes
    ----------
    step : int
        Number of the next step, for what is random in it.
    outputs : TensorSpec, or structure of them
        The model's outputs.
    streamed : bool
        Whether data are gathered on the host.
    """

    def __init__(
        self,
        model: keras.Model,
        loader: Loader,
        *,
        selection: PoolSelection | None = None,
        adversarial: Adversarial | None = None,
        jit_compile: bool | None = None,
        resident_limit: int = RESIDENT_LIMIT,
        most: int | None = None,
        lag: int | None = None,
        step: Callable[..., Any] | None = None,
        fixed_sizes: bool = False,
    ) -> None:
        check_ready(model, 1, type(self).__name__, step)
        check_own_step(model, loader, type(self).__name__, step)
        check_strategy(
            model, jit_compile=jit_compile, selection=selection, adversarial=adversarial, step=step
        )
        for option in (selection, adversarial):
            if option is not None:
                option.check_loader(loader)
        self.loader = loader
        self.step = 0
        data = (loader.x, loader.y) if loader.in_memory else loader.gather(np.zeros(1, int))[:2]
        check_has_targets(data, type(self).__name__)
        leaves = keras.tree.flatten(data)
        self._sample_bytes = sum(leaf.dtype.itemsize * math.prod(leaf.shape[1:]) for leaf in leaves)
        too_large = self._sample_bytes * loader.n > resident_limit
        self.streamed = too_large or not loader.in_memory
        self._pool = ThreadPoolExecutor(loader.workers, thread_name_prefix="batchlab-load")
        self._shapes: set[Any] = set()  # of made batches
        self._empty: dict[Any, Any] = {}  # the second parts of calls without a smaller last batch
        if any(map(is_text, leaves)):
            jit_compile = False  # XLA has no strings
        self.program = _program(
            model, loader, step, self.streamed, selection, adversarial, jit_compile
        )
        self.outputs = model.__dict__["_batchlab_programs"][2]
        self._sizes = _sizes(loader.sampler) if fixed_sizes or self.program.xla else (0, 0)
        self._resident = None
        if not self.streamed:
            x, y = keras.tree.map_structure(np.asarray, (loader.x, loader.y))
            x = x if adversarial or step else in_compute_dtype(model, x)
            self._resident = keras.tree.map_structure(tf.constant, (x, y))
        self._priorities = Priorities()
        self._most = most or max(_CALL_STEPS)
        if lag and loader.listens and not (lag == 1 and self.prioritizes(loader.sampler)):
            self._most = lag  # for XLA a call has that many rows, used or not

    def __call__(self, batches: Iterable[NDArray[np.int64]]) -> list[NDArray[np.float32]]:
        """Train on `batches` in order; the losses of their samples, one (batch,) array each."""
        matrices = (np.asarray(batch)[np.newaxis] for batch in batches)
        results = map(self.run, self.groups([matrices]))
        return [losses for parts in results for part in parts for losses in part.losses]

    def groups(self, epochs: Iterable[Iterable[NDArray[np.int64]]]) -> Iterator[Group]:
        """Prepare batches for :meth:`run`: those of one size together, epochs that are alike too.

        An epoch, or a part of it, is some matrices of shape (steps, batch), each of batches that
        were drawn together.
        """
        if self.loader.makes_batches:
            yield from self._made(itertools.chain.from_iterable(epochs))
            return
        yield from self._together([list(self._runs(matrices)) for matrices in epochs])

    def undrawn(self, epochs: list[list[tuple[NDArray[Any], ...]]]) -> Iterator[Group]:
        """The same for batches that the compiled function is to draw: ``PrioritizedSampler.undrawn``."""
        return self._together(
            [[[*(self._weighed(*it) if len(it) == 1 else it)] for it in parts] for parts in epochs]
        )

    def _together(self, runs: list[list[Columns]]) -> Iterator[Group]:
        if len(runs) > 1 and self._alike(runs):
            together = [[np.concatenate(same) for same in zip(*parts)] for parts in zip(*runs)]
            yield self._group(*together, epochs=len(runs))
            return
        for number, epoch in enumerate(runs):
            begins = number > 0
            for group in self._cut(epoch):
                group.begins, begins = begins, False
                yield group

    def prioritizes(self, sampler: Any) -> bool:
        """Whether the compiled function can keep the priorities of `sampler`, and draw by them."""
        own = type(sampler) is PrioritizedSampler and self.program.selection is None
        # Without XLA every step would copy the tree.
        return own and self.program.xla and self._resident is not None

    def _alike(self, epochs: list[list[Columns]]) -> bool:
        """Whether they are whole epochs of the sampler's usual batches, equally many."""
        shapes = [[(matrix.shape, len(weights)) for matrix, *weights in runs] for runs in epochs]
        return (
            tuple(size for (_, size), _ in shapes[0]) == tuple(filter(None, self._sizes))
            and len({weights for _, weights in shapes[0]}) == 1
            and all(epoch == shapes[0] for epoch in shapes)
        )

    def _runs(self, matrices: Iterable[NDArray[np.int64]]) -> Iterator[Columns]:
        """Batches of one size make a matrix."""
        # So do those with weights: a mixture has none where no sample is from a source with weights.
        weighed = map(self._weighed, matrices)
        for _, parts in itertools.groupby(weighed, key=lambda part: (part[0].shape[1], len(part))):
            indices, *weights = (np.concatenate(arrays) for arrays in zip(*parts))
            yield [indices if weights else self._checked(indices), *weights]

    def _cut(self, runs: list[Columns]) -> Iterator[Group]:
        """As few calls as they fit in: a smaller last batch goes with those before it."""
        batch, rest = self._sizes
        while runs:
            run, *runs = runs
            steps, size = run[0].shape
            capacity = self.capacity(size)
            for start in range(0, steps, capacity):
                part = [column[start : start + capacity] for column in run]
                following = runs[:1] if start + capacity >= steps and size == batch else []
                if [(len(it), *it[0].shape) for it in following] == [(len(part), 1, rest)]:
                    yield self._group(part, runs.pop(0))
                elif (steps, size) == (1, rest):  # alone: not another function for it
                    yield self._group([empty(column, batch) for column in part], part)
                else:
                    yield self._group(part)

    def _group(self, full: Columns, last: Columns | None = None, epochs: int = 1) -> Group:
        batch, rest = self._sizes
        size = full[0].shape[1]
        rest = rest if size == batch else 0
        rows = self.capacity(size)
        most = max(rows // len(self.loader), 1) if size == batch else 1
        if last is None:
            last = [empty(column, rest) for column in full]
            kind = rest, most, epochs, len(full), full[0].dtype
            if kind not in self._empty:
                self._empty[kind] = self._part(last, epochs, most)
            second = self._empty[kind]
        else:
            second = self._part(last, epochs, most)
        return Group(full[0], last[0], (self._part(full, 1, rows), second), size == batch, epochs)

    def _part(self, columns: Columns, least: int, most: int) -> tuple[Any, ...]:
        """Batches as the compiled function takes them, in `least` rows or more."""
        # For XLA with unused rows below, so that the shape stays the same.
        rows = max(least, most if self.program.xla else len(columns[0]))
        data = self._stream(columns[0], rows) if self._resident is None else self._resident
        if columns[0].dtype.kind == "f" and self.loader.sample_weight is not None:
            data = *data, self._sample_weight  # for samples that are not known yet
        matrix, *weights = (tf.constant(filled(column, rows)) for column in columns)
        return (matrix, tuple(weights), data) if columns[0].shape[1] else (matrix, (), ())

    def whole_epochs(self, steps: int) -> int:
        """How many epochs a call of so many steps can hold, if nobody acts between them."""
        batch, _ = self._sizes
        if self.loader.makes_batches or not batch or not self.program.resets:
            return 1
        return max(min(steps, self.capacity(batch)) // len(self.loader), 1)

    def _made(self, matrices: Iterable[NDArray[np.int64]]) -> Iterator[Group]:
        """Groups of batches that the loader makes one by one, those of one shape together."""
        coming = [making for matrix in matrices for making in self._making(self._checked(matrix))]
        batches = ((indices, result()) for indices, result in coming)
        for _, run in itertools.groupby(batches, key=lambda batch: _kind(batch[1])):
            made = list(run)
            self._check_shapes(made[0][1])
            capacity = self.capacity(len(made[0][0]))
            for start in range(0, len(made), capacity):
                indices, data = zip(*made[start : start + capacity])
                rows = capacity if self.program.xla else len(indices)
                matrix, (x, y, *weights) = keras.tree.map_structure(
                    lambda *leaves, rows=rows: tf.constant(filled(np.stack(leaves), rows)),
                    *zip(indices, data),
                )
                full, none = np.stack(indices), np.empty((0, 0), np.int64)
                parts = (matrix, tuple(weights), (x, y)), (tf.zeros((1, 0), tf.int64), (), ())
                yield Group(full, none, parts, full.shape[1] in self._sizes)

    def _making(
        self, matrix: NDArray[np.int64]
    ) -> Iterator[tuple[NDArray[np.int64], Callable[[], tuple[Any, ...]]]]:
        """The batches of `matrix`, drawn just now, each with what waits for its arrays."""
        for indices, key in zip(matrix, self.loader.keys(matrix)):
            draw = self.loader.draw(indices, key)
            if self.loader.own_batches:  # it may ask the sampler, which must not have gone on
                batch = self.loader.make(draw)
                yield indices, lambda batch=batch: batch
            else:
                yield indices, self._pool.submit(self.loader.make, draw).result

    def _check_shapes(self, batch: tuple[Any, ...]) -> None:
        """Refuse to compile without end."""
        shapes = tuple(leaf.shape[1:] for leaf in keras.tree.flatten(batch))
        self._shapes.add(shapes)
        if len(self._shapes) > _SHAPES:
            raise ValueError(
                f"{type(self).__name__}: the loader made samples of more than {_SHAPES} shapes, the "
                f"last {shown(shapes[0])}, and each is compiled anew, which takes longer than "
                "training. Pad to multiples of, say, 32: -(-longest // 32) * 32."
            )

    def _weighed(self, matrix: NDArray[np.int64]) -> tuple[NDArray[Any], ...]:
        """`matrix` with its weights, if any, which are asked for as soon as it is drawn."""
        if matrix.ndim != 2 or not self._weightless:
            matrix = self._checked(matrix)
        weights = None if self._weightless else self.loader.weights(matrix)
        return (matrix,) if weights is None else (matrix, weights)

    @property
    def _weightless(self) -> bool:
        """Whether the loader cannot have weights, so that to ask for them is wasted time."""
        return self.loader.sample_weight is None and not self.loader.weighs

    def _checked(self, matrix: NDArray[np.int64]) -> NDArray[np.int64]:
        """`matrix`, every index one of the data's."""
        whole = matrix.ndim == 2 and matrix.size and matrix.dtype.kind in "iu"
        if not whole or matrix.min() < 0 or matrix.max() >= self.loader.n:
            for row in matrix:
                check_indices(row, self.loader.n, type(self.loader.sampler).__name__)
        return matrix.astype(np.int64, copy=False)

    def capacity(self, size: int) -> int:
        """Steps per call at most, for batches of `size`."""
        low, high = _CALL_STEPS
        steps = min(max(_CALL_SAMPLES // size, low), high, self._most)
        if self.streamed:
            fit = _STREAM_BYTES // max(size * self._sample_bytes, 1)
            steps = max(min(steps, fit), self.loader.workers)  # work for every thread
        return steps

    def _stream(self, matrix: NDArray[np.int64], rows: int) -> Any:
        """The x and y of the batches `matrix`, and of unused ones below; (rows, batch, ...) each."""
        if not matrix.size:
            return keras.tree.map_structure(
                lambda spec: tf.zeros((rows, matrix.shape[1], *spec.shape[1:]), spec.dtype),
                self._specs,
            )
        return keras.tree.map_structure(
            lambda leaf: tf.constant(filled(leaf.reshape(*matrix.shape, *leaf.shape[1:]), rows)),
            self.loader.rows(matrix.reshape(-1)),
        )

    @cached_property
    def _sample_weight(self) -> tf.Tensor:
        return tf.constant(self.loader.sample_weight, tf.float32)

    @cached_property
    def _specs(self) -> Any:
        return self.loader.specs[:2]

    def run(self, group: Group, count: int | None = None) -> list[Result]:
        """Train on the batches of `group`, or the first `count` of them, in one call."""
        count = group.steps if count is None else count
        rows = len(group.full) // group.epochs
        adversarial, selection = self.program.adversarial, self.program.selection
        draws, sampler = group.full.dtype.kind == "f", self.loader.sampler
        outputs, logs, priorities = self.program(
            tf.constant(self.step, tf.int64),
            tf.constant(rows),
            tf.constant(count),
            group.parts,
            (
                () if selection is None else selection.settings,
                () if adversarial is None else adversarial.settings,
                self._priorities.settings(sampler) if draws else (),
            ),
            known=group.known,
        )
        self.step += count
        if draws:
            self._priorities.keep(priorities, sampler, group.full.size + group.last.size)
        outputs = [[array.numpy() for array in arrays] for arrays in outputs]
        logs = {name: values.numpy() for name, values in logs.items()}
        # To compute them again, operation by operation, takes as long as a call.
        self.program.latest = {name: values[group.epochs - 1] for name, values in logs.items()}
        results: list[Result] = []
        for epoch in range(group.epochs):
            before = {name: values[epoch - 1] for name, values in logs.items()} if epoch else None
            for indices, each, arrays in zip((group.full, group.last), (rows, 1), outputs):
                taken = slice(epoch * each, epoch * each + (min(each, count) if arrays else 0))
                count -= taken.stop - taken.start
                if taken.stop > taken.start:
                    losses, totals, *kept = (array[taken] for array in arrays)
                    chosen = kept[0] if kept else indices[taken]
                    check_count(losses.shape[1], chosen.shape[1])
                    scored = 0 if selection is None else indices.shape[1]
                    results.append(Result(chosen, losses, totals, scored, before and plain(before)))
                    before = None
        return results


def _sizes(sampler: Any) -> tuple[int, int]:
    """The size of a sampler's batches and of a smaller last one, 0 where there is none."""
    size = getattr(sampler, "batch_size", 0)
    if not size or getattr(sampler, "drop_last", True):
        return size, 0
    return size, getattr(sampler, "samples_per_epoch", 0) % size


def _kind(batch: tuple[Any, ...]) -> tuple[Any, ...]:
    """What batches of one call have in common."""
    leaves = keras.tree.flatten(batch)
    return (len(batch), *((leaf.dtype.kind, leaf.shape) for leaf in leaves))


def _program(
    model: keras.Model, loader: Loader, step: Callable[..., Any] | None, *options: Any
) -> Program:
    """The model's program for these options; the latest few are kept, so that each compiles once."""
    # compile() makes a new loss tracker: programs belong to one compile().
    # __dict__, because Keras would track and save what is assigned in the ordinary way.
    present = loss_tracker(model)
    kept = model.__dict__.get("_batchlab_programs", (None, {}, None, None))
    tracker, programs, outputs, built_for = kept
    if tracker is present and built_for is step:
        if step is None:
            check_targets(model, loader.y, outputs)
    else:
        programs = programs if tracker is present else {}
        outputs = build(model, loader, step)
        model.__dict__["_batchlab_programs"] = (present, programs, outputs, step)
    # A layer that was frozen since is trained no more.
    key = (step, *options, *map(id, model.trainable_variables))
    kind = Program if replicas(model) == 1 else DistributedProgram
    programs[key] = programs.pop(key, None) or kind(model, *options, step)
    while len(programs) > _PROGRAMS:
        del programs[next(iter(programs))]
    return programs[key]
