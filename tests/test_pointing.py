"""What the panel tells of a sample, what its points are coloured by, and what a hand in the page does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from batchlab import BatchLab, Session, datasets
from batchlab.lab.drawing.colouring import BY, CHANCE, CLASS, LOSS, SHADES, VISITS, Colouring
from batchlab.lab.drawing.layered import Targets
from batchlab.lab.drawing.microscope import Microscope
from batchlab.lab.drawing.picture import Picture
from batchlab.lab.pointing import Pointing

DATA = datasets.moons(n=200, share=0.3)
HEIGHT = DATA.x_train[:, 1].astype(float)


class Page:
    """The page, as the kernel hears it and as it is answered."""

    def __init__(self, lab: BatchLab) -> None:
        self.lab, self.canvas, self.answers = lab, lab.board.screen.canvas, []
        self.canvas.send = lambda message, buffers=None: self.answers.append(message)

    def say(self, kind: str, **message: Any) -> None:
        self.canvas._handle_custom_msg({"kind": kind, "run": 0, **message}, [])
        self.lab.worker.join()


@pytest.fixture(scope="module")
def lab() -> Iterator[BatchLab]:
    lab = BatchLab(
        DATA.x_train, DATA.y_train, classes=DATA.classes, label_noise=0.1, scores={"height": HEIGHT}
    )
    lab.run(20)
    yield lab
    lab.stop()


@pytest.fixture
def page(lab: BatchLab) -> Page:
    lab.pick(np.arange(140), "clear")
    lab.reset()
    lab.run(20)
    return Page(lab)


def rows(card: dict[str, Any]) -> dict[str, str]:
    return dict(card["rows"])


def test_a_card_says_what_is_known_of_a_sample(lab: BatchLab, page: Page) -> None:
    session = lab.a
    given = session.given.labels[session.kept]  # before the noise
    wrong = int((session.labels != given).argmax())
    page.say("look", sample=wrong, kept=True)
    (card,) = page.answers
    said = rows(card)
    assert (card["kind"], card["title"], card["kept"]) == ("card", f"#{wrong}", True)
    assert said["class"] == session.classes[session.labels[wrong]]
    assert said["true class"] == session.classes[given[wrong]] != said["class"]
    assert float(said["loss now"]) == pytest.approx(session.losses_of([wrong])[0], rel=0.01)
    assert said["drawn"].startswith(str(session.history.visits[wrong]))
    assert float(said["height"]) == pytest.approx(HEIGHT[wrong], rel=1e-3)
    batches = session.history.indices
    steps = [step for step in range(20) if wrong in batches[step]]
    assert card["curve"]["steps"] == steps
    losses = [session.losses_at(step)[batches[step] == wrong][0] for step in steps]
    np.testing.assert_allclose(card["curve"]["losses"], losses)
    right = int((session.labels == given).argmax())
    assert "true class" not in rows(lab.pointing.card(session, right))


def test_a_card_of_thinned_data_tells_of_the_sample_that_is_left() -> None:
    lab = BatchLab(DATA.x_train, DATA.y_train, imbalance=4.0, scores={"height": HEIGHT})
    last = len(lab.a.x) - 1
    assert last < len(DATA.x_train) - 1
    said = rows(lab.pointing.card(lab.a, last))
    assert float(said["height"]) == pytest.approx(lab.a.x[last, 1], rel=1e-3)
    assert said["drawn"] == "never"


def test_a_look_while_it_trains_is_answered_between_two_steps(lab: BatchLab, page: Page) -> None:
    before = len(lab.history.events)
    lab.play()
    for sample in range(5):
        page.canvas._handle_custom_msg({"kind": "look", "run": 0, "sample": sample, "kept": False}, [])
    lab.pause()
    lab.worker.join()
    assert [card["sample"] for card in page.answers] == [0, 1, 2, 3, 4]
    assert len(lab.history.events) == before


def test_each_gesture_is_done_in_order_and_the_replay_is_the_same(lab: BatchLab, page: Page) -> None:
    page.say("pick", how="never", samples=[1, 2])
    page.say("pick", how="never", samples=[3])
    page.say("pick", how="always", samples=[2])
    page.say("pick", how="next", samples=[5, 6, 7])
    assert lab.a.value("exclude") == (1, 3)
    assert lab.a.value("pin") == (2,)
    lab.run(10)
    assert sorted(lab.a.batch(20)) == [5, 6, 7]
    again = lab.a.replayed()
    for one, two in zip(lab.model.get_weights(), again.model.get_weights()):
        np.testing.assert_array_equal(one, two)


def test_what_is_refused_is_said_and_changes_nothing(lab: BatchLab, page: Page) -> None:
    page.say("pick", how="never", samples=[1, 10_000])
    assert "exclude[1] is 10000" in lab.board.error.value
    assert lab.a.value("exclude") == ()
    page.say("pick", how="sideways", samples=[1])
    assert "sideways" in lab.board.error.value
    page.say("pick", how="never", samples=list(range(len(lab.a.x))))
    assert lab.a.value("exclude") == ()
    assert "<b" in lab.board.error.value


def test_what_if_and_branch_from_the_page(lab: BatchLab, page: Page) -> None:
    page.say("what if", samples=[0, 1])
    assert lab.b.history.steps == 20
    assert lab.b.history.visits[:2].sum() == 0
    assert page.canvas.note == ""
    page.say("pick", how="never", samples=[9], run=1)  # pointed at on the stage of B
    assert lab.b.value("exclude") == (0, 1, 9)
    assert lab.a.value("exclude") == ()
    lab.controls["Batch microscope"].value = True
    lab.worker.join()
    assert lab.controls["Past step"].value == 19  # the newest
    lab.controls["Past step"].value = 12
    lab.worker.join()
    page.say("branch")
    assert lab.a.history.steps == 12
    lab.worker.tell("Compare with B", False)
    lab.worker.join()


def test_colours_say_what_was_asked_for(lab: BatchLab, page: Page) -> None:
    session, colouring = lab.a, lab.pointing.colouring
    assert colouring.choices == (*BY, "height")
    lab.run(1)
    unseen = session.history.visits == 0
    expected = {
        VISITS: np.where(unseen, np.nan, session.history.visits),
        CHANCE: np.where(session.sampler.probabilities > 0, session.sampler.probabilities * 140, np.nan),
        "height": HEIGHT,
    }
    for by, values in expected.items():
        page.say("colour", by=by)
        assert lab.colour_by == by
        np.testing.assert_allclose(colouring.values(session), values)
        shades, (low, high) = colouring.shades(values)
        assert low <= np.nanmin(values) and np.nanmax(values) <= high
        assert ((shades < 0) == np.isnan(values)).all()
        assert shades.max() < SHADES
        order = np.argsort(values[~np.isnan(values)])
        assert (np.diff(shades[~np.isnan(values)][order]) >= 0).all()
    lab.colour_by = CLASS
    assert colouring.values(session) is None
    assert colouring.key(session) == {}
    with pytest.raises(ValueError, match="colour_by must be one of .*'weight'"):
        lab.colour_by = "weight"


def test_the_last_loss_is_the_newest_one_of_a_sample() -> None:
    session = Session(DATA.x_train, DATA.y_train)
    colouring = Colouring()
    colouring.by = LOSS
    for steps in (3, 4):
        session.run(steps)
        seen: dict[int, float] = {}
        for batch, losses in zip(session.history.indices, session.history.losses):
            seen |= dict(zip(batch.tolist(), losses.tolist()))
        values = colouring.values(session)
        assert {i: values[i] for i in seen} == seen
        assert np.isnan(np.delete(values, list(seen))).all()
    session.reset()
    assert np.isnan(colouring.values(session)).all()
    assert "never drawn" in colouring.key(session)["hollow"]


def test_points_take_the_shades_and_hollow_ones_are_empty(lab: BatchLab) -> None:
    session = Session(DATA.x_train, DATA.y_train)
    session.run(3, {0: {"replacement": True}})
    colouring = Colouring()
    colouring.by = VISITS
    picture = Picture([session], colouring=colouring)
    picture.png()
    (first, second), (members, others) = (
        picture.axes["A"].collections[:2],
        [each[0] for each in picture._stages[0]._members[:2]],
    )
    for points, samples in ((first, members), (second, others)):
        empty = points.get_facecolors()[:, 3] == 0
        np.testing.assert_array_equal(empty, session.history.visits[samples] == 0)
    _, moving = picture.recording()
    fills = {c.get("fill") for part in moving for c in part["commands"] if c["kind"] == "markers"}
    assert len(fills) > 2  # points of one colour are drawn together
    colouring.by = CLASS
    picture.png()
    assert len(picture.axes["A"].collections[0].get_facecolors()) == 1


@pytest.mark.parametrize(
    ("scores", "error", "message"),
    [
        ([1, 2], TypeError, "scores must be a dict"),
        ({"visits": HEIGHT}, ValueError, "names of their own"),
        ({"height": HEIGHT[:-1]}, ValueError, "scores\\['height'\\]"),
        ({"height": np.full(140, np.nan)}, ValueError, "must be finite"),
    ],
)
def test_wrong_scores_are_refused(scores: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        BatchLab(DATA.x_train, DATA.y_train, scores=scores)


def centre_of(targets: Targets, sample: int) -> np.ndarray:
    return targets.places[targets.samples == sample][0]


def test_targets_are_where_samples_are_drawn() -> None:
    session = Session(DATA.x_train, DATA.y_train)
    session.run(3)
    picture = Picture([session])
    picture.png()
    ((run, targets),) = picture.targets()
    axes = picture.axes["A"]
    x, y = axes.transData.transform(session.x[7])
    np.testing.assert_allclose(centre_of(targets, 7), [x, picture.size[1] - y], rtol=1e-5)
    assert run == 0 and sorted(targets.samples) == list(range(140))
    glass = Microscope(session)
    glass.look_at(2)
    glass.png()
    _, (_, chances), (_, losses) = glass.targets()
    top = session.batch(2)[session.losses_at(2).argmax()]
    assert chances.samples[0] == losses.samples[0] == top
    assert centre_of(losses, top)[1] == centre_of(chances, top)[1]


def test_thumbnails_are_targets_and_bear_the_marks_of_the_hand() -> None:
    data = datasets.digits_long_tailed()
    session = Session(data.x_train, data.y_train, batch_size=4)
    session.run(2)
    picture = Picture([session])

    def drawn() -> np.ndarray:
        picture.png()
        return np.array(picture.figure.images[0].get_array())

    sheet = drawn()
    ((_, targets),) = picture.targets()
    assert len(targets.samples) == 4
    left = picture.axes["A"].get_window_extent().x0
    top = picture.size[1] - round(picture.axes["A"].get_window_extent().y0) - sheet.shape[0]
    x, y = (targets.places[0] - (round(left), top)).astype(int)
    image = session.x[targets.samples[0]]
    span = session.x.max() - session.x.min()
    middle = 255 * (image[4, 4, 0] - session.x.min()) / span
    assert abs(int(sheet[y + 3, x + 3, 0]) - middle) < 2
    for how in ("never", "always", "more", "less"):
        session.pick([int(targets.samples[0])], how)
        assert (drawn() != sheet).any()
        session.pick([int(targets.samples[0])], "clear")
        np.testing.assert_array_equal(drawn(), sheet)


def test_a_page_hears_nothing_of_a_panel_that_is_gone(lab: BatchLab) -> None:
    class Gone:
        a, board = lab.a, lab.board

    before = lab.a.value("exclude")
    pointing = Pointing(Gone())
    pointing.hear(lab.board.screen.canvas, {"kind": "pick", "how": "never", "samples": [1]})
    assert lab.a.value("exclude") == before


@pytest.mark.parametrize(("classes", "length"), [(100, 3), (30, 12), (3, 60), (2, 4)])
def test_the_legend_of_the_stage_stays_on_the_paper(classes: int, length: int) -> None:
    rng = np.random.default_rng(0)
    names = [f"{number:03d}" + "n" * (length - 3) for number in range(classes)]
    labels = np.arange(4 * classes) % classes
    session = Session(rng.normal(size=(labels.size, 2)), labels, classes=names, batch_size=4)
    picture = Picture([session])
    picture.png()
    legend = picture.axes["A"].get_legend()
    box = legend.get_window_extent()
    assert box.y0 >= 0 and box.x0 >= 0
    said = [text.get_text() for text in legend.get_texts()]
    assert said[-1] == "batch"
    if classes > 30:
        assert int(said[-2].split()[1]) + len(said) - 2 == classes


@pytest.mark.parametrize("runs", [1, 2])
def test_the_histograms_know_in_which_bar_a_sample_is(runs: int) -> None:
    sessions = [Session(DATA.x_train, DATA.y_train)]
    sessions[1:] = [sessions[0].twin(strategy="prioritized")] * (runs - 1)
    for session in sessions:
        session.run(60)
    picture = Picture(sessions)
    picture.png()
    session = sessions[-1]
    visits, losses = (picture.axes[letter] for letter in "VD")
    for sample in (int(session.history.visits.argmax()), 7):
        boxes = np.array(picture.bars_of(runs - 1, sample))
        assert (boxes[:, 2:] > 0).all()
        corners = boxes[:, :2] + boxes[:, 2:] / 2
        x, y = visits.transData.inverted().transform((corners[0, 0], picture.size[1] - corners[0, 1]))
        times = session.history.visits
        assert abs(x - times[sample]) <= 0.5
        sides = [(boxes[0, 0], 0), (boxes[0, 0] + boxes[0, 2], 0)]
        low, high = visits.transData.inverted().transform(sides)[:, 0]
        assert 2 * y == pytest.approx(((times > low) & (times < high)).sum(), abs=0.7)
        found = {
            loss
            for batch, known in zip(session.history.indices[-50:], session.history.losses[-50:])
            for loss in np.clip(known[batch == sample], 1e-6, 10)
        }
        ends = [
            losses.transData.inverted().transform([(left, 0), (left + width, 0)])[:, 0]
            for left, _, width, _ in boxes[1:]
        ]
        assert all(any(a * 0.99 <= loss <= b * 1.01 for a, b in ends) for loss in found)
        assert all(any(a * 0.99 <= loss <= b * 1.01 for loss in found) for a, b in ends)
    fresh = Session(DATA.x_train, DATA.y_train)
    (only,) = Picture([fresh]).bars_of(0, 3)  # never drawn: among the visits, not the losses
    assert only[2] > 0


@pytest.mark.parametrize("by", BY)
def test_a_file_has_the_key_of_the_colours_and_a_page_has_its_own(by: str) -> None:
    session = Session(DATA.x_train, DATA.y_train)
    session.run(3)
    colouring = Colouring()
    colouring.by = by
    picture = Picture([session], colouring=colouring)
    key, file = colouring.key(session), picture.svg()
    assert all(f"<!-- {key[end]} -->" in file for end in ("low", "high") if key)
    assert not key.get("hollow") or f"<!-- {by} ({key['hollow']}) -->" in file
    recorded = [part for parts in picture.recording() for part in parts]
    texts = {each.get("text", "") for part in recorded for each in part["commands"]}
    assert not any(text.startswith(by) for text in texts if by != CLASS)
    with_key = picture.png()
    picture._in_files.clear()
    assert (picture.png() != with_key) == (by != CLASS)
