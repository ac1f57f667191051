"""Recipes run in a fresh process without widgets, and repeat the run bit for bit; files too."""

from __future__ import annotations

import copy
import json
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import batchlab.samplers
from batchlab import (
    BatchLab,
    CurriculumSampler,
    MixtureSampler,
    PrioritizedSampler,
    RandomSampler,
    Schedule,
    Session,
    ShardedSampler,
    WeightedSampler,
    datasets,
)
from batchlab.lab.recipe import recipe
from tests.disk import full_disk
from tests.samplers.strategies import LABELS, STRATEGIES, N

DATA = datasets.moons(n=200, share=0.2)
X = np.random.default_rng(0).normal(size=(N, 2)).astype(np.float32)
NAMES = np.array(["inner", "outer"])[DATA.y_train]
STEPS = 24  # per strategy: three epochs, and more than the lag of the feedback
LIVE = {  # of every strategy, the first of these settings that it has is moved while it trains
    "balance": 0.5,
    "alpha": 0.9,
    "pressure": 10.0,
    "start": 0.5,
    "power": 4.0,
    "ratio_0": 0.5,
    "ratio_a": 0.7,
    "replacement": True,
}
OWN_MODEL = """
from batchlab.backend import keras
def own_model():
    keras.utils.set_random_seed(7)
    model = keras.Sequential([
        keras.Input((2,)), keras.layers.Dense(8, "relu"), keras.layers.Dropout(0.3, seed=3),
        keras.layers.Dense(1, "sigmoid"),
    ])
    model.compile("adam", "binary_crossentropy")
    return model
"""
FILLED_IN = {
    "x, y": "data['{run} x'], data['{run} y']",
    "validation_data": "data['{run} x'], data['{run} y']",
    "KeyedSampler": "strategies_of_the_tests.KeyedSampler",
    "RecentSampler": "strategies_of_the_tests.RecentSampler",
    "labels_": "np.arange(60) % 24",
}


def own_model() -> Any:
    namespace: dict[str, Any] = {}
    exec(OWN_MODEL, namespace)
    return namespace["own_model"]()


