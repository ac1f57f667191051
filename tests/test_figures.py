"""Figures: what they draw, and what they say in words."""

from __future__ import annotations

import io
import subprocess
import sys
import xml.etree.ElementTree

import numpy as np
import pytest
from matplotlib.text import Text

from batchlab import figures
from batchlab.comparison import Verdict
from batchlab.history import History


def run_of(batches: list[list[int]], n: int = 4, **metrics: list[float]) -> History:
    history = History(n)
    for batch in batches:
        history.record(batch, losses=np.ones(len(batch)))
    for number in range(len(next(iter(metrics.values()), []))):
        history.end_epoch({name: values[number] for name, values in metrics.items()})
    return history


def test_figure_shows_itself_as_png_with_alternative_text() -> None:
    figure = figures.Figure(2, 1, alt="A line that rises.")
    figure.subplots().plot([0, 1])
    data, metadata = figure._repr_mimebundle_()
    assert data["image/png"].startswith(b"\x89PNG")
    assert data["text/plain"] == "A line that rises."
    assert metadata["image/png"]["alt"] == "A line that rises."


def test_importing_figures_does_not_import_pyplot() -> None:
    code = "import sys, batchlab.figures; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("values", "window", "expected"),
    [
        ([], 3, []),
        ([4.0], 3, [4]),
        ([1.0, 2, 3, 4], 2, [1, 1.5, 2.5, 3.5]),
        ([3.0, 3, 3, 9], 10, [3, 3, 3, 4.5]),
        ([1.0, np.nan, 3, 5], 2, [1, np.nan, np.nan, 4]),  # a loss that was lost is soon forgotten
        ([1.0, np.inf, 3, 5], 2, [1, np.inf, np.inf, 4]),
        ([1.0, 1e300, 3, 5], 2, [1, 5e299, 5e299, 4]),
    ],
)
def test_smooth_is_the_mean_of_the_last_values(
    values: list[float], window: int, expected: list[float]
) -> None:
    np.testing.assert_allclose(figures.smooth(values, window), expected)


def test_smooth_agrees_with_a_plain_loop() -> None:
    values = np.random.default_rng(0).normal(size=100)
    plain = [values[max(0, i - 6) : i + 1].mean() for i in range(100)]
    np.testing.assert_allclose(figures.smooth(values, 7), plain)


def test_learning_curves_draw_one_line_per_run_and_say_the_ends() -> None:
    runs = {"a": run_of([], loss=[2.0, 1.0]), "b": run_of([], loss=[3.0, 0.5])}
    figure = figures.learning_curves(runs, ["loss"], title="Two runs")
    (axes,) = figure.axes
    assert [line.get_ydata().tolist() for line in axes.lines] == [[2.0, 1.0], [3.0, 0.5]]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("epoch", "loss")
    assert "a: loss 2.0 to 1.0; b: loss 3.0 to 0.5" in figure.alt


def test_class_mix_draws_the_shares() -> None:
    figure = figures.class_mix({"data": [0.9, 0.1], "chosen": [0.5, 0.5]}, ["common", "rare"])
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    assert heights == [0.9, 0.1, 0.5, 0.5]
    assert figure.alt == "Class mix. Share of class rare: data 10%, chosen 50%"


def test_visits_count_how_often_samples_were_chosen() -> None:
    figure = figures.visits({"run": run_of([[0, 1], [1, 2]])})
    heights = [bar.get_height() for bar in figure.axes[0].patches]
    assert heights == [1, 2, 1]  # one sample never, two once, one twice
    assert "25% never, at most 2×" in figure.alt


def test_confusion_matrix_counts_rows_by_true_class() -> None:
    figure = figures.confusion([0, 0, 0, 1], [0, 0, 1, 0], ["cat", "dog"])
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ["2", "1", "1", "0"]
    assert "Best recognised class: cat, worst: dog" in figure.alt


@pytest.mark.parametrize("outputs", [1, 2, 3])
def test_decision_surface_draws_what_the_model_says(outputs: int) -> None:
    x = np.array([[-1.0, 0], [1, 0], [0, 1]], dtype=np.float32)

    def predict(points: np.ndarray) -> np.ndarray:
        right = (points[:, :1] > 0).astype(float)
        return {1: right, 2: np.hstack([1 - right, right])}.get(
            outputs, np.hstack([1 - right, right, 0 * right])
        )

    names = ["left", "right", "third"][: max(outputs, 2)]
    figure = figures.decision_surface(predict, x, [0, 1, 1], names, title="Halves")
    axes = figure.axes[0]
    shown = np.asarray(axes.images[0].get_array())
    assert shown[:, 0].max() == 0
    assert shown[:, -1].min() == 1
    assert figure.alt == "Decision surface. Halves"
    assert [text.get_text() for text in axes.get_legend().get_texts()]


