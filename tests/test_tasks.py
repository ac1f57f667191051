"""Any task: a session without class labels, and an engineer's cases as short examples.

``LINES`` says how many lines a reader writes for each: those between its two marks.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from batchlab import (
    BatchLab,
    ClassBalancedSampler,
    Loader,
    LogSelection,
    MPerClassSampler,
    PrioritizedSampler,
    RandomSampler,
    Session,
    WeightedSampler,
    datasets,
    train,
)
from batchlab.backend import keras, tf
from batchlab.lab.drawing.microscope import Microscope
from batchlab.lab.drawing.picture import Picture
from tests.loops.models import assert_same_weights

rng = np.random.default_rng(4)
N = 120
PLANE = rng.normal(size=(N, 2)).astype(np.float32)
SIZES = (2 * PLANE[:, 0] + PLANE[:, 1]).astype(np.float32)
WIDE = rng.normal(size=(N, 5)).astype(np.float32)
TAGS = (rng.random((N, 3)) < [0.5, 0.2, 0.1]).astype(np.float32)
IMAGES = rng.random((N, 6, 6), dtype=np.float32)
GROUPS = np.where(rng.random(N) < 0.2, "rare", "often")
DIGITS = datasets.digits_long_tailed()


def network(
    shape: tuple[int, ...], units: int, loss: Any, metrics: Any = None, **last: Any
) -> keras.Model:
    """Equal arguments give equal first weights."""
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Flatten(), keras.layers.Dense(8, "relu"), keras.layers.Dense(units, **last)]
    model = keras.Sequential([keras.Input(shape), *layers])
    model.compile("adam", loss, metrics=metrics)
    return model


def regression(metrics: Any = ("mae",)) -> keras.Model:
    return network((2,), 1, "mse", list(metrics))


def tagger() -> keras.Model:
    metrics = [keras.metrics.F1Score(average=None, name="f1")]
    return network((5,), 3, "binary_crossentropy", metrics, activation="sigmoid")


def encoder() -> keras.Model:
    keras.utils.set_random_seed(1)
    layers = keras.layers.Flatten(), keras.layers.Dense(36), keras.layers.Reshape((6, 6))
    model = keras.Sequential([keras.Input((6, 6)), *layers])
    model.compile("adam", "mse")
    return model


CASES: dict[str, tuple[Any, Any, Any, dict[str, Any]]] = {
    "regression": (PLANE, SIZES, regression, {}),
    "regression of images": (IMAGES, SIZES, lambda: network((6, 6), 1, "mse"), {}),
    "regression with groups": (PLANE, SIZES, regression, {"groups": GROUPS}),
    "multi-label": (WIDE, TAGS, tagger, {"classes": ["cat", "dog", "bird"]}),
    "multi-label with groups": (WIDE, TAGS, tagger, {"groups": GROUPS}),
    "autoencoder": (IMAGES, IMAGES, encoder, {}),
    "two features to themselves": (PLANE, PLANE, lambda: network((2,), 2, "mse"), {}),
}


def session_of(kind: str, **options: Any) -> Session:
    x, y, build, own = CASES[kind]
    return Session(x, y, build(), **{**own, **options})


@pytest.mark.parametrize("kind", CASES)
def test_a_session_trains_as_train_does(kind: str) -> None:
    x, y, build, _ = CASES[kind]
    session, model = session_of(kind), build()
    first = next(iter(session.samplers))
    assert first == "random"
    session.run(8)
    train(model, Loader(x, y, sampler=RandomSampler(N, 32)), 2, verbose=0, jit_compile=False)
    assert_same_weights(session.model, model, 1e-6)


@pytest.mark.parametrize("kind", CASES)
def test_the_panel_draws_it_and_its_recipe_repeats_it(kind: str) -> None:
    x, y, build, own = CASES[kind]
    lab = BatchLab(x, y, build(), versus={"strategy": "prioritized"}, **own)
    lab.run(30, events={10: {"batch_size": 16}})
    for session in lab.runs.sessions:
        for picture in (Picture([session]), Microscope(session)):
            picture.update()
            assert picture.png().startswith(b"\x89PNG")
            assert "all" not in re.findall(r"\w+", picture.words())
    picture = Picture(lab.runs.sessions)
    picture.update()
    assert ("M" in picture.axes) == bool(lab.a.classes)
    code = lab.recipe()
    code = code.replace("x, y = ...", "pass").replace("groups = ...", "pass")
    code = re.sub(r"return \.\.\..*", "return build()", code)
    names: dict[str, Any] = {"x": x, "y": y, "groups": own.get("groups"), "build": build}
    exec(code, names)
    assert_same_weights(names["a"].model, lab.a.model)
    assert_same_weights(names["b"].model, lab.b.model)
    lab.stop()


def test_the_score_is_the_models_own_first_metric_or_the_loss() -> None:
    held_out = (PLANE[:50] + 1, SIZES[:50])
    session = session_of("regression", validation_data=held_out)
    session.run(25)
    expected = session.model.evaluate(*held_out, verbose=0, return_dict=True)
    assert session.score_name == "mae"
    assert session.curves["mae"][0].tolist() == [0, 25]
    np.testing.assert_allclose(session.scores[-1], (25, expected["mae"]), rtol=1e-5)
    np.testing.assert_allclose(session.validation_losses[-1][1], expected["loss"], rtol=1e-5)
    encoding = session_of("autoencoder")
    assert encoding.score_name == "loss"
    assert encoding.scores[0][1] == pytest.approx(encoding.model.evaluate(IMAGES, IMAGES, verbose=0))
    tagging = session_of("multi-label")
    vector = tagging.model.evaluate(WIDE, TAGS, verbose=0, return_dict=True)["f1"]
    assert tagging.scores[0][1] == pytest.approx(vector.mean())


def test_groups_choose_and_y_is_learnt() -> None:
    session = session_of("regression with groups", imbalance=5)
    assert session.classes == ("often", "rare")
    session.run(40, events={0: {"strategy": "class-balanced"}})
    assert (session.labels == 1).mean() < 0.2
    assert session.class_mix(np.concatenate(session.history.indices))[1] == pytest.approx(0.5, abs=0.1)
    assert session.shade is None
    assert session.settable().keys() >= {"imbalance", "seed", "balance"}
    # Names of classes in y, other ones in groups; noise makes y wrong, and leaves groups alone.
    y = np.where(SIZES > 0, "up", "down")
    clean, noisy = (Session(PLANE, y, groups=GROUPS, label_noise=noise) for noise in (0, 0.5))
    assert (clean.targets != noisy.targets).mean() == pytest.approx(0.5, abs=0.01)
    np.testing.assert_array_equal(clean.labels, noisy.labels)
    assert clean.score_name == "balanced accuracy"
    assert noisy.model.output_shape == (None, 2)


def test_shares_of_labels_of_which_a_sample_may_have_several() -> None:
    session = session_of("multi-label")
    session.run(20)
    chosen = np.concatenate(session.history.indices)
    np.testing.assert_allclose(session.class_mix(), TAGS.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(session.class_mix(chosen), TAGS[chosen].mean(axis=0), rtol=1e-6)
    assert session.classes == ("cat", "dog", "bird")


def test_the_target_is_the_colour() -> None:
    picture = Picture([session_of("regression")])
    picture.update()
    points = picture.axes["A"].collections[0]
    light = (points.get_facecolors()[:, :3] @ (0.2126, 0.7152, 0.0722))[np.argsort(SIZES)]
    assert (np.diff(light) >= -1e-6).all()
    assert light[-1] - light[0] > 0.5


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("regression", ("target", f"{SIZES[7]:.4g}")),
        ("regression with groups", ("class", GROUPS[7])),
        ("multi-label", ("labels", "cat, dog")),
    ],
)
def test_the_card_of_a_sample_says_what_it_is(kind: str, expected: tuple[str, str]) -> None:
    x, y, build, own = CASES[kind]
    lab = BatchLab(x, y, build(), **own)
    assert lab.pointing.card(lab.a, 7)["rows"][0] == expected
    lab.stop()


def test_what_needs_classes_is_left_out_or_refused() -> None:
    session = session_of("regression")
    assert list(session.samplers) == ["random", "prioritized", "sequential"]
    assert not session.settable().keys() & {"label_noise", "imbalance"}
    for name, value in (("label_noise", 0.1), ("imbalance", 5)):
        with pytest.raises(ValueError, match=f"Session: {name} needs classes, and y names none"):
            session.rebuild(**{name: value})
    session.rebuild(seed=3)
    assert session.data_settings["seed"] == 3


@pytest.mark.parametrize(
    ("y", "options", "message"),
    [
        (SIZES, {"model": None}, "Session: y must name classes with whole numbers or strings"),
        (SIZES[:-1], {}, r"x and y must have one row per sample each, got 120 and 119"),
        (np.where(SIZES > 0, np.nan, SIZES), {}, r"y must hold finite numbers .* got nan in row \d+ "),
        (SIZES, {"groups": GROUPS[:-1]}, "groups must have one entry for each of the 120 samples"),
        (SIZES, {"groups": SIZES}, "Session: groups must name classes"),
        (SIZES, {"classes": ["a"]}, "classes must name the 0 classes of y, got 1"),
        (SIZES, {"groups": GROUPS, "classes": ["a"]}, "classes must name the 2 classes of groups"),
        (SIZES, {"validation_data": (PLANE, TAGS)}, r"a target of shape \(\) for each of its 120"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(y: Any, options: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        Session(PLANE, y, **{"model": regression(), **options})


# -- an engineer's cases ---------------------------------------------------------------------------


def test_contrastive() -> None:
    x, labels = DIGITS.x_train, DIGITS.y_train
    model = network((8, 8, 1), 4, None)

    # begin
    def contrast(model: Any, x: Any, y: Any, weights: Any) -> Any:
        z = tf.math.l2_normalize(model(x, training=True), axis=1)
        apart = tf.linalg.set_diag(2 * z @ tf.transpose(z), tf.fill(tf.shape(y), -1e9))
        same = tf.linalg.set_diag(tf.cast(y[:, None] == y, tf.float32), tf.zeros_like(z[:, 0]))
        return -tf.reduce_sum(same * tf.nn.log_softmax(apart), 1) / tf.reduce_sum(same, 1)

    sampler = MPerClassSampler(labels, m=4, batch_size=32)
    history = train(model, Loader(x, labels, sampler=sampler), 4, step=contrast, verbose=0)
    # end
    losses = history.history["loss"]
    assert losses[-1] < losses[0]


def test_regression_on_rare_values() -> None:
    x, y, model = PLANE, SIZES, regression()
    # begin
    density, edges = np.histogram(y, 10)
    weights = 1 / density[np.digitize(y, edges[1:-1])]
    loader = Loader(x, y, sampler=WeightedSampler(weights, batch_size=32))
    history = train(model, loader, 3, verbose=0)
    # end
    visits = history.visits
    rare = weights > np.median(weights)
    assert visits[rare].mean() > visits[~rare].mean()


def test_multi_label() -> None:
    x, y, model = WIDE, TAGS, tagger()
    # begin
    rarest = np.where(y.any(axis=1), (y / y.sum(axis=0)).argmax(axis=1), y.shape[1])
    loader = Loader(x, y, sampler=ClassBalancedSampler(rarest, batch_size=32))
    history = train(model, loader, 10, verbose=0)
    # end
    mix = (y * history.visits[:, None]).sum(axis=0) / history.visits.sum()
    assert mix[2] > 1.3 * y.mean(axis=0)[2]


def test_sweep_over_a_samplers_setting() -> None:
    x, y = DIGITS.x_train, DIGITS.y_train
    scores = {}

    def build() -> keras.Model:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        return network((8, 8, 1), 10, loss, ["accuracy"])

    # begin
    for balance in (0.0, 0.5, 1.0):
        loader = Loader(x, y, sampler=ClassBalancedSampler(y, batch_size=32, balance=balance))
        history = train(build(), loader, validation_data=(DIGITS.x_test, DIGITS.y_test), verbose=0)
        scores[balance] = history.history["val_accuracy"][-1]
    best = max(scores, key=scores.get)
    # end
    assert best in scores
    assert len(set(scores.values())) > 1


def test_sweep_with_optuna() -> None:
    optuna = pytest.importorskip("optuna")

    # begin
    def objective(trial: Any) -> float:
        sampler = PrioritizedSampler(N, 32, alpha=trial.suggest_float("alpha", 0, 1))
        loader = Loader(PLANE, SIZES, sampler=sampler)
        return train(regression(), loader, 2, verbose=0).history["mae"][-1]

    study = optuna.create_study()
    study.optimize(objective, n_trials=2)
    # end
    assert 0 <= study.best_params["alpha"] <= 1


def test_tensorboard(tmp_path: Path) -> None:
    x, y, model = PLANE, SIZES, regression()
    loader = Loader(x, y, sampler=RandomSampler(N, 32))
    # begin
    log = [LogSelection(GROUPS), keras.callbacks.TensorBoard(tmp_path)]
    train(model, loader, 2, callbacks=log, verbose=0)
    # end
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("events.out.*"))
    for name in (b"epoch_coverage", b"epoch_repeats", b"epoch_mix/rare", b"epoch_mix/often"):
        assert name in written


class Rows:
    """Rows as Hugging Face's ``datasets`` gives them: a dict for each, many at once."""

    def __len__(self) -> int:
        return N

    def __getitem__(self, row: int) -> dict[str, Any]:
        return {"x": PLANE[row].tolist(), "y": float(SIZES[row])}

    def __getitems__(self, rows: list[int]) -> list[dict[str, Any]]:
        return [self[row] for row in rows]