def every_strategy() -> BatchLab:
    strategies = {name: make(batch_size=8) for name, make in STRATEGIES.items()}
    next(iter(strategies["rank"]))  # one that was used before
    lab = BatchLab(X, LABELS, strategies=strategies)
    lab.worker.show = lambda: 0.0  # which is not what this is about, and takes most of the time
    for name in strategies:
        lab.controls["strategy"].value = name
        lab.run(STEPS // 2)
        moved = next((key for key in LIVE if key in lab.a.settings), None)
        if moved:
            lab.controls[moved].value = LIVE[moved]
        lab.controls["learning_rate"].value = 0.02
        lab.run(STEPS // 2)
    return lab


def two_runs_of_other_data() -> BatchLab:
    data = {"label_noise": 0.1, "imbalance": 6.0, "seed": 2}
    lab = BatchLab(
        DATA.x_train, NAMES, **data, versus={"strategy": "stratified", "seed": 3}, pace="time"
    )
    lab.run(60, {20: {"strategy": "prioritized"}}, {2: {"ratio_inner": 0.5}, 10: {"batch_size": 9}})
    return lab


def own_model_and_order_of_changes() -> BatchLab:
    samplers = {
        "p": PrioritizedSampler(len(NAMES), 16, beta=Schedule(0.4, 1, epochs=3)),
        "r": RandomSampler(len(NAMES), 16),
    }
    validation = (DATA.x_train, NAMES)
    lab = BatchLab(DATA.x_train, NAMES, own_model(), samplers, validation_data=validation)
    lab.run(30)
    lab.controls["alpha"].value = 1.0  # of the strategy that is left in the same moment
    lab.controls["strategy"].value = "r"
    lab.run(20)
    lab.controls["strategy"].value = "p"
    lab.run(40)
    lab.controls["batch_size"].value = 5
    lab.worker.take_letters()  # changed, but not trained with
    return lab


RUNS = (every_strategy, two_runs_of_other_data, own_model_and_order_of_changes)
SCRIPT = """
import sys
import numpy as np
from tests.samplers import strategies as strategies_of_the_tests
data = np.load(sys.argv[1])
results = {}
for run, code in zip(*map(data.__getitem__, ("names", "codes"))):
    names = {"data": data, "np": np, "strategies_of_the_tests": strategies_of_the_tests}
    exec(OWN_MODEL, names)
    exec(str(code), names)
    for name in {"session", "a", "b"} & set(names):
        session = names[name]
        for number, array in enumerate(session.model.get_weights()):
            results[f"{run} {name} weights {number}"] = array
        history = session.history
        results[f"{run} {name} indices"] = np.concatenate(history.indices)
        results[f"{run} {name} losses"] = np.concatenate(history.losses)
        results[f"{run} {name} batch_size"] = session.sampler.batch_size
np.savez(sys.argv[2], **results)
print("ipywidgets" in sys.modules)
"""


def fill_in(code: str, run: str) -> str:
    def value(line: re.Match[str]) -> str:
        name = re.sub(r"_\d+$", "_", line[1])
        return f"{line[1]} = {FILLED_IN[name].format(run=run)}"

    code = re.sub(r"^([\w, ]+) = \.\.\.  # FILL IN.*$", value, code, flags=re.MULTILINE)
    return re.sub(r"return \.\.\.  # FILL IN.*", "return own_model()", code)


@pytest.fixture(scope="module")
def labs() -> dict[str, BatchLab]:
    return {make.__name__: make() for make in RUNS}


@pytest.fixture(scope="module")
def repeated(labs: dict[str, BatchLab], tmp_path_factory: Any) -> dict[str, Any]:
    """What the recipes give, all run in one fresh process."""
    folder = tmp_path_factory.mktemp("recipes")
    arrays: dict[str, Any] = {"names": list(labs)}
    arrays["codes"] = [fill_in(lab.recipe(), run) for run, lab in labs.items()]
    for run, lab in labs.items():
        arrays[f"{run} x"] = lab.a.given.x
        arrays[f"{run} y"] = lab.a.given.y
    np.savez(folder / "data.npz", **arrays)
    script = f"OWN_MODEL = {OWN_MODEL!r}\n{SCRIPT}"
    ran = subprocess.run(
        [sys.executable, "-c", script, folder / "data.npz", folder / "results.npz"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[1],
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == "False\n", "a recipe needs no widgets"
    return dict(np.load(folder / "results.npz"))


@pytest.mark.parametrize("number", range(len(STRATEGIES)), ids=list(STRATEGIES))
def test_recipe_repeats_every_strategy(number: int, labs: Any, repeated: Any) -> None:
    history = labs["every_strategy"].history
    assert history.steps == STEPS * len(STRATEGIES)
    ends = np.cumsum([0, *map(len, history.indices)])
    part = slice(ends[STEPS * number], ends[STEPS * (number + 1)])
    for kind in ("indices", "losses"):
        own = np.concatenate(getattr(history, kind))
        np.testing.assert_array_equal(repeated[f"every_strategy session {kind}"][part], own[part])


@pytest.mark.parametrize("run", [run.__name__ for run in RUNS])
def test_recipe_repeats_weights_bit_for_bit(run: str, labs: Any, repeated: Any) -> None:
    lab = labs[run]
    sessions = {"session": lab.a} if lab.b is None else {"a": lab.a, "b": lab.b}
    for name, session in sessions.items():
        assert repeated[f"{run} {name} batch_size"] == session.sampler.batch_size
        assert repeated[f"{run} {name} indices"].size == session.history.visits.sum()
        for number, array in enumerate(session.model.get_weights()):
            np.testing.assert_array_equal(repeated[f"{run} {name} weights {number}"], array)


def strategies_of(given: dict[str, Any], **known: Any) -> tuple[str, dict[str, Any]]:
    """The recipe of a session with these strategies, and those that its code builds."""
    code = recipe([Session(X, LABELS, own_model(), given)])
    part = code[code.index("return ...") :].split("\n", 1)[1].split("session = Session(")[0]
    names = {"np": np, "x": X, "y": LABELS, **vars(batchlab.samplers), **known}
    for name in known:
        part = re.sub(rf"^{name} = \.\.\..*\n", "", part, flags=re.MULTILINE)
    exec(part, names)
    return code, names["strategies"]


def test_a_recipe_is_written_from_what_a_sampler_was_built_with() -> None:
    weights = np.linspace(1, 2, N)
    used = PrioritizedSampler(N, 8)
    list(used)
    used.update(np.arange(N), weights)
    live = WeightedSampler(weights, 8)
    live.weights = weights[::-1]
    inside = {"m": RandomSampler(N // 2, 1, seed=3), "n": WeightedSampler(np.ones(N // 2), 1)}
    given = {
        "used": used,
        "live": live,
        "mixed": MixtureSampler(inside, {"m": 1 / 3, "n": 2 / 3}, 8),
        "shard": ShardedSampler(RandomSampler(N, batch_size=8), 2, 1),
        "scheduled": PrioritizedSampler(N, 8, beta=Schedule(0.4, 1.0, 3)),
    }
    code, built = strategies_of(given)
    assert "'shard': ShardedSampler(sampler=RandomSampler(n=len(y), batch_size=8), " in code
    assert code.count("load_state_dict") == 2
    assert "FILL IN: the" not in code
    for name, sampler in given.items():
        assert built[name].state_dict() == sampler.state_dict()
    for twin in (copy.deepcopy(live), pickle.loads(pickle.dumps(live))):
        assert twin.built_with.keys() == {"weights", "batch_size"}


def test_a_name_never_becomes_code() -> None:
    class Own(RandomSampler):
        pass

    class Other(RandomSampler):
        pass

    Own.__name__ = "Own\nraise SystemExit('run')\n#"
    Other.__name__ = "x"
    code, built = strategies_of(
        {"one": Own(N, 8), "two": Other(N, 8)}, strategy_1=Own, strategy_2=Other
    )
    assert type(built["one"]) is Own
    assert type(built["two"]) is Other
    assert all("SystemExit" not in line or "FILL IN" in line for line in code.splitlines())
    compile(code, "recipe", "exec")


def test_a_function_or_a_large_array_is_filled_in() -> None:
    curriculum = CurriculumSampler(np.arange(float(N)), 8, lambda epochs: 0.5)
    code, _ = strategies_of({"own": curriculum}, pacing_1=lambda epochs: 0.5)
    assert "pacing_1 = ...  # FILL IN: the pacing that this sampler was given" in code


def assert_same(one: BatchLab, two: BatchLab) -> None:
    for first, second in zip(one.runs.sessions, two.runs.sessions, strict=True):
        assert first.history.steps == second.history.steps
        assert first.history.events == second.history.events
        for a, b in zip(first.model.get_weights(), second.model.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)


def test_saved_run_is_repeated_by_load(labs: Any, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    lab = labs["two_runs_of_other_data"]
    lab.save(path)
    assert path.stat().st_size < 3000
    again = BatchLab.load(path, DATA.x_train, NAMES)
    assert_same(again, lab)
    assert again.pace == "time"
    assert again.b.data_settings["seed"] == 3
    assert again.controls["strategy"].value == "prioritized"


def test_load_refuses_what_does_not_fit(labs: Any, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    labs["two_runs_of_other_data"].save(path)
    with pytest.raises(ValueError, match="saved with other data: .*'n': 140"):
        BatchLab.load(path, DATA.x_train[1:], NAMES[1:])
    with pytest.raises(ValueError, match="saved with other data"):
        BatchLab.load(path, DATA.x_train + 1, NAMES)
    labs["own_model_and_order_of_changes"].save(path)
    with pytest.raises(ValueError, match="saved with other strategies"):
        BatchLab.load(path, DATA.x_train, NAMES, own_model())
    samplers = labs["own_model_and_order_of_changes"].a.makers
    with pytest.raises(ValueError, match="saved with other first weights"):
        BatchLab.load(path, DATA.x_train, NAMES, strategies=samplers)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Expecting value"),
        ("\x00\x01", "Expecting value"),
        ("[1, 2]", "not written by BatchLab.save"),
        ('{"format": "notebook"}', "not written by BatchLab.save"),
        ('{"format": "batchlab run"}', "'version'"),
        ('{"format": "batchlab run", "version": 9}', "version 9"),
        ('{"format": "batchlab run", "version": 1, "runs": []}', "parts of it are missing"),
        ('{"format": "batchlab run", "version": 1, "runs": [{"steps": 3}]}', "'settings'"),
    ],
)
def test_load_refuses_foreign_and_damaged_files(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"is no saved run: .*{message}"):
        BatchLab.load(path, DATA.x_train, NAMES)


def test_curves_are_exported_as_csv(labs: Any, tmp_path: Path) -> None:
    lab = labs["two_runs_of_other_data"]
    lab.export_curves(tmp_path / "curves.csv")
    header, *rows = (tmp_path / "curves.csv").read_text().splitlines()
    assert header == "run,step,train loss,validation loss,balanced accuracy"
    runs = [row.split(",") for row in rows]
    assert sum(row[0] == "A" for row in runs) == 61  # step 0 has a score and no loss
    assert float(runs[1][2]) == lab.a.history.step_losses[0]
    assert {row[0] for row in runs} == {"A", "B"}


def test_saved_file_says_what_was_done(labs: Any, tmp_path: Path) -> None:
    labs["own_model_and_order_of_changes"].save(tmp_path / "run.json")
    run = json.loads((tmp_path / "run.json").read_text())["runs"][0]
    assert run["steps"] == 90
    assert [30, "strategy", "r"] in run["events"]


def test_files_are_written_whole_or_not_at_all(labs: Any, tmp_path: Path) -> None:
    lab = labs["two_runs_of_other_data"]
    lab.export_curves(tmp_path / "curves.csv")
    rows = (tmp_path / "curves.csv").read_bytes()
    assert rows.count(b"\r\n") == rows.count(b"\n")  # as the csv module writes everywhere
    for write, name in (
        (lab.save, "run.json"),
        (lab.export_curves, "curves.csv"),
        (lab.export_picture, "picture.png"),
        (lab.export_picture, "picture.svg"),
    ):
        path, owner = tmp_path / name, f"BatchLab.{write.__name__}: "
        path.write_text("old")
        with full_disk(50), pytest.raises(OSError, match=owner + "cannot write .*too large"):
            write(path)
        assert path.read_text() == "old"
        with pytest.raises(FileNotFoundError, match=owner + "cannot write .*missing"):
            write(tmp_path / "missing" / name)
        with pytest.raises(TypeError, match=owner + "path must be a str or a Path, got NoneType"):
            write(None)
    assert len(list(tmp_path.iterdir())) == 4
