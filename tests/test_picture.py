"""The panel's picture and the microscope: they draw what the session recorded, and say it."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgb
from PIL import Image

from batchlab import RandomSampler, Session, datasets, figures
from batchlab.lab.drawing import picture
from batchlab.lab.drawing.microscope import Microscope
from batchlab.lab.drawing.picture import Picture
from batchlab.lab.record import MODELS_KEPT, Models
from batchlab.style import THEMES, class_colours, colour_of


class ArraySampler(RandomSampler):
    """The same few samples, again and again."""

    def __init__(self, indices: Any) -> None:
        super().__init__(100, 20)
        self.indices = indices

    def draw(self, size: int) -> Any:
        return self.indices[:size]


CHANGES = {10: {"strategy": "class-balanced"}, 20: {"learning_rate": 0.001}}


def session_of(data: datasets.Dataset, **options: Any) -> Session:
    validation = (data.x_test, data.y_test)
    return Session(
        data.x_train, data.y_train, classes=data.classes, validation_data=validation, **options
    )


@pytest.fixture(scope="module")
def moons() -> Session:
    session = session_of(datasets.moons(n=300, share=0.2))
    session.run(60, CHANGES)
    return session


@pytest.fixture(scope="module")
def other() -> Session:
    session = session_of(datasets.moons(n=300, share=0.2))
    session.run(40, {0: {"strategy": "stratified"}})
    return session


@pytest.fixture(scope="module")
def digits() -> Session:
    session = session_of(datasets.digits_long_tailed())
    session.run(5)
    return session


@pytest.fixture(scope="module")
def cancer() -> Session:
    session = session_of(datasets.breast_cancer())
    session.run(5)
    return session


@pytest.fixture(scope="module")
def of_moons(moons: Session) -> Picture:
    drawn = Picture([moons])
    drawn.png()
    return drawn


@pytest.fixture(scope="module")
def of_both(moons: Session, other: Session) -> Picture:
    drawn = Picture([moons, other])
    drawn.png()
    return drawn


def pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def test_words_are_what_the_samplers_decided(
    moons: Session, other: Session, of_moons: Picture, of_both: Picture
) -> None:
    mix = moons.history.class_mix(moons.labels)[1]
    about_moons = (
        f"after 60 steps, now with the strategy class-balanced: {moons.history.coverage:.0%} of the "
        f"samples seen; class inner is 20% of the data and {mix:.0%} of the batches; live changes: 2."
    )
    assert of_moons.words() == f"BatchLab {about_moons}"
    mix = other.history.class_mix(other.labels)[1]
    assert of_both.words() == (
        f"A {about_moons} B after 40 steps, now with the strategy stratified: 100% of the "
        f"samples seen; class inner is 20% of the data and {mix:.0%} of the batches; live changes: 1."
    )


@pytest.mark.parametrize(
    ("names", "theme", "width"),
    [
        (["moons"], "light", "wide"),
        (["moons", "other"], "dark", "narrow"),
        (["digits"], "dark", "wide"),
        (["cancer", "cancer"], "light", "wide"),
    ],
)
def test_every_kind_of_picture(
    names: list[str], theme: str, width: str, request: pytest.FixtureRequest
) -> None:
    drawn = Picture([request.getfixturevalue(name) for name in names], theme, width)
    image = pixels(drawn.png())
    assert image.shape[1] <= {"wide": 1130, "narrow": 690}[width]
    page = np.round(255 * np.array(to_rgb(THEMES[theme].background)))
    assert (image[0, -1] == page).all()
    assert (image != page).any(axis=2).mean() > 0.05
    # Everything stays on the paper: nothing is drawn on its rim.
    for rim in (image[0], image[-1], image[:, 0], image[:, -1]):
        assert (rim == page).all()
    root = ElementTree.fromstring(drawn.svg())
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert len(list(root.iter("{http://www.w3.org/2000/svg}path"))) > 60


def test_stage_rings_the_batch_on_the_samples(moons: Session, of_moons: Picture) -> None:
    outer, inner, *held, rings, border = of_moons.axes["A"].collections
    samples = [outer, inner]
    assert len(outer.get_paths()[0]) != len(inner.get_paths()[0])  # another shape for each class
    assert [len(marks.get_offsets()) for marks in held] == [0] * 4
    assert sum(len(points.get_offsets()) for points in samples) == len(moons.x)
    np.testing.assert_array_equal(rings.get_offsets(), moons.x[moons.batch(59)])
    names = [text.get_text() for text in of_moons.axes["A"].get_legend().get_texts()]
    assert names == ["outer", "inner", "batch"]
    (surface,) = of_moons.axes["A"].images
    said = moons.predict(figures.grid_of(of_moons.axes["A"]))[:, 1]
    np.testing.assert_allclose(np.ravel(surface.get_array()), said, rtol=1e-6)
    on_the_border = np.concatenate(border.get_segments()).astype(np.float32)
    np.testing.assert_allclose(moons.predict(on_the_border)[:, 1], 0.5, atol=0.05)


def test_mix_and_visits_and_losses_are_those_of_the_record(
    moons: Session, other: Session, of_both: Picture
) -> None:
    data, *mixes = of_both.axes["M"].containers
    np.testing.assert_allclose([bar.get_height() for bar in data], np.bincount(moons.labels) / 210)
    for session, bars in zip((moons, other), mixes):
        mix = session.history.class_mix(session.labels, last=50)
        assert [bar.get_height() for bar in bars] == mix.tolist()
        assert {to_hex(bar.get_facecolor()) for bar in bars} == {
            colour_of(session.strategy).lower()
        }
    for session, steps in zip((moons, other), of_both.axes["V"].patches):
        counts, edges, _ = steps.get_data()
        assert counts.sum() == len(session.x)
        within = (session.history.visits > edges[3]) & (session.history.visits < edges[4])
        assert counts[3] == within.sum()
    for session, steps in zip((moons, other), of_both.axes["D"].patches):
        shares, edges, _ = steps.get_data()
        losses = np.concatenate(session.history.losses[-50:])
        assert shares.sum() == pytest.approx(1)
        assert shares[edges[1:] > 0.1].sum() == pytest.approx((losses >= 0.1).mean(), abs=0.02)


def test_curves_change_colour_with_the_strategy_and_changes_are_marked(
    moons: Session, of_moons: Picture
) -> None:
    raw, train, validation, ticks = of_moons.axes["L"].collections
    first, second = train.get_segments()
    assert first[-1, 0] == second[0, 0] == 10
    smooth = figures.smooth(moons.history.step_losses, 20)
    np.testing.assert_allclose(second[-1], [60, smooth[-1]])
    np.testing.assert_allclose(raw.get_segments()[1][-1], [60, moons.history.step_losses[-1]])
    colours = [to_hex(colour) for colour in train.get_colors()]
    assert colours == [colour_of("random").lower(), colour_of("class-balanced").lower()]
    np.testing.assert_allclose(validation.get_segments()[-1][-1], moons.validation_losses[-1])
    assert [segment[0, 0] for segment in ticks.get_segments()] == [10, 20]
    scores = np.concatenate(of_moons.axes["R"].collections[0].get_segments())
    assert {tuple(point) for point in scores} == set(moons.scores)
    keys = [text.get_text() for text in of_moons.axes["R"].get_legend().get_texts()]
    assert keys == ["random", "class-balanced"]


def test_second_session_is_told_from_the_first_without_colour(of_both: Picture) -> None:
    a, b = of_both.axes["R"].collections[:2]
    assert a.get_linestyle() != b.get_linestyle()
    titles = [of_both.axes[letter].get_title(loc="left") for letter in "AB"]
    assert titles == ["A: class-balanced", "B: stratified"]


def test_before_training_and_after_a_long_run() -> None:
    session = session_of(datasets.moons(n=100))
    drawn = Picture([session])
    assert drawn.words() == "BatchLab, not trained yet. Strategy: random. Press Play."
    drawn.png()
    session.history.record(np.zeros((5000, 1), int), np.linspace(1, 0, 5000)[:, None])
    drawn.png()
    (segment,) = drawn.axes["L"].collections[1].get_segments()
    assert len(segment) <= 2 * 400 + 1  # the lowest and the highest of each place, and the newest
    assert segment[-1, 0] == 5000


def test_curves_are_those_of_the_record_however_often_they_were_drawn() -> None:
    session = session_of(datasets.moons(n=100))
    session.scores.clear(), session.validation_losses.clear()
    often, rng = Picture([session]), np.random.default_rng(0)
    for count in (7, 1, 300, 900, 8_000):  # no more steps than places, and many more
        losses = rng.exponential(size=(count, 2))
        session.history.record(rng.integers(0, 60, (count, 2)), losses)
        steps = range(session.history.steps - count + 1, session.history.steps + 1)
        session.scores.extend(zip(steps, losses[:, 0]))
        session.validation_losses.extend(zip(steps, losses[:, 1]))
        once = Picture([session])
        curves = []
        for drawn in (often, once):
            drawn.update()
            raw, train, validation, _ = drawn.axes["L"].collections
            curves.append([raw, train, validation, drawn.axes["R"].collections[0]])
        losses = session.history.step_losses
        measured = [[value for _, value in each] for each in (session.validation_losses, session.scores)]
        whole = [losses, figures.smooth(losses, 20), *map(np.array, measured)]
        for curve, other, values in zip(*curves, whole):
            (points,), (others,) = curve.get_segments(), other.get_segments()
            np.testing.assert_allclose(points, others, rtol=1e-12)
            np.testing.assert_allclose(points[:, 1], values[points[:, 0].astype(int) - 1])
            assert points[:, 1].max() == pytest.approx(values.max())
            assert len(points) <= 2 * 400 + 1
    session.reset()
    session.history.record([[0, 1]] * 3, [[1, 2]] * 3)
    often.update()
    (points,) = often.axes["L"].collections[0].get_segments()
    assert points.tolist() == [[1, 1.5], [2, 1.5], [3, 1.5]]


def test_the_class_charts_axis_ends_at_all_of_it_and_shrinks_again() -> None:
    labels = np.repeat([0, 1, 2, 3, 4], 20)
    x = np.random.default_rng(0).normal(size=(100, 2)).astype("float32")
    alone = ArraySampler(np.flatnonzero(labels == 0))
    session = Session(x, labels, strategies={"alone": alone, "random": RandomSampler(100, 20)})
    drawn = Picture([session])
    before = drawn.axes["M"].get_ylim()[1]
    session.run(50)
    drawn.png()
    assert drawn.axes["M"].get_ylim() == (0, 1)
    session.run(100, {50: {"strategy": "random"}})
    drawn.png()
    assert drawn.axes["M"].get_ylim()[1] == before < 0.5


def test_every_strategy_that_was_at_work_is_in_the_key() -> None:
    data = datasets.moons(n=100)
    names = ["first", "second", "third", "fourth", "a fifth one with a long name"]
    strategies = dict.fromkeys(names, RandomSampler)
    session = session_of(data, strategies=strategies)
    session.run(25, {5 * n: {"strategy": name} for n, name in enumerate(names) if n})
    drawn = Picture([session])
    drawn.png()
    words = [text.get_text() for text in drawn.axes["R"].get_legend().get_texts()]
    assert [word[:5] for word in words] == [name[:5] for name in names]
    for letter in "LRM":  # inside the figure, and the key of the losses beside their title
        box = drawn.axes[letter].get_legend().get_window_extent()
        assert box.x0 > 0 and box.x1 < drawn.figure.bbox.width
    title = drawn.axes["L"]._left_title.get_window_extent()
    assert drawn.axes["L"].get_legend().get_window_extent().x0 > title.x1


def test_picture_follows_the_session() -> None:
    session = session_of(datasets.moons(n=200))
    drawn = Picture([session])
    before = pixels(drawn.png())
    session.run(30)
    blitted = drawn.png()
    for letter in "ALRMVD":
        x0, y0, x1, y1 = np.round(drawn.axes[letter].bbox.extents).astype(int)
        part = np.s_[len(before) - y1 : len(before) - y0, x0:x1]
        assert (pixels(blitted)[part] != before[part]).any(), letter
    session.run(5, {30: {"strategy": "stratified"}})
    drawn.png()
    assert drawn.axes["A"].get_title(loc="left") == "Strategy: stratified"
    # Nothing that moves may have been left behind in the frame.
    blitted, _ = drawn.png(), drawn.svg()
    drawn._frame = None
    np.testing.assert_array_equal(pixels(drawn.png()), pixels(blitted))


def test_thumbnails_show_the_largest_loss_first_in_the_colour_of_its_class(
    digits: Session,
) -> None:
    drawn = Picture([digits])
    drawn.png()
    (sheet,) = drawn.figure.images
    shown = np.asarray(sheet.get_array())
    first = digits.batch(4)[digits.losses_at(4).argmax()]
    frame = np.round(255 * np.array(to_rgb(class_colours(10)[digits.labels[first]])))
    np.testing.assert_array_equal(shown[0, 0, :3], frame)
    side = (shown[0, :100, :3] == frame).all(axis=1).argmin()
    np.testing.assert_array_equal(shown[side // 2 : side - 3, 0, :3], [frame] * (side - 3 - side // 2))
    middles = 3 + ((np.arange(8) + 0.5) * (side - 6) / 8).astype(int)
    image = digits.x[first][..., 0]
    spread = 255 * (image - digits.x.min()) / (digits.x.max() - digits.x.min())
    np.testing.assert_allclose(shown[np.ix_(middles, middles)][..., 0], spread, atol=1)


def test_colour_images_keep_their_colours() -> None:
    red = np.zeros((40, 6, 6, 3), dtype=np.float32)
    red[..., 0] = 1
    session = Session(red, np.arange(40) % 2, batch_size=8)
    session.run(1)
    drawn = Picture([session])
    drawn.png()
    shown = np.asarray(drawn.figure.images[0].get_array())
    np.testing.assert_array_equal(shown[10, 10], [255, 0, 0, 255])


def test_projection_says_how_much_it_shows(cancer: Session) -> None:
    axes = Picture([cancer]).axes["A"]
    centred = cancer.x - cancer.x.mean(axis=0)
    spread = np.linalg.svd(centred, compute_uv=False) ** 2
    shares = spread[:2] / spread.sum()
    assert axes.get_xlabel() == f"1st principal component ({shares[0]:.0%} of variance)"
    assert axes.get_ylabel() == f"2nd principal component ({shares[1]:.0%} of variance)"


def test_one_feature_and_many_classes() -> None:
    session = Session(np.arange(120.0)[:, None], np.arange(120) // 5, batch_size=8)
    session.run(2)
    axes = Picture([session]).axes
    assert "(100% of variance)" in axes["A"].get_xlabel()
    assert len(axes["M"].get_xticks()) == 12


def test_large_data_are_drawn_in_part_and_the_axis_says_so() -> None:
    data = datasets.moons(n=12000, share=0.005)
    axes = Picture([Session(data.x_train, data.y_train)]).axes["A"]
    drawn = {points.get_label(): len(points.get_offsets()) for points in axes.collections}
    assert drawn["1"] == (data.y_train == 1).sum()  # all of the rare class
    assert drawn["0"] + drawn["1"] < 5100
    said = f"{drawn['0'] + drawn['1']} of {len(data.y_train)} samples drawn"
    assert said in axes.get_xlabel()


def test_names_are_shown_sign_by_sign() -> None:
    data = datasets.moons(n=100)
    strange = "$^$ \x1b\x00 & <b>"
    session = Session(
        data.x_train,
        data.y_train,
        classes=["$0-$50", "$^$ \x1b"],
        strategies={strange: RandomSampler, "$a$": RandomSampler},
    )
    session.run(4, {2: {"strategy": "$a$"}, 3: {"strategy": strange}})
    picture, glass = Picture([session]), Microscope(session)
    for drawn in (picture, glass, Picture([session, session])):
        assert drawn.png().startswith(b"\x89PNG")
        ElementTree.fromstring(drawn.svg())
    frame, moving = picture.recording()
    words = {
        command["text"] for part in (*frame, *moving) for command in part["commands"] if "text" in command
    }
    assert {"$0-$50", "$^$ �", "Strategy: $^$ �� & <b>", "$a$"} <= words
    assert any("$0-$50 #" in text.get_text().replace("\\", "") for text in glass.axes["chances"].texts)


def test_a_model_that_diverges_is_still_drawn() -> None:
    session = session_of(datasets.moons(n=100))
    with pytest.raises(FloatingPointError, match="the loss became nan at step 3"):
        session.run(20, {2: {"learning_rate": 1e30}})
    assert np.isnan(session.losses_of(session.batch(2))).all()
    assert Picture([session]).png().startswith(b"\x89PNG")
    assert seen_at(Microscope(session), 2).startswith(b"\x89PNG")


def seen_at(glass: Microscope, step: int) -> bytes:
    glass.look_at(step)
    return glass.png()


@pytest.mark.parametrize("theme", THEMES)
def test_microscope_shows_chances_and_losses_of_a_past_batch(moons: Session, theme: str) -> None:
    glass = Microscope(moons, theme, "narrow")
    two, one = (pixels(seen_at(glass, step)) for step in (5, 15))
    assert (one != two).any()
    assert (one[0, 0] == np.round(255 * np.array(to_rgb(THEMES[theme].background)))).all()
    batch, losses = moons.batch(15), moons.losses_at(15)
    order = np.argsort(-losses, kind="stable")
    order = np.array([k for k in order if k == order[batch[order] == batch[k]][0]])[:24]
    names = [text.get_text() for text in glass.axes["chances"].texts[: len(order)]]
    counts = [int((batch == i).sum()) for i in batch[order]]
    assert max(counts) > 1  # one that came twice has one row
    assert names == [
        f"{f'{count}× ' * (count > 1)}{moons.classes[moons.labels[i]]} #{i}"
        for count, i in zip(counts, batch[order])
    ]
    ends = [bar.get_x() + bar.get_width() for bar in glass.axes["chances"].patches[: len(order)]]
    np.testing.assert_allclose(ends, moons.chances_at(15)[order] * len(moons.x), rtol=1e-5)
    then, now = (line.get_xdata() for line in glass.axes["losses"].lines)
    np.testing.assert_allclose(then, np.clip(losses[order], 1e-6, 10))
    np.testing.assert_allclose(now, np.clip(moons.losses_of(batch[order]), 1e-6, 10))
    rings = glass.axes["stage"].collections[-2].get_offsets()
    np.testing.assert_array_equal(rings, moons.x[batch])
    title = glass.axes["stage"].get_title(loc="left")
    assert title == "Batch of step 15, model of step 12"


def test_the_microscope_shows_the_model_of_the_step_it_stands_at() -> None:
    session = session_of(datasets.moons(n=100))
    session.run(50, {20: {"learning_rate": 0.05}})
    glass, present = Microscope(session), session.model.get_weights()
    for step in (0, 24, 48):
        seen_at(glass, step)
        surface = np.array(glass.axes["stage"].images[0].get_array())
        then = session.replayed(until=step)
        grid = glass._stage._grid
        np.testing.assert_array_equal(surface, figures.surface_values(then.predict(grid)))
    assert glass.axes["stage"].get_title(loc="left") == "Batch of step 48 and the model then"
    seen_at(glass, 47)
    assert glass.axes["stage"].get_title(loc="left") == "Batch of step 47, model of step 44"
    for one, two in zip(session.model.get_weights(), present):
        np.testing.assert_array_equal(one, two)


def test_a_long_run_keeps_ever_fewer_of_its_models() -> None:
    class Variable:
        value = 0.0

        def numpy(self) -> np.ndarray:
            return np.array(self.value)

        def assign(self, value: np.ndarray) -> None:
            self.value = float(value)

    variable = Variable()
    models = Models([variable])
    for step in range(20_000):
        variable.value = float(step)
        models.keep(step)
    assert len(models._kept) <= MODELS_KEPT
    for step in (0, 777, 19_000):
        with models.as_of(step, now=20_000) as then:
            assert then == variable.value
            assert step - models.every < then <= step
        assert variable.value == 19_999
    with pytest.raises(ZeroDivisionError), models.as_of(5, now=20_000):
        1 / 0  # noqa: B018
    assert variable.value == 19_999


def test_microscope_in_words(moons: Session) -> None:
    batch = moons.batch(15)
    outer, inner = np.bincount(moons.labels[batch])
    times = moons.chances_at(15) * len(moons.x)
    then, now = moons.losses_at(15).mean(), moons.losses_of(batch).mean()
    glass = Microscope(moons)
    glass.look_at(15)
    said = glass.words()
    assert said.startswith("Step 15: strategy class-balanced, batch size 32, balance 1, ")
    assert said.endswith(
        f"learning rate 0.01. 32 samples: {outer} of class outer, {inner} of class inner; each was "
        f"×{times.min():.2g} to ×{times.max():.2g} as likely as in a uniform draw. Their mean loss "
        f"was {then:.2g} and is {now:.2g} now."
    )


def test_microscope_says_when_chances_are_not_known(digits: Session, monkeypatch: Any) -> None:
    monkeypatch.setattr(digits, "chances_at", lambda step: None, raising=False)
    glass = Microscope(digits, width="wide")
    seen_at(glass, 2)
    *rows, unknown = glass.axes["chances"].texts
    assert "is not known" in unknown.get_text().replace("\n", " ")
    assert unknown.get_visible()
    assert not any(bar.get_visible() for bar in glass.axes["chances"].patches)
    assert "how likely they were is not known" in glass.words()


def test_microscope_names_the_steps_it_has(moons: Session) -> None:
    glass = Microscope(moons)
    for step in (60, -1):
        with pytest.raises(IndexError, match=f"step {step} is not recorded; there are 0 to 59"):
            glass.look_at(step)
    assert glass.step == 0


@pytest.mark.parametrize(
    ("count", "options", "message"),
    [
        (1, {"theme": "grey"}, "theme must be one of .*'grey'"),
        (1, {"width": 3}, "width must be one of .*3"),
        (3, {}, "sessions must be one or two, got 3"),
        (0, {}, "sessions must be one or two, got 0"),
    ],
)
def test_bad_input(moons: Session, count: int, options: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        Picture([moons] * count, **options)


def test_no_pyplot(moons: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # importing it fails
    assert Picture([moons]).png()
    assert Microscope(moons).png()
    for path in Path(picture.__file__).parent.glob("*.py"):
        assert "pyplot" not in path.read_text()