@pytest.mark.parametrize("real", [False, True])
def test_arrow_or_hugging_face_rows(real: bool) -> None:
    rows: Any = Rows()
    if real:
        rows = pytest.importorskip("datasets").Dataset.from_dict({"x": PLANE, "y": SIZES})
    model, same = regression(), regression()

    # begin
    def load(batch: Any, rng: Any) -> Any:
        return np.asarray([row["x"] for row in batch], np.float32)

    loader = Loader(rows, SIZES, sampler=RandomSampler(N, 32), load=load)
    train(model, loader, 2, verbose=0)
    # end
    train(same, Loader(PLANE, SIZES, sampler=RandomSampler(N, 32)), 2, verbose=0)
    assert_same_weights(model, same)


LINES = {
    "contrastive": 7,
    "regression_on_rare_values": 4,
    "multi_label": 3,
    "sweep_over_a_samplers_setting": 5,
    "sweep_with_optuna": 6,
    "tensorboard": 2,
    "arrow_or_hugging_face_rows": 4,
}


def test_how_many_lines_a_reader_writes() -> None:
    source = Path(__file__).read_text()
    cases = re.findall(r"def test_(\w+)\([^\n]*\n(?:(?!\ndef ).)*?# begin\n(.*?)\n +# end", source, re.S)
    assert {name: sum(map(bool, map(str.strip, body.split("\n")))) for name, body in cases} == LINES
