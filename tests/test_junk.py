"""Every public name and every kind of junk: it works as a user would expect, or the error is ours.

One row says how a name is called rightly; every argument in turn is then replaced by every kind of
junk. An error must be a TypeError, ValueError or IndexError that begins with the owner and names the
parameter, and what the call was about must be as it was. What is only dressed otherwise (a list, a
tensor, a pandas column) must work, with the same result.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pytest

import batchlab as bl
from batchlab import datasets, figures
from tests.junk import dressed, junk_for
from tests.loops import models


@dataclass
class Row:
    """How a name is called rightly, and what of the junk is right for which argument."""

    owner: str  # with whose name messages begin, a pattern
    call: Callable[..., Any]
    good: dict[str, Any]
    fine: dict[str, str] = field(default_factory=dict)  # kinds after the argument, by comma
    make: Callable[[], Any] | None = None  # what the call may change; its first argument
    trains: bool = False  # so what is fine is not tried: it takes long, and a model is changed
    refuses: tuple[str, ...] = ()  # clothes that are not taken
    says: dict[str, str] = field(default_factory=dict)  # what messages call an argument, a pattern


LABELS = np.array([0, 0, 1, 1, 2, 2])
NUMBERS = np.array([1.0, 2.0, 0.5, 3.0, 1.5, 2.5])
X, Y = np.linspace(0, 1, 12).reshape(6, 2), LABELS
BATCHES = {"seed": 0, "drop_last": False}
FLAGS = {"drop_last": "true", "replacement": "true", "exact": "true", "self_paced": "true"}
# An array that says itself how many samples there are can have any length.
ANY = "1-d, shorter"
TEXTS = "none, nan, true, huge, 2**64, -1, text, ragged, empty, 0-d, 1-d, 2-d, object, dict, function, NA"


def setter(name: str) -> Callable[..., None]:
    return lambda target, **values: setattr(target, name, values[name])


def sampler(cls: type, *, fine: dict[str, str] | None = None, **good: Any) -> Row:
    return Row(cls.__name__, cls, {**good, "batch_size": 2, **BATCHES}, {**FLAGS, **(fine or {})})


def update(make: Callable[[], Any]) -> Row:
    good = {"indices": np.array([0, 2, 3]), "losses": np.array([1.0, 0.5, 2.0])}
    junk = {"indices": "1-d", "losses": "1-d"}
    says = {"indices": "index|indices|losses"}  # which of the two has another length
    owner = type(make()).__name__
    return Row(owner, lambda s, **kw: s.update(**kw), good, junk, make, says=says)


def history() -> bl.History:
    made = bl.History(6)
    made.record([[0, 1, 2], [3, 4, 5], [0, 1, 2]], np.ones((3, 3)))
    made.end_epoch({"loss": 2.0})
    return made


NET, LOADER = models.model("dense"), models.loader()
DX, DY = models.data("dense")


def axes() -> Any:
    return figures.Figure(2, 2).subplots()


ROWS: dict[str, Row] = {
    "SequentialSampler": sampler(bl.SequentialSampler, n=6),
    "RandomSampler": sampler(bl.RandomSampler, n=6, replacement=False),
    "WeightedSampler": sampler(
        bl.WeightedSampler, weights=NUMBERS, replacement=True, num_samples=6,
        fine={"weights": ANY, "num_samples": "none"},
    ),
    "ClassBalancedSampler": sampler(
        bl.ClassBalancedSampler, labels=LABELS, balance=1.0, scheme="inverse",
        fine={"labels": ANY},
    ),
    "StratifiedSampler": sampler(bl.StratifiedSampler, labels=LABELS, fine={"labels": ANY}),
    "MPerClassSampler": sampler(bl.MPerClassSampler, labels=LABELS, m=1, fine={"labels": ANY}),
    "CurriculumSampler": sampler(
        bl.CurriculumSampler, difficulty=NUMBERS, pacing="linear", order="easy-first", start=0.5,
        pacing_epochs=2.0, self_paced=False,
        fine={"difficulty": ANY, "pacing": "function", "pacing_epochs": "2**64"},
    ),
    "PrioritizedSampler": sampler(
        bl.PrioritizedSampler, n=6, alpha=0.5, beta=0.5, epsilon=0.1, fine={"epsilon": "2**64"}
    ),
    "RankSampler": sampler(
        bl.RankSampler, n=6, pressure=2.0, resort=0.5, fine={"pressure": "2**64", "resort": "2**64"}
    ),
    "MixtureSampler": Row(
        "MixtureSampler",
        lambda ratios, **kw: bl.MixtureSampler({"a": bl.RandomSampler(4, 1)}, ratios, **kw),
        {"ratios": {"a": 1.0}, "batch_size": 2, "exact": True, **BATCHES},
        {**FLAGS, "ratios": "none"},
    ),
    "MixtureSampler.samplers": Row("MixtureSampler", bl.MixtureSampler, {"samplers": {}}, says={}),
    "ShardedSampler": Row(
        "ShardedSampler",
        lambda **kw: bl.ShardedSampler(bl.SequentialSampler(6, 2), **kw),
        {"num_shards": 2, "shard": 1},
    ),
    "ShardedSampler.sampler": Row(
        "ShardedSampler", lambda sampler: bl.ShardedSampler(sampler, 1, 0),
        {"sampler": bl.SequentialSampler(6, 2)},
    ),
    "HandPickedSampler": Row(
        "HandPickedSampler",
        lambda **kw: bl.HandPickedSampler(bl.SequentialSampler(6, 2), **kw),
        {
            "exclude": [5], "pin": [0], "boost": {1: 2.0}, "next": [3], "fill_next": False,
            "correct": False,
        },
        {"exclude": "empty, 1-d", "pin": "empty", "boost": "none, dict", "next": "empty, 1-d"},
    ),
    "HandPickedSampler.sampler": Row(
        "HandPickedSampler", bl.HandPickedSampler, {"sampler": bl.SequentialSampler(6, 2)}
    ),
    "Schedule": Row(
        "Schedule", bl.Schedule, {"start": 0.5, "end": 1.0, "epochs": 2.0, "shape": "linear"},
        {"start": "-1", "end": "-1"},
    ),
    "WeightedSampler.weights": Row(
        "WeightedSampler", setter("weights"), {"weights": NUMBERS}, {},
        lambda: bl.WeightedSampler(np.ones(6), 2),
    ),
    "CurriculumSampler.difficulty": Row(
        "CurriculumSampler", setter("difficulty"), {"difficulty": NUMBERS}, {},
        lambda: bl.CurriculumSampler(np.ones(6), 2),
    ),
    "StratifiedSampler.ratios": Row(
        "StratifiedSampler", setter("ratios"), {"ratios": {0: 0.5, 1: 0.25, 2: 0.25}}, {},
        lambda: bl.StratifiedSampler(LABELS, 2),
    ),
    "Sampler.batch_size": Row(
        "RandomSampler", setter("batch_size"), {"batch_size": 3}, {}, lambda: bl.RandomSampler(6, 2)
    ),
    "PrioritizedSampler.update": update(lambda: bl.PrioritizedSampler(6, 2)),
    "RankSampler.update": update(lambda: bl.RankSampler(6, 2)),
    "CurriculumSampler.update": update(lambda: bl.CurriculumSampler(NUMBERS, 2, self_paced=True)),
    "Loader": Row(
        "Loader", lambda **kw: bl.Loader(**kw, sampler=bl.RandomSampler(6, 2)),
        {"x": X, "y": Y, "sample_weight": NUMBERS},
        {"x": "with nan, deeper, sparse", "y": "none, with nan, deeper", "sample_weight": "none"},
        refuses=("column",),  # data of dtype object are converted by those who know what they are
    ),
    "Loader.sampler": Row(
        "Loader", lambda sampler: bl.Loader(X, Y, sampler=sampler), {"sampler": bl.RandomSampler(6, 2)},
        {"sampler": "ragged, empty, 1-d, 2-d"},  # a list of batches; wrong ones are named when due
    ),
    "History": Row("History", bl.History, {"n": 6, "keep": 10}),
    "History.record": Row(
        "History.record", lambda h, **kw: h.record(**kw),
        {"indices": np.array([0, 2, 3]), "losses": np.array([1.0, 0.5, 2.0])},
        {"indices": "1-d", "losses": "none, 1-d, with nan"}, history,
        says={"indices": "index|indices|losses"},
    ),
    "History.record_event": Row(
        "History.record_event", lambda h, **kw: h.record_event(**kw), {"name": "m", "value": 1},
        {"name": "text", "value": TEXTS}, history,
    ),
    "History.end_epoch": Row(
        "History.end_epoch", lambda h, **kw: h.end_epoch(**kw), {"logs": {"loss": 1.0}},
        {"logs": "dict"}, history,
    ),
    "History.class_mix": Row(
        "History.class_mix", lambda h, **kw: h.class_mix(**kw), {"labels": LABELS, "last": 2},
        {"last": "none"}, history,
    ),
    "History.difficulty": Row(
        "History.difficulty", lambda h, **kw: h.difficulty(**kw),
        {"by": "loss", "learnt_below": 0.5}, {"learnt_below": "2**64, -1"}, history,
    ),
    "PoolSelection": Row(
        "PoolSelection",
        lambda **kw: repr(bl.PoolSelection(**kw)),
        {"keep": 2, "pool": 4, "score": "loss", "draw": "top", "beta": 1.0},
        {"beta": "2**64"},
    ),
    "PoolSelection.reference_losses": Row(
        "PoolSelection",
        lambda **kw: repr(bl.PoolSelection(2, 4, "reducible_loss", **kw)),
        {"reference_losses": NUMBERS},
        {"reference_losses": ANY},
    ),
    "Adversarial": Row(
        "Adversarial",
        lambda **kw: repr(bl.Adversarial(**kw)),
        {"epsilon": 0.1, "ratio": 0.5, "steps": 2, "step_size": 0.1, "clip": np.array([0.0, 1.0])},
        {"step_size": "none, 2**64"},
    ),
    "datasets.digits_long_tailed": Row(
        "digits_long_tailed", datasets.digits_long_tailed, {"imbalance": 20.0, "seed": 0}
    ),
    "datasets.breast_cancer": Row("breast_cancer", datasets.breast_cancer, {"seed": 0}),
    "datasets.moons": Row(
        "moons", datasets.moons, {"n": 100, "noise": 0.2, "share": 0.1, "seed": 0},
        {"noise": "2**64"},
    ),
    "datasets.blobs": Row(
        "blobs", datasets.blobs, {"n": 100, "centers": 3, "spread": 1.0, "seed": 0},
        {"spread": "2**64"},
    ),
    "datasets.rare_events": Row(
        "rare_events", datasets.rare_events, {"n": 400, "share": 0.1, "seed": 0}
    ),
    "datasets.imbalanced": Row(
        "imbalanced", datasets.imbalanced, {"y": LABELS, "ratio": 2.0, "seed": 0},
        {"y": ANY, "ratio": "2**64"},
    ),
    "datasets.with_label_noise": Row(
        "with_label_noise", datasets.with_label_noise, {"y": LABELS, "share": 0.5, "seed": 0},
        {"y": ANY},
    ),
    "figures.Figure": Row(
        "Figure", figures.Figure, {"width": 2.0, "height": 2.0}, {"width": "", "height": ""}
    ),
    "figures.smooth": Row(
        "figures.smooth", figures.smooth, {"values": NUMBERS, "window": 2},
        {"values": f"{ANY}, empty, with nan"},
    ),
    "figures.learning_curves": Row(
        "figures.learning_curves",
        lambda **kw: figures.learning_curves(**kw).alt,
        {"histories": {"a": history()}, "metrics": ["loss"], "title": "T"},
        {"title": TEXTS},
    ),
    "figures.class_mix": Row(
        "figures.class_mix",
        lambda shares, classes: figures.class_mix({"a": shares}, classes).alt,
        {"shares": NUMBERS / NUMBERS.sum(), "classes": list("abcdef")},
        {"shares": "with nan"},
        says={"shares": "mixes"},
    ),
    "figures.class_mix.mixes": Row(
        "figures.class_mix", lambda mixes: figures.class_mix(mixes, ["a"]).alt, {"mixes": {"a": [1]}}
    ),
    "figures.visits": Row(
        "figures.visits", lambda **kw: figures.visits(**kw).alt, {"histories": {"a": history()}}
    ),
    "figures.confusion": Row(
        "figures.confusion",
        lambda **kw: figures.confusion(**kw).alt,
        {"y_true": LABELS, "y_pred": LABELS[::-1].copy(), "classes": ["a", "b", "c"]},
        {"classes": "1-d"},
    ),
    "figures.scatter": Row(
        "figures.scatter", lambda **kw: figures.scatter(axes(), **kw),
        {"x": X, "y": Y, "classes": ["a", "b", "c"]}, {"classes": "1-d"},
    ),
    "figures.grid_of": Row(
        "figures.grid_of", lambda **kw: figures.grid_of(axes(), **kw), {"resolution": 4}
    ),
    "figures.surface_values": Row(
        "figures.surface", figures.surface_values, {"outputs": np.ones((4, 2))},
        {"outputs": "with nan"},
    ),
    "figures.images": Row(
        "figures.images", lambda rows: figures.images(rows).alt, {"rows": {"a": np.ones((2, 3, 3))}}
    ),
    "figures.verdicts": Row(
        "figures.verdicts", lambda panels: figures.verdicts(panels, "").alt, {"panels": {"a": {}}}
    ),
    "figures.decision_surface": Row(
        "figures.(decision_)?surface",
        lambda predict: figures.decision_surface(predict, X, Y, ["a", "b", "c"]).alt,
        {"predict": lambda points: points[:, :1] > 0},
        says={"predict": "predict|outputs"},
    ),
    "figures.comparison": Row(
        "figures.comparison",
        lambda runs, points: figures.comparison({"a": runs}, "loss", points=points).alt,
        {"runs": np.ones((2, 3)), "points": np.array([1.0, 2.0, 3.0])},
        {"points": "1-d", "runs": "with nan, shorter"},
        says={"runs": "values"},
    ),
    "train": Row(
        "train", lambda **kw: bl.train(verbose=0, **kw),
        {
            "model": NET, "loader": LOADER, "epochs": 1, "validation_freq": 1, "lag": 16,
            "steps_per_call": 2, "validation_batch_size": 7, "resident_limit": 2**31,
            "restore_on_nan": False, "jit_compile": False, "step": None, "selection": None,
            "adversarial": None, "history": None, "callbacks": [],
        },
        {
            "steps_per_call": "none", "validation_batch_size": "none", "jit_compile": "none",
            "step": "none, function", "selection": "none", "adversarial": "none", "history": "none",
            "callbacks": "none, empty, dict", "resident_limit": "2**64",
        },
        trains=True,
    ),
    "train.verbose": Row(
        "train", lambda verbose: bl.train(NET, LOADER, verbose=verbose),
        {"verbose": 0}, {"verbose": "true"}, trains=True,
    ),
    "LogSelection": Row(
        "LogSelection", lambda **kw: repr(type(bl.LogSelection(**kw))), {"labels": LABELS},
        {"labels": f"none, {ANY}"},
    ),
    "save": Row(
        "save|checkpoint", lambda **kw: bl.save(**kw),
        {"path": "nowhere", "model": NET, "loader": LOADER, "history": bl.History(models.N)},
        {"path": "text"}, trains=True, says={"path": "path|checkpoint"},
    ),
    "eager_loop": Row(
        "eager_loop", bl.eager_loop, {"model": NET, "loader": LOADER, "epochs": 1}, trains=True
    ),
    "fit_baseline": Row(
        "(fit_baseline|Loader|RandomSampler)", bl.fit_baseline,
        {"model": NET, "x": DX, "y": DY, "batch_size": 7, "epochs": 1},
        {"x": "with nan, deeper, sparse", "y": "with nan, deeper"},
        trains=True,
    ),
    "sample_losses": Row(
        "sample_losses", bl.sample_losses, {"model": NET, "loader": LOADER, "batch_size": 7}
    ),
    "CompiledSteps": Row("", bl.CompiledSteps, {"model": NET, "loader": LOADER}),
    "use_xla": Row("", bl.use_xla, {"model": NET}),
    "resume": Row("resume", partial(bl.resume, "nowhere"), {"model": NET, "loader": LOADER}),
    "compare": Row(
        "compare", bl.compare,
        {
            "build": lambda: NET,
            "runs": {"a": lambda model, seed: {"loss": 1.0}},
            "seeds": 1,
        },
        trains=True,
    ),
    "Session": Row(
        "(Session|RandomSampler)", bl.Session,
        {"x": DX, "y": DY, "batch_size": 7, "seed": 0, "label_noise": 0.1, "imbalance": 2.0},
        {"x": "with nan, deeper", "y": "1-d"},
        trains=True,
        says={"y": "y|labels"},
    ),
    "Session.groups": Row(
        "Session", lambda groups: bl.Session(DX, DY, groups=groups), {"groups": DY},
        {"groups": "none"}, trains=True,
    ),
    "BatchLab": Row(
        "(BatchLab|Session)", lambda **kw: bl.BatchLab(DX, DY, **kw),
        {
            "batch_size": 7, "classes": ["a", "b", "c"], "groups": DY, "validation_data": None,
            "strategies": None, "model": None, "max_steps": 10, "pace": "step", "theme": "auto",
            "width": "wide", "versus": None, "seed": 0,
        },
        {
            name: f"none, {more}"
            for name, more in {
                "groups": "", "validation_data": "", "strategies": "", "model": "", "versus": "dict",
                "classes": "1-d",
            }.items()
        },
        trains=True,
    ),
}  # fmt: skip


# Not called with anything, abstract, checked by what they are made of, or no business of this table.
LEFT_OUT = {
    "Comparison", "Parameter", "Sampler", "Verdict", "audit", "check_sampler",
    *("datasets", "exercises", "figures", "lab", "loops", "samplers"),
    *(f"figures.{name}" for name in ("CHOSEN", "DATA", "INK", "ORANGE", "PALETTE")),
    *(f"figures.{name}" for name in ("borders", "surface", "tidy")),
}  # fmt: skip


def test_no_public_name_is_forgotten() -> None:
    made = {
        f"datasets.{name}"
        for name, thing in vars(datasets).items()
        if inspect.isfunction(thing) and thing.__module__ == datasets.__name__ and name[0] != "_"
    }
    public = {*bl.__all__, *made, *(f"figures.{name}" for name in figures.__all__)}
    assert public - set(ROWS) == LEFT_OUT


def prints(result: Any) -> Any:
    """What can be compared of a result, or of what a call may have changed."""
    if isinstance(result, bl.History):
        return result.state_dict(), {k: v.tolist() for k, v in result.arrays().items()}
    if hasattr(result, "state_dict"):
        return json.dumps(result.state_dict()), [batch.tolist() for batch in result]
    if isinstance(result, bl.Loader):
        return [[part.tolist() for part in batch] for batch in result]
    if isinstance(result, datasets.Dataset):
        return result.x_train.tolist(), result.y_test.tolist()
    return result.tolist() if isinstance(result, np.ndarray) else repr(result)


def called(row: Row, arguments: dict[str, Any]) -> Any:
    if row.make is None:
        return row.call(**arguments)
    target = row.make()
    result = row.call(target, **arguments)
    return target if result is None else result


def complaint(row: Row, name: str, value: Any) -> str | None:
    """What is wrong with the answer to `value` for the argument `name`; None if it was refused."""
    target = None if row.make is None else row.make()
    before = None if target is None else prints(row.make())
    try:
        row.call(*([] if target is None else [target]), **{**row.good, name: value})
    except (TypeError, ValueError, IndexError) as error:
        text = str(error)
        if not re.match(row.owner, text) or not re.search(row.says.get(name, name), text):
            return f"is not ours: {type(error).__name__}: {text[:150]}"
        if target is not None and prints(target) != before:
            return f"has changed something: {text[:150]}"
        return None
    except Exception as error:
        return f"is not ours: {type(error).__name__}: {str(error)[:150]}"
    return "was taken"


CASES = [(name, argument) for name, row in ROWS.items() for argument in row.good]
CLOTHED = [
    (name, argument)
    for name, argument in CASES
    if dressed(ROWS[name].good[argument]) and not ROWS[name].trains
]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("name", "argument"), CASES)
def test_junk_is_refused_in_our_words_and_changes_nothing(name: str, argument: str) -> None:
    row = ROWS[name]
    fine = row.fine.get(argument, "").split(", ")
    if isinstance(row.good[argument], bool):
        fine.append("true")
    wrong = {}
    for kind, value in junk_for(row.good[argument]).items():
        if kind in fine and row.trains:
            continue
        answer = complaint(row, argument, value)
        if answer != ("was taken" if kind in fine else None):
            wrong[kind] = answer or "was refused"
    assert not wrong, "".join(f"\n{kind}: {answer}" for kind, answer in wrong.items())


@pytest.mark.parametrize(("name", "argument"), CLOTHED)
def test_the_same_in_other_clothes_gives_the_same(name: str, argument: str) -> None:
    row = ROWS[name]
    others = dressed(row.good[argument])
    expected = prints(called(row, row.good))
    for kind in row.refuses:
        assert complaint(row, argument, others.pop(kind)) in (None, "was taken")
    for kind, value in others.items():
        assert prints(called(row, {**row.good, argument: value})) == expected, kind
