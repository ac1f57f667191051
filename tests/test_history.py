"""The record of a run."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from batchlab import History
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
