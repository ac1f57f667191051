"""A fair comparison of strategies: the same first weights, several seeds, the cost counted.

And the one rule for "better", :meth:`Comparison.verdict`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from batchlab.backend import keras
from batchlab.parameters import Parameter, shown

Run = Callable[[keras.Model, int], Mapping[str, Any]]

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Verdict:
    """What a comparison can say of one strategy against another, by one rule.

    The gain lies, with 95 % confidence, from ``low`` to ``high``. The word is *better* where all of
    that interval is above 0, *worse* where all of it is below, and *too close to tell* otherwise.

    Attributes
    ----------
    strategy, over, measure : str
        Who was compared with whom, by what.
    gain : float
        Mean over the seeds of the strategy's value minus the baseline's of the same seed; the other
        way round where lower is better.
    from_seeds, from_test : float
        Half-widths of the 95 % intervals that come from the spread of the seeds, and from the size
        of the test set (0 where that was not said).
    wins, seeds : int
        In how many of the seeds the strategy was better.

    Examples
    --------
    >>> Verdict("mine", "random", "accuracy", 0.031, 0.012, 0.016, wins=5, seeds=5).text("{:+.1%}")
    'mine is better than random in accuracy: +3.1 points in the mean, won 5 of 5 seeds, 95 % interval \
+1.1 … +5.1; less than 2.0 could not have been shown.'
    """

    strategy: str
    over: str
    measure: str
    gain: float
    from_seeds: float
    from_test: float
    wins: int
    seeds: int

    @property
    def smallest(self) -> float:
        """The smallest gain or loss that this comparison could have shown: half the interval.

        Chance between seeds and chance in the test set are independent, so their squares add up.
        """
        return float(np.hypot(self.from_seeds, self.from_test))

    @property
    def low(self) -> float:
        """Lower end of the 95 % interval of the gain."""
        return self.gain - self.smallest

    @property
    def high(self) -> float:
        """Upper end of the 95 % interval of the gain."""
        return self.gain + self.smallest

    @property
    def word(self) -> str:
        """``"better"``, ``"worse"`` or ``"too close to tell"``."""
        if self.low > 0:
            return "better"
        return "worse" if self.high < 0 else "too close to tell"

    def text(self, form: str = "{:+.2f}") -> str:
        """The verdict as one sentence.

        Parameters
        ----------
        form : str
            How to write a gain; ``"{:+.1%}"`` writes it in points (hundredths). Few digits: the
            last ones differ from computer to computer.
        """
        gain, low, high = (_written(x, form) for x in (self.gain, self.low, self.high))
        words = {
            "better": f"is better than {self.over}",
            "worse": f"is worse than {self.over}",
            "too close to tell": f"and {self.over} are too close to tell",
        }
        unit = " points" if "%" in form else ""
        return (
            f"{self.strategy} {words[self.word]} in {self.measure}: {gain}{unit} in the mean, won "
            f"{self.wins} of {self.seeds} seeds, 95 % interval {low} … {high}; less than "
            f"{_written(self.smallest, form).lstrip('+')} could not have been shown."
        )

    def __str__(self) -> str:
        return self.text()


class Verdicts(dict[str, Verdict]):
    """The verdict on every strategy but the baseline, by name; printed as a table."""

    def text(self, form: str = "{:+.2f}") -> str:
        """The table, with gains written by `form` as in :meth:`Verdict.text`."""
        rows = [("strategy", "gain", "95 % interval", "seeds won", "smallest to show", "verdict")]
        for name, verdict in self.items():
            gain, low, high, smallest = (
                _written(x, form)
                for x in (verdict.gain, verdict.low, verdict.high, verdict.smallest)
            )
            won = f"{verdict.wins} of {verdict.seeds}"
            rows.append((name, gain, f"{low} … {high}", won, smallest.lstrip("+"), verdict.word))
        widths = [max(map(len, column)) for column in zip(*rows)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        if self:
            first = next(iter(self.values()))
            unit = ", in points" if "%" in form else ""
            lines.insert(0, f"{first.measure} against {first.over}{unit}")
        return "\n".join(lines)

    __str__ = __repr__ = text


def _written(value: float, form: str) -> str:
    text = form.format(value).replace("%", "")
    return text if float(text) else text.lstrip("+-")  # the sign of a rounded 0 is chance


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

    def verdict(
        self,
        measure: str,
        strategy: str,
        over: str | None = None,
        *,
        test_size: int | Sequence[int] | None = None,
        per_sample: bool = False,
        lower_is_better: bool = False,
    ) -> Verdict:
        """Is `strategy` better than the strategy `over`? The one rule of this project.

        The 95 % interval of the mean paired gain has two parts, whose squares are added:

        - over *seeds*, that of the paired t test: for gains d of S seeds,
          ``± t(0.975, S - 1) · sd(d) / √S``;
        - over *test sets* of this size, as all seeds share one: for shares p of n test samples,
          ``± 1.96 · √(Σ q (1 - q) / (n + 2))`` over the two strategies, with
          ``q = (n p + 1) / (n + 2)`` (Agresti and Caffo, 2000). That takes the two strategies'
          mistakes for independent. Mostly they make the same ones, so it is rather too wide.
          With `per_sample` the mistakes are compared sample by sample, as in McNemar's test:
          ``± 1.96 · sd(g) / √n``, with the gain g of every test sample in the mean over the seeds
          (Miller, 2024, arXiv 2411.00640, section 4).

        Of strategies that are alike one in twenty is called better or worse, so look at many and
        some are. A verdict holds for this data and this budget.

        Parameters
        ----------
        measure : str
            One of ``measures``; of curves the end counts.
        strategy, over : str
            Which strategy, and its baseline (default: the first).
        test_size : int or sequence of int, optional
            Where `measure` is a share from 0 to 1: of how many test samples. For accuracy all, for
            the recall of a class its own, for balanced accuracy the number in every class, for
            average precision that of the positives (Boyd, Eng and Page, 2013).
        per_sample : bool
            Whether the second axis of `measure` is the test samples, not the points of a curve: what
            each contributed, such as 1 if it was classified rightly and 0 if not. For balanced
            accuracy multiply by ``n / (classes * n_of_its_class)``.
        lower_is_better : bool
            For a loss or an error.

        Returns
        -------
        Verdict

        Raises
        ------
        ValueError
            If a name is unknown, there are fewer than two seeds, or `test_size` does not fit.
        """
        over = next(iter(self.measures[measure])) if over is None else over
        for name in (strategy, over):
            if name not in self.measures[measure]:
                known = ", ".join(map(repr, self.measures[measure]))
                raise ValueError(f"verdict: there is no strategy {name!r}. There are {known}.")
        if per_sample and test_size is not None:
            raise ValueError("verdict: test_size is known where per_sample is True; leave it out.")
        if per_sample:
            one, two = (self._samples(measure, name) for name in (strategy, over))
            from_test = _half_width_of_samples(one - two)
            one, two = one.mean(axis=1), two.mean(axis=1)
        else:
            one, two = (self.last(measure)[name] for name in (strategy, over))
            from_test = 0.0 if test_size is None else _half_width_of_test(one, two, test_size)
        gains = two - one if lower_is_better else one - two
        if gains.size < 2:
            raise ValueError("verdict: one seed cannot tell; compare with seeds=5 or more.")
        return Verdict(
            *(strategy, over, measure, float(gains.mean()), _half_width_of_seeds(gains), from_test),
            wins=int((gains > 0).sum()),
            seeds=gains.size,
        )

    def _samples(self, measure: str, name: str) -> NDArray[np.float64]:
        values = self.measures[measure][name]
        if values.ndim != 2 or values.shape[1] < 2:
            raise ValueError(
                f"verdict: per_sample needs {measure!r} of shape (seeds, test samples), but "
                f"{name!r} has {values.shape}. Return one value per test sample from each run."
            )
        return values

    def verdicts(self, measure: str, over: str | None = None, **options: Any) -> Verdicts:
        """:meth:`verdict` of every strategy but the baseline `over`, printed as a table.

        Parameters
        ----------
        measure, over, **options
            As for :meth:`verdict`.

        Examples
        --------
        >>> import numpy as np
        >>> accuracy = {"random": np.array([0.90, 0.92, 0.91]), "mine": np.array([0.94, 0.95, 0.95])}
        >>> result = Comparison({"accuracy": accuracy}, seconds={})
        >>> print(result.verdicts("accuracy").text("{:+.1%}"))
        accuracy against random, in points
        strategy  gain  95 % interval  seeds won  smallest to show  verdict
        mine      +3.7  +2.2 … +5.1    3 of 3     1.4               better
        >>> result.verdict("accuracy", "mine", test_size=300).word  # so few samples cannot show it
        'too close to tell'
        """
        over = next(iter(self.measures[measure])) if over is None else over
        others = (name for name in self.measures[measure] if name != over)
        return Verdicts({name: self.verdict(measure, name, over, **options) for name in others})

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


def _half_width_of_seeds(gains: NDArray[np.float64]) -> float:
    standard_error = gains.std(ddof=1) / np.sqrt(gains.size)
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, gains.size - 1) * standard_error)


def _half_width_of_samples(gains: NDArray[np.float64]) -> float:
    """For gains by seed and test sample, float64 (seeds, n)."""
    of_sample = gains.mean(axis=0)
    standard_error = of_sample.std(ddof=1) / np.sqrt(of_sample.size)
    return float(stats.norm.ppf((1 + CONFIDENCE) / 2) * standard_error)


def _half_width_of_test(
    one: NDArray[np.float64], two: NDArray[np.float64], test_size: int | Sequence[int]
) -> float:
    """For two shares: of `test_size` samples, or the mean of shares of several classes."""
    sizes = np.atleast_1d(np.asarray(test_size))
    if sizes.dtype.kind not in "iu" or sizes.ndim != 1 or not sizes.size or sizes.min() < 1:
        raise ValueError(
            "verdict: test_size must be a number of samples, or one per class, all 1 or more, got "
            f"{test_size!r}."
        )
    variance = 0.0
    for shares in (one, two):
        if shares.min() < 0 or shares.max() > 1:
            outside = shares[(shares < 0) | (shares > 1)][0]
            raise ValueError(
                "verdict: with test_size the measure must be a share from 0 to 1, got "
                f"{outside:g}. Divide per cent by 100, or leave test_size out."
            )
        adjusted = (sizes * shares.mean() + 1) / (sizes + 2)
        variance += float((adjusted * (1 - adjusted) / (sizes + 2)).sum()) / sizes.size**2
    return float(stats.norm.ppf((1 + CONFIDENCE) / 2) * np.sqrt(variance))


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
        mapping of str to float or, for curves, to an array_like of shape (points,); one value per
        test sample, (test samples,), serves ``verdict(…, per_sample=True)``. All must have
        the same budget for the comparison to be fair; put a properly reshuffled baseline first.
    seeds : int, default 5
        How many repetitions; the seeds are 0, 1, 2, …

    Returns
    -------
    Comparison

    Raises
    ------
    TypeError, ValueError
        If `seeds` is no positive number, `build` or `runs` are no functions, or two runs measure
        different things.
    """
    seeds = Parameter(5, low=1, name="seeds").check(seeds, "compare")
    if not isinstance(runs, Mapping):
        raise TypeError(f"compare: runs must be a dict from name to function, got {shown(runs)}.")
    if not runs:
        raise ValueError("compare: runs must name at least one strategy, got none.")
    for name, function in [("build", build), *((f"runs[{n!r}]", run) for n, run in runs.items())]:
        if not callable(function):
            raise TypeError(f"compare: {name} must be a function, got {shown(function)}.")
    results: dict[str, list[Mapping[str, Any]]] = {name: [] for name in runs}
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    bar = _progress_bar(f"{len(runs)} strategies × {seeds} seeds", len(runs) * seeds)
    model = build()
    if not isinstance(model, keras.Model) or model.optimizer is None:
        raise TypeError(f"compare: build must return a compiled keras.Model, got {shown(model)}.")
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
