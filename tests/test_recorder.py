"""What the page is told to draw: the browser's tests see that it draws it."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from matplotlib.artist import Artist
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.path import Path
from matplotlib.text import Text
from numpy.typing import NDArray
from PIL import Image

from batchlab import Session, datasets
from batchlab.lab.drawing.microscope import Microscope
from batchlab.lab.drawing.picture import Picture
from batchlab.lab.drawing.recorder import Recorder, Recording
from batchlab.lab.drawing.screen import Screen
from batchlab.lab.drawing.stage import HELD


@pytest.fixture
def record() -> Callable[[Artist], Recording]:
    """Puts an artist on a page of 200 x 100 pixels, 72 to the inch, and records it."""

    def recording_of(artist: Artist) -> Recording:
        figure = Figure(figsize=(200 / 72, 100 / 72), dpi=72)
        FigureCanvasAgg(figure)
        figure.add_artist(artist)
        return Recorder(figure).record(artist)

    return recording_of


def numbers(recording: Recording, place: list[int], columns: int) -> NDArray[np.float32]:
    begin, end = place
    return np.frombuffer(recording["numbers"], np.float32)[begin:end].reshape(-1, columns)


def test_lines_count_from_the_upper_left_corner(record: Callable[[Artist], Recording]) -> None:
    line = LineCollection([[(10, 90), (30, 20)]], colors="#0072B280", linewidths=2, linestyle="--")
    line.set_transform(None)
    line.set_clip_box(Rectangle((5, 10), 50, 70).get_window_extent())
    recording = record(line)
    (command,) = recording["commands"]
    rows = numbers(recording, command.pop("path"), 3)
    np.testing.assert_allclose(rows[:2], [[10, 10, 1], [30, 80, 2]])
    assert command["dashes"] == pytest.approx([2 * 3.7, 2 * 1.6])  # matplotlib's own, in line widths
    del command["dashes"]
    assert command == {
        "kind": "path",
        "clip": [5, 20, 50, 70],
        "stroke": "#0072b280",
        "width": 2,
        "cap": "butt",
        "join": "round",
    }


def test_areas_have_fill_rim_and_hatch(record: Callable[[Artist], Recording]) -> None:
    plain = {"facecolor": "red", "transform": None}
    (filled,) = record(Rectangle((10, 20), 30, 40, linewidth=0, **plain))["commands"]
    assert filled["fill"] == "#ff0000ff"
    assert "stroke" not in filled
    faint, _ = (
        command["fill"]
        for alpha in (0.5, None)
        for command in record(Rectangle((0, 0), 9, 9, alpha=alpha, **plain))["commands"]
    )
    assert faint == "#ff000080"
    recording = record(Rectangle((10, 20), 30, 40, hatch="/", edgecolor="blue", **plain))
    area, hatch = recording["commands"]
    assert hatch["kind"] == "hatch"
    assert hatch["stroke"] == "#0000ffff"
    assert hatch["within"] == area["path"]
    lines = numbers(recording, hatch["path"], 3)
    assert lines[:, 0].min() <= 10
    assert lines[:, 0].max() >= 40
    assert lines[:, 1].min() <= 40
    assert lines[:, 1].max() >= 80


def test_markers_are_one_path_at_many_places(record: Callable[[Artist], Recording]) -> None:
    style = {"linestyle": "", "markersize": 6, "color": "green", "transform": None}
    recording = record(Line2D([20, 40, 60], [10, 30, 50], marker="o", **style))
    (command,) = recording["commands"]
    assert command["kind"] == "markers"
    places = numbers(recording, command["places"], 2)
    np.testing.assert_allclose(places, [[20, 90], [40, 70], [60, 50]], atol=0.51)
    circle = numbers(recording, command["path"], 3)
    np.testing.assert_allclose(np.abs(circle[:, :2]).max(axis=0), [3, 3], rtol=1e-3)


def test_a_tick_lies_on_pixels(record: Callable[[Artist], Recording]) -> None:
    recording = record(Line2D([20.3], [10.8], marker="|", markersize=7, transform=None))
    markers = recording["commands"][-1]
    np.testing.assert_allclose(numbers(recording, markers["places"], 2), [[20.5, 89.5]])


def test_images_are_scaled_by_the_page() -> None:
    figure = Figure(figsize=(2, 1), dpi=100)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0.25, 0.1, 0.5, 0.6))
    image = axes.imshow(np.eye(4), origin="lower", aspect="auto", interpolation="none", alpha=0.4)
    recording = Recorder(figure).record(image)
    (command,) = recording["commands"]
    assert command["size"] == [4, 4]
    assert command["alpha"] == 0.4
    assert len(recording["images"][command["pixels"]]) == 4 * 4 * 4
    a, b, c, d, e, f = command["matrix"]
    # The first row lies at the bottom of the axes, which are 100 x 60 pixels.
    for (x, y), place in {(0, 0): (50, 90), (4, 4): (150, 30), (4, 0): (150, 90)}.items():
        np.testing.assert_allclose((a * x + c * y + e, b * x + d * y + f), place)


def test_texts_have_their_place_and_width(record: Callable[[Artist], Recording]) -> None:
    text = {"transform": None, "fontsize": 12, "color": "#222222"}
    (command,) = record(Text(20, 30, "lösses", rotation=90, **text))["commands"]
    assert (command["kind"], command["text"], command["angle"]) == ("text", "lösses", 90)
    assert command["fill"] == "#222222ff"
    assert command["font"] == 12
    assert 30 < command["width"] < 50
    (left,) = record(Text(20, 30, "losses", **text))["commands"]
    np.testing.assert_allclose(left["place"], [20, 70], atol=1)
    formula = record(Text(20, 30, "$x^2$", **text))["commands"]
    assert {command["kind"] for command in formula} == {"path"}  # the page has no such letters


def words_in(parts: list[Recording]) -> str:
    commands = [command for part in parts for command in part["commands"]]
    return " ".join(command["text"] for command in commands if command["kind"] == "text")


@pytest.fixture(scope="module")
def session() -> Session:
    data = datasets.moons(n=300, share=0.2)
    session = Session(data.x_train, data.y_train)
    session.run(30)
    return session


def test_only_what_changed_is_recorded_again(session: Session) -> None:
    def unchanged(before: list[Recording], after: list[Recording]) -> list[bool]:
        return [one is two for one, two in zip(before, after)]

    picture = Picture([session])
    frame, moving = picture.recording()
    assert all(unchanged(frame, picture.recording()[0]))
    session.run(40)
    longer, moved = picture.recording()
    assert len(longer) == len(frame)
    assert 0.5 < np.mean(unchanged(frame, longer)) < 1  # the axes of steps, mostly
    # The decision surface and its border, the points on it, what the hand marked, the batch.
    still = len(session.classes) + len(HELD)
    assert unchanged(moving, moved)[: still + 3] == [False, False, *[True] * still, False]


def test_what_lies_in_axes_with_new_limits_moves(session: Session) -> None:
    picture = Picture([session])
    before = picture.recording()
    axes = picture.axes["M"]
    axes.set_ylim(0, 2 * axes.get_ylim()[1])
    picture.outgrown("M")
    after = picture.recording()
    data = next(bars for bars in axes.containers if bars.get_label() == "data")
    heights = []
    for bar in data:
        (command,) = picture._recorded[bar]["commands"]
        rows = numbers(picture._recorded[bar], command["path"], 3)
        heights.append(np.ptp(rows[rows[:, 2] <= Path.LINETO, 1][:4]))
    high = axes.bbox.height / axes.get_ylim()[1]
    np.testing.assert_allclose(heights, [bar.get_height() * high for bar in data], atol=1)
    assert before[0] != after[0]


def test_moving_words_follow_new_limits() -> None:
    data = datasets.moons(n=300, share=0.2)
    session = Session(data.x_train, data.y_train)
    session.run(1, {0: {"batch_size": 20}})
    session.run(1, {1: {"batch_size": 10}})
    glass = Microscope(session)
    first = glass._names[0]
    heights = []
    for step in (0, 1):
        glass.look_at(step)
        glass.recording()
        (command,) = glass._recorded[first]["commands"]
        heights.append(command["place"][1])
        first.set_text = lambda words: None  # as if the same sample came first again
    top = glass.axes["chances"].bbox
    rows = [0.6 / 20.0, 0.6 / 10.0]  # from the upper end of the axes, of 20 and of 10 rows
    assert heights[1] - heights[0] == pytest.approx((rows[1] - rows[0]) * top.height, abs=1)


@pytest.mark.parametrize("file", ["png", "svg"])
def test_a_file_made_in_between_leaves_nothing_old_on_the_page(file: str) -> None:
    data = datasets.moons(n=300, share=0.2)
    session = Session(data.x_train, data.y_train)
    picture = Picture([session])
    assert "100% never" in words_in(picture.recording()[1])
    session.run(5)
    getattr(picture, file)()
    seen = session.history.coverage
    assert f"{1 - seen:.0%} never" in words_in(picture.recording()[1])


def test_a_file_shows_the_surface_once_and_none_from_before() -> None:
    data = datasets.moons(n=300, share=0.2)
    session = Session(data.x_train, data.y_train)
    drawn = Picture([session])
    drawn.png()  # draws what stays, for the files that follow
    session.run(60)
    files = io.BytesIO(drawn.png()), io.BytesIO()
    drawn.figure.savefig(files[1], format="png")  # all of it, at once
    layered, at_once = (np.asarray(Image.open(each).convert("RGB"), int) for each in files)
    left, low, right, high = drawn.axes["A"].get_window_extent().extents.astype(int)
    stage = np.s_[len(at_once) - high + 3 : len(at_once) - low - 3, left + 3 : right - 3]
    assert np.abs(layered - at_once)[stage].max() <= 1


def test_a_new_strategy_is_named_on_the_page(session: Session) -> None:
    picture = Picture([session])

    assert "Strategy: random" in words_in(picture.recording()[0])
    session.run(1, {session.history.steps: {"strategy": "stratified"}})
    assert "Strategy: stratified" in words_in(picture.recording()[0])


def test_screen_shows_a_png_until_a_page_draws(session: Session) -> None:
    screen, picture = Screen(), Picture([session])
    screen.show(picture, "words")
    assert bytes(screen.image.value).startswith(b"\x89PNG")
    assert screen.canvas.layout.display == "none"
    screen.canvas.set_state({"live": True})  # as the page says it
    sent: list[Any] = []
    screen.canvas.observe(sent.append, ["frame", "moving", "words", "size"])
    screen.show(picture, "words")
    assert {change["name"] for change in sent} == {"frame", "moving", "words", "size"}
    assert screen.image.layout.display == "none"
    assert screen.canvas.layout.display is None
    sent.clear()
    screen.show(picture, "words")
    assert "frame" not in {change["name"] for change in sent}  # it has not changed