NAMES = ["$0-$50", "bell\a\x00 \\$b$\nα ≤ é"]


def drawn(figure: figures.Figure) -> set[str]:
    """Every text as it is drawn; a formula would stand there as one."""
    texts = [text for text in figure.findobj(Text) if text.get_visible()]
    parsed = [text._preprocess_math(text.get_text()) for text in texts]
    assert not any(is_math for _, is_math in parsed)
    return {text for text, _ in parsed}


@pytest.mark.parametrize("name", NAMES)
def test_names_are_drawn_as_they_are_and_keep_an_svg_sound(name: str) -> None:
    run = run_of([[0, 1]], loss=[2.0, 1.0])
    x = np.array([[-1.0, 0], [1, 0], [0, 1]])
    pictures = [
        figures.learning_curves({name: run}, title=name),
        figures.class_mix({name: [0.5, 0.5]}, [name, "other"], title=name),
        figures.visits({name: run}, title=name),
        figures.confusion([0, 1], [0, 1], [name, "other"], title=name),
        figures.decision_surface(
            lambda points: points[:, :1] > 0, x, [0, 1, 1], [name, "other"], title=name
        ),
        figures.comparison({name: [0.5, 0.6], "other": [0.7, 0.8]}, name, title=name),
    ]
    expected = name.replace("\a", "\ufffd").replace("\x00", "\ufffd")
    for picture in pictures:
        file = io.BytesIO()
        picture.savefig(file, format="svg")
        xml.etree.ElementTree.fromstring(file.getvalue())
        assert any(expected in text for text in drawn(picture))


def test_verdicts_are_drawn_with_their_intervals_and_hollow_where_nothing_can_be_told() -> None:
    clear = Verdict("mine", "random", "accuracy", 0.04, 0.01, 0.0, wins=5, seeds=5)
    unclear = Verdict("other", "random", "accuracy", 0.01, 0.03, 0.0, wins=3, seeds=5)
    panels = {"short": {"mine": clear, "other": unclear}, "long": {"mine": unclear}}
    figure = figures.verdicts(panels, "points", scale=100, alt="Who wins.")
    short, long = figure.axes
    for axes, found in zip((short, long), panels.values()):
        for drawn, verdict in zip(axes.containers, found.values()):
            (dot, _, (bar,)) = drawn.lines
            assert dot.get_xdata() == pytest.approx([100 * verdict.gain])
            ends = bar.get_segments()[0][:, 0]
            assert ends == pytest.approx([100 * verdict.low, 100 * verdict.high])
            hollow = dot.get_markerfacecolor() == "white"
            assert hollow == (verdict.word == "too close to tell")
    assert [tick.get_text() for tick in short.get_yticklabels()] == ["mine", "other"]
    assert short.get_xlabel() == "points over random"
    assert figure.alt == "Who wins."
    with pytest.raises(TypeError, match="figures.verdicts: panels must be a dict by name"):
        figures.verdicts({}, "points")


def test_images_stand_in_rows_with_captions_of_which_some_stand_out() -> None:
    pictures = np.arange(2 * 3 * 3, dtype=float).reshape(2, 3, 3)
    figure = figures.images(
        {"a": pictures, "b": pictures[:1, :, :, None]},
        {"a": [4, "$7"]},
        {"a": np.array([False, True])},
        alt="Two rows.",
    )
    first, second, third, empty = figure.axes
    np.testing.assert_array_equal(first.images[0].get_array(), pictures[0])
    np.testing.assert_array_equal(third.images[0].get_array(), pictures[0])
    assert not empty.images and not empty.axison
    assert first.images[0].get_clim() == third.images[0].get_clim() == (0, pictures.max())
    assert [axes.get_title() for axes in (first, second, third)] == ["4", r"\$7", ""]
    assert first.title.get_color() != second.title.get_color()
    assert first.get_ylabel() == "a"
    with pytest.raises(ValueError, match=r"figures.images: rows\['a'\]"):
        figures.images({"a": np.zeros(4)})
