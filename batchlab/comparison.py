"""A fair comparison of strategies: the same first weights, several seeds, the cost counted."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchlab.backend import keras
from batchlab.parameters import Parameter

Run = Callable[[keras.Model, int], Mapping[str, Any]]


@dataclass(frozen=True)
class Comparison:
    """What `compare` measured.

    Attributes
    ----------
    measures : dict of str to dict of str to ndarray of float64
        ``measures[measure][strategy]`` has one row per seed: shape (seeds,), or (seeds, points)
        for a curve.
    seconds : dict of str to ndarray of float64, shape (seeds,)
        Wall-clock seconds of each run, choosing and scoring included.

    Examples
    --------
    >>> import numpy as np
    >>> accuracy = {"random": np.array([0.90, 0.92]), "mine": np.array([0.91, 0.95])}
    >>> result = Comparison({"accuracy": accuracy}, seconds={})
    >>> result.wins("accuracy", "mine", over="random")
    2
    >>> print(result.table("accuracy", "{:.0%}"))
    strategy  mean  lowest … highest
    random     91%      90% … 92%
    mine       93%      91% … 95%
    """

    measures: dict[str, dict[str, NDArray[np.float64]]]
    seconds: dict[str, NDArray[np.float64]]

    def last(self, measure: str) -> dict[str, NDArray[np.float64]]:
        """The value at the end of every run, (seeds,) by strategy."""
        return {
            name: values if values.ndim == 1 else values[:, -1]
            for name, values in self.measures[measure].items()
        }

    def wins(self, measure: str, strategy: str, over: str) -> int:
        """In how many seeds `strategy` ended higher than the strategy `over`."""
        values = self.last(measure)
        return int((values[strategy] > values[over]).sum())

    def table(self, measure: str, form: str = "{:.2f}") -> str:
        """Mean, lowest and highest final value of every strategy, as text.

        Parameters
        ----------
        measure : str
            One of ``measures``.
        form : str
            How to write a value. Few digits: the last ones differ from computer to computer.
        """
        values = self.last(measure)
        width = max(map(len, [*values, "strategy"]))
        lines = [f"{'strategy':{width}}  {'mean':>4}  lowest … highest"]
        for name, ends in values.items():
            mean, low, high = (form.format(x) for x in (ends.mean(), ends.min(), ends.max()))
            lines.append(f"{name:{width}}  {mean:>4}  {low:>7} … {high}")
        return "\n".join(lines)


def compare(
    build: Callable[[], keras.Model], runs: Mapping[str, Run], seeds: int = 5
) -> Comparison:
    """Run every strategy from the same first weights, for several seeds.

    For each seed ``build()`` gives new first weights, and every strategy starts from them, with a
    fresh optimizer. Before it, ``keras.utils.set_random_seed(seed)`` sets Python's, NumPy's and
    TensorFlow's global random state. One model is reused throughout, so that it is compiled once. In
    a notebook a progress bar is shown.

    Parameters
    ----------
    build : callable
        Takes nothing and returns a compiled ``keras.Model``. Initializers must have no fixed seed.
    runs : mapping of str to callable
        By strategy, ``run(model, seed)``: trains the model and returns what was measured, as a
        mapping of str to float or, for curves, to an array_like of shape (points,). All must have
        the same budget for the comparison to be fair; put a properly reshuffled baseline first.
    seeds : int, default 5
        How many repetitions; the seeds are 0, 1, 2, …

    Returns
    -------
    Comparison

    Raises
    ------
    TypeError, ValueError
        If `seeds` is no positive number, or two runs measure different things.
    """
    seeds = Parameter(5, low=1, name="seeds").check(seeds, "compare")
    if not runs:
        raise ValueError("compare: runs must name at least one strategy, got none.")
    results: dict[str, list[Mapping[str, Any]]] = {name: [] for name in runs}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    bar = _progress_bar(f"{len(runs)} strategies × {seeds} seeds", len(runs) * seeds)
    model = build()
    model.optimizer.build(model.trainable_variables)
    fresh_optimizer = [variable.numpy() for variable in model.optimizer.variables]
    for seed in range(seeds):
        keras.utils.set_random_seed(seed)
        first = [variable.numpy() for variable in build().variables]
        for name, run in runs.items():
            # All variables, not get_weights(): the seeds of Dropout layers belong to a fresh start.
            for variable, value in zip(
                [*model.variables, *model.optimizer.variables], [*first, *fresh_optimizer]
            ):
                variable.assign(value)
            began = time.perf_counter()
            results[name].append(run(model, seed))
            seconds[name].append(time.perf_counter() - began)
            bar.value += 1
    return Comparison(_by_measure(results), {name: np.array(s) for name, s in seconds.items()})


def _by_measure(
    results: Mapping[str, list[Mapping[str, Any]]],
) -> dict[str, dict[str, NDArray[np.float64]]]:
    expected = set(next(iter(results.values()))[0])
    for name, rows in results.items():
        for seed, row in enumerate(rows):
            if set(row) != expected:
                raise ValueError(
                    f"compare: every run must measure the same, but {name!r} with seed {seed} gave "
                    f"{sorted(row)} and the first run {sorted(expected)}."
                )
    return {
        measure: {
            name: np.array([row[measure] for row in rows], dtype=np.float64)
            for name, rows in results.items()
        }
        for measure in next(iter(results.values()))[0]
    }


def _progress_bar(text: str, total: int) -> Any:
    """A bar; shown only in a notebook, where its text stays when the widget is gone."""
    import ipywidgets
    from IPython import get_ipython
    from IPython.display import display

    bar = ipywidgets.IntProgress(max=total, description=text, style={"description_width": "auto"})
    if get_ipython() is not None:
        display({**bar._repr_mimebundle_(), "text/plain": f"Compared: {text}."}, raw=True)
    return bar
