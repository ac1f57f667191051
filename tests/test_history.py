"""The record of a run."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from batchlab import CurriculumSampler, History
from batchlab.history import Event


def test_single_steps_and_blocks_of_steps_give_one_record():
    single, block = History(10), History(10)
    indices, losses = np.arange(6).reshape(3, 2), np.linspace(0, 1, 6).reshape(3, 2)
    for row, loss in zip(indices, losses):
        single.record(row, loss)
    block.record(indices, losses)
    for history in (single, block):
        assert history.steps == len(history.indices) == len(history.losses) == 3
        assert [row.tolist() for row in history.indices] == [[0, 1], [2, 3], [4, 5]]
        np.testing.assert_allclose(history.step_losses, losses.mean(axis=1), rtol=1e-6)
        np.testing.assert_array_equal(history.visits, [1] * 6 + [0] * 4)
        assert history.coverage == 0.6


def test_dtypes_are_compact_and_unknown_losses_are_nan():
    history = History(5)
    history.record([1, 1])
    assert history.indices[0].dtype == np.int32
    assert history.losses[0].dtype == np.float32
    assert np.isnan(history.losses[0]).all()
    assert history.visits[1] == 2


def test_steps_read_like_a_list():
    history = History(9)
    for size in (2, 3, 1):
        history.record(np.arange(size))
    assert [len(row) for row in history.indices] == [2, 3, 1]
    assert history.indices[-1].tolist() == [0]
    assert [row.tolist() for row in history.indices[1:]] == [[0, 1, 2], [0]]
    with pytest.raises(IndexError):
        history.indices[3]


def test_long_runs_keep_the_newest_steps_and_count_all():
    history = History(100, keep=50)
    for step in range(1000):
        history.record([step % 100, 7], [step, step])
    assert history.steps == len(history.step_losses) == 1000
    assert history.visits.sum() == 2000
    kept = len(history.indices)
    assert 25 <= kept <= 50
    assert [row[0] for row in history.indices] == [step % 100 for step in range(1000 - kept, 1000)]
    assert history.losses[-1].tolist() == [999, 999]
    assert sum(column._array.size for column in (history._indices, history._losses)) < 1000


def test_class_mix_of_all_and_of_recent_steps():
    history = History(4)
    labels = [0, 0, 1, 2]
    assert history.class_mix(labels).tolist() == [0, 0, 0]
    history.record([0, 1])
    history.record([2, 3, 3, 2])
    np.testing.assert_allclose(history.class_mix(labels), [1 / 3] * 3)
    np.testing.assert_allclose(history.class_mix(labels, last=1), [0, 0.5, 0.5])
    np.testing.assert_allclose(history.class_mix(labels, last=9), [1 / 3] * 3)


def test_class_mix_counts_all_steps_also_those_no_longer_kept():
    history = History(2, keep=1)
    for step in range(40):
        history.record([int(step >= 30)])
    assert len(history.indices) < 10
    assert history.class_mix([0, 1]).tolist() == [0.75, 0.25]


@pytest.mark.parametrize(
    ("indices", "losses", "error", "message"),
    [
        ([0, -1], None, IndexError, "index -1 at position 1"),
        ([[0, 1], [3, 4]], None, IndexError, "index 4 at position 3"),
        ([], None, TypeError, r"indices .* shape \(0,\)"),
        (2, None, TypeError, r"indices .* shape \(\)"),
        ([0.0], None, TypeError, "indices must be .* whole numbers .* dtype float64"),
        ([0, 1], [1.0], ValueError, r"losses must hold .* shape \(1, 2\), got shape \(1, 1\)"),
        ([0, 1], ["a", "b"], ValueError, "losses must hold .*dtype <U1"),
        ([0, 1], np.ma.array([1.0, 2.0], mask=[0, 1]), TypeError, "losses is masked"),
    ],
)
def test_a_wrong_record_is_refused_whole(indices, losses, error, message):
    history = History(4)
    history.record([0, 1], [1.0, 2.0])
    before = history.state_dict(), {k: v.tolist() for k, v in history.arrays().items()}
    with pytest.raises(error, match=f"^History.record: .*{message}"):
        history.record(indices, losses)
    assert (history.state_dict(), {k: v.tolist() for k, v in history.arrays().items()}) == before


def test_wrong_questions_are_refused():
    history = History(3)
    history.record([0, 1, 2], [1.0, 2.0, np.nan])
    for last in (0, -1, 1.5, True):
        with pytest.raises((TypeError, ValueError), match="History.class_mix: last must be"):
            history.class_mix([0, 1, 1], last=last)
    with pytest.raises(ValueError, match="labels must have one entry for each of the 3 samples"):
        history.class_mix([0, 1])
    with pytest.raises(TypeError, match="labels must be class numbers from 0"):
        history.class_mix([0, -1, 1])
    with pytest.raises(ValueError, match="sample 2 has no recorded loss .1 of 3"):
        history.difficulty()
    with pytest.raises(ValueError, match="History.difficulty: by must be one of"):
        history.difficulty("forgotten")
    for keep in ("x", 0, None):
        with pytest.raises((TypeError, ValueError), match="History: keep must be"):
            History(3, keep=keep)


def run_of_losses(*epochs):
    history = History(len(epochs[0]))
    for number, losses in enumerate(epochs):
        order = np.roll(np.arange(len(losses)), number)  # every epoch in an order of its own
        history.record(order[:2], np.array(losses)[order[:2]])
        history.record(order[2:], np.array(losses)[order[2:]])
    return history


def test_difficulty_tells_how_hard_samples_were():
    # learnt at once; learnt late; learnt and forgotten twice; never learnt
    history = run_of_losses(
        (0.1, 0.9, 0.5, 2.0),
        (0.1, 0.8, 0.9, 2.0),
        (0.1, 0.7, 0.5, 2.0),
        (0.1, 0.6, 0.7, 2.0),
    )
    np.testing.assert_allclose(history.difficulty(), [0.1, 0.75, 0.65, 2.0], rtol=1e-6)
    assert history.difficulty("first_learnt").tolist() == [0, 3, 0, 4]
    assert history.difficulty("forgetting").tolist() == [0, 0, 2, 3]
    assert history.difficulty("first_learnt", learnt_below=3).tolist() == [0, 0, 0, 0]
    assert history.difficulty("forgetting", learnt_below=0.75).tolist() == [0, 0, 1, 2]
    assert history.difficulty("forgetting").dtype == np.float64


def test_difficulty_agrees_with_a_plain_loop():
    rng = np.random.default_rng(0)
    history, seen = History(20), [[] for _ in range(20)]
    for step in range(200):
        indices = np.arange(20) if step == 0 else rng.integers(20, size=5)
        losses = rng.random(indices.size).astype(np.float32)
        history.record(indices, losses)
        for index, loss in zip(indices, losses):
            seen[index].append(bool(loss < 0.5))
    forgotten = [sum(a and not b for a, b in zip(row, row[1:])) for row in seen]
    assert all(map(any, seen))
    assert history.difficulty("forgetting", 0.5).tolist() == forgotten
    assert history.difficulty("first_learnt", 0.5).tolist() == [row.index(True) for row in seen]


def test_difficulty_is_what_a_curriculum_starts_from():
    history = run_of_losses((0.4, 0.1, 0.9, 0.2))
    sampler = CurriculumSampler(history.difficulty(), batch_size=1, start=0.25, pacing_epochs=100)
    assert next(iter(sampler)).tolist() == [1]


def test_events_carry_the_number_of_the_next_step():
    history = History(4)
    history.record([0])
    history.record_event("balance", 0.5)
    assert history.events == [Event(1, "balance", 0.5)]


def test_epochs():
    history = History(4)
    history.record([0])
    assert history.epoch_steps == 1
    history.end_epoch({"loss": np.float32(2)})
    history.end_epoch({"loss": 1, "accuracy": 1})
    assert history.epoch_steps == 0
    assert history.epoch == [0, 1]
    assert history.history == {"loss": [2.0, 1.0], "accuracy": [1.0]}
    assert repr(history) == "History(steps=1, epochs=2, coverage=25.0%, events=0)"


def test_vector_metrics_and_what_callbacks_log_are_kept():
    history = History(4)
    logs = {"f1": np.array([0.5, 1], np.float32), "loss": np.array(2.0), "note": "warm", "none": None}
    history.end_epoch(logs)
    assert history.history == {"f1": [[0.5, 1.0]], "loss": [2.0], "note": ["warm"], "none": [None]}
    again = History.restore(json.loads(json.dumps(history.state_dict())), history.arrays())
    assert again.history == history.history


def test_a_record_is_restored_from_its_state_and_arrays():
    history = History(6, keep=3)
    for step in range(9):
        history.record([step % 6, 1], [0.5, step])
    history.record_event("seed", 3)
    history.end_epoch({"loss": 1})
    history.record([2])
    history.scored = 12
    again = History.restore(json.loads(json.dumps(history.state_dict())), history.arrays())
    again.record([5])
    history.record([5])
    assert again.state_dict() == history.state_dict()
    for name, array in history.arrays().items():
        np.testing.assert_array_equal(again.arrays()[name], array)


def test_to_pandas_has_a_row_per_kept_step():
    pandas = pytest.importorskip("pandas")
    history = History(9, keep=4)
    for step, size in enumerate((4, 3, 2, 2)):
        if step == 2:
            history.record_event("strategy", "random")
            history.record_event("balance", 0.5)
        history.record(np.arange(size), np.full(size, step))
    history.record_event("balance", 1.0)
    table = history.to_pandas()
    assert isinstance(table, pandas.DataFrame)
    assert table.index.tolist() == [1, 2, 3]
    assert table["loss"].tolist() == [1, 2, 3]
    assert table["batch_size"].tolist() == [3, 2, 2]
    assert table["changes"].tolist() == ["", "strategy = random; balance = 0.5", ""]
    assert History(9).to_pandas().empty


def test_to_pandas_says_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ModuleNotFoundError, match="pip install pandas"):
        History(9).to_pandas()
