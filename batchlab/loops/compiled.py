"""Index batches to trained weights: data kept on the device or streamed to it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchlab.backend import keras, tf
from batchlab.loaders import Loader
from batchlab.loops.adversarial import Adversarial
from batchlab.loops.distributed import DistributedProgram, check_strategy, replicas
from batchlab.loops.program import Program
from batchlab.loops.selection import PoolSelection
from batchlab.loops.step import build, check_own_step, check_ready, loss_tracker
from batchlab.loops.targets import check_has_targets, check_targets
from batchlab.parameters import shown
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


@dataclass
class Group:
    """Batches of one size, ready for the compiled function."""

    indices: NDArray[np.int64]
    weights: tuple[tf.Tensor, ...]
    data: Any


@dataclass
class Result:
    """What a call did: the samples trained on and their losses, both (steps, kept)."""

    indices: NDArray[np.int64]
    losses: NDArray[np.float32]
    totals: NDArray[np.float32]
    scored_per_step: int

    def first(self, count: int) -> Result:
        """The first `count` steps of it."""
        columns = (self.indices, self.losses, self.totals)
        return Result(*(column[:count] for column in columns), self.scored_per_step)


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
    step : callable, optional
        A training step of your own: see :func:`train`.

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
        step: Callable[..., Any] | None = None,
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
        self._most = most or max(_CALL_STEPS)
        data = (loader.x, loader.y) if loader.in_memory else loader.gather(np.zeros(1, int))[:2]
        check_has_targets(data, type(self).__name__)
        leaves = keras.tree.flatten(data)
        self._sample_bytes = sum(leaf.dtype.itemsize * math.prod(leaf.shape[1:]) for leaf in leaves)
        too_large = self._sample_bytes * loader.n > resident_limit
        self.streamed = too_large or not loader.in_memory
        self._pool = ThreadPoolExecutor(loader.workers, thread_name_prefix="batchlab-load")
        self._shapes: set[Any] = set()  # of made batches
        if any(map(is_text, leaves)):
            jit_compile = False  # XLA has no strings
        self.program = _program(
            model, loader, step, self.streamed, selection, adversarial, jit_compile
        )
        self.outputs = model.__dict__["_batchlab_programs"][2]
        self._resident = None
        if not self.streamed:
            self._resident = keras.tree.map_structure(
                lambda array: tf.constant(np.asarray(array)), (loader.x, loader.y)
            )

    def __call__(self, batches: Iterable[NDArray[np.int64]]) -> list[NDArray[np.float32]]:
        """Train on `batches` in order; the losses of their samples, one (batch,) array each."""
        matrices = (np.asarray(batch)[np.newaxis] for batch in batches)
        results = map(self.run, self.groups(matrices))
        return [losses for result in results for losses in result.losses]

    def groups(self, matrices: Iterable[NDArray[np.int64]]) -> Iterator[Group]:
        """Prepare batches for :meth:`run`: those of one size together.

        Every one of `matrices` is of shape (steps, batch): the batches that were drawn together.
        """
        if self.loader.makes_batches:
            yield from self._made(matrices)
            return
        # Batches of one size make a matrix; a smaller last batch is a matrix of its own, unpadded.
        # So do those with weights: a mixture has none where no sample is from a source with weights.
        weighed = map(self._weighed, matrices)
        kinds = itertools.groupby(weighed, key=lambda part: (part[0].shape[1], len(part)))
        for (size, _), parts in kinds:
            indices, *weights = (np.concatenate(arrays) for arrays in zip(*parts))
            indices = self._checked(indices)
            capacity = self.capacity(size)
            for start in range(0, len(indices), capacity):
                rows = slice(start, start + capacity)
                factors = tuple(tf.constant(self._padded(factor[rows])) for factor in weights)
                matrix = indices[rows]
                yield Group(matrix, factors, self._resident or self._stream(matrix))

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
                x, y, *weights = keras.tree.map_structure(
                    lambda *rows: tf.constant(self._padded(np.stack(rows))), *data
                )
                yield Group(np.stack(indices), tuple(weights), (x, y))

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

    def _stream(self, matrix: NDArray[np.int64]) -> Any:
        matrix = self._padded(matrix)
        return keras.tree.map_structure(
            lambda rows: tf.constant(rows.reshape(*matrix.shape, *rows.shape[1:])),
            self.loader.rows(matrix.reshape(-1)),
        )

    def _padded(self, rows: NDArray[Any]) -> NDArray[Any]:
        """`rows`; for XLA with unused ones below, so that the shape stays the same."""
        missing = self.capacity(rows.shape[1]) - len(rows)
        if self.program.xla and missing:
            rows = np.concatenate([rows, np.zeros((missing, *rows.shape[1:]), rows.dtype)])
        return rows

    def run(self, group: Group, count: int | None = None) -> Result:
        """Train on the batches of `group`, or the first `count` of them, in one call."""
        rows, size = group.indices.shape
        count = rows if count is None else count
        adversarial, selection = self.program.adversarial, self.program.selection
        outputs = self.program(
            tf.constant(self.step, tf.int64),
            tf.constant(count),
            tf.constant(self._padded(group.indices)),
            group.weights,
            group.data,
            tuple(() if option is None else option.settings for option in (selection, adversarial)),
        )
        self.step += count
        losses, totals, *kept = (output.numpy()[:count] for output in outputs)
        indices = kept[0] if kept else group.indices[:count]
        if losses.shape != indices.shape:
            raise TypeError(
                f"train: step must return the loss of each of the {indices.shape[1]} samples of a batch, "
                f"got {losses.shape[1]} losses."
            )
        return Result(indices, losses, totals, 0 if selection is None else size)


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
