"""The audit: what must be found in trainings that are not ours, and what is sound."""

from __future__ import annotations

import numpy as np
import pytest
from packaging.version import Version

from batchlab import Loader, audit, datasets, fit_baseline
from batchlab.backend import keras, tf
from batchlab.samplers import (
    CurriculumSampler,
    RandomSampler,
    SequentialSampler,
    ShardedSampler,
    WeightedSampler,
)
from tests.samplers import strategies
from tests.samplers.strategies import STRATEGIES

NEWER = Version(keras.__version__) >= Version("3.16.dev0")
N, SIZE = 240, 16
Y = np.repeat([0, 1, 2], [120, 80, 40])
X = np.random.default_rng(0).normal(size=(N, 3)).astype(np.float32)


def codes(report, *levels):
    return [each.code for each in report.findings if each.level in levels]


def wrong(report):
    return codes(report, "fault", "warning")


def model():
    network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(3)])
    network.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return network


def pipeline(x=X, y=Y):
    return tf.data.Dataset.from_tensor_slices((x, y))


class TorchLike:
    """What PyTorch's DataLoader looks like from outside: lists of tensors, shuffled anew."""

    def __init__(self, x, y):
        self.x, self.y, self.dataset, self.batch_sampler = None, None, (x, y), None
        self.generator = np.random.default_rng(1)

    def __len__(self):
        return -(-N // SIZE)

    def __iter__(self):
        x, y = self.dataset
        order = self.generator.permutation(N)
        for start in range(0, N, SIZE):
            rows = order[start : start + SIZE]
            yield [tf.constant(x[rows]), tf.constant(y[rows])]


# -- what must be found ----------------------------------------------------------------------------


def test_a_seeded_fit_replays_one_permutation():
    keras.utils.set_random_seed(3)
    report = audit(model().fit, X, Y, batch_size=SIZE)
    assert codes(report, "fault") == ["epochs/replayed"], str(report)
    assert "shuffle(len(x))" in report.faults[0]
    report = audit(model().fit, X, Y, batch_size=SIZE, seed=3)
    assert "epochs/replayed" in codes(report, "fault")
    # Keras 3.16 has one permutation for everybody, whatever the seed.
    level, code = ("fault", "seed/unused") if NEWER else ("passed", "seed/used")
    assert code in codes(report, level), str(report)


@pytest.mark.skipif(not NEWER, reason="this Keras shuffles every epoch anew, if it has no seed")
def test_the_next_keras_shuffles_once_for_everybody():
    report = audit(model().fit, X, Y, batch_size=SIZE)
    assert "epochs/replayed" in codes(report, "fault"), str(report)


def test_a_small_buffer_over_sorted_classes():
    report = audit(pipeline().shuffle(24).batch(SIZE), rows=(X, Y))
    assert set(wrong(report)) == {"epochs/local", "class mix/one class"}, str(report)


def test_repeat_before_shuffle():
    dataset = pipeline().repeat().shuffle(N).batch(SIZE)
    report = audit(dataset, rows=(X, Y), steps_per_epoch=N // SIZE, epochs=4)
    assert wrong(report) == ["duplicates/mixed epochs"], str(report)
    report = audit(model().fit, dataset, rows=(X, Y), steps_per_epoch=N // SIZE, epochs=4)
    assert wrong(report) == ["duplicates/mixed epochs"], str(report)
    sound = pipeline().shuffle(N).repeat().batch(SIZE)
    report = audit(sound, rows=(X, Y), steps_per_epoch=N // SIZE, epochs=4)
    assert not wrong(report), str(report)


def test_a_forgotten_shuffle_false_on_a_curriculum():
    loader = Loader(X, Y, sampler=CurriculumSampler(np.arange(N), SIZE, pacing_epochs=2))
    before = loader.sampler.state_dict()
    assert "batches/reordered" in wrong(audit(model().fit, loader))
    assert "batches/reordered" not in wrong(audit(model().fit, loader, shuffle=False))
    assert loader.sampler.state_dict() == before


def test_overlapping_shards():
    shards = [pipeline().shuffle(N).shard(2, worker).batch(SIZE) for worker in range(2)]
    report = audit(*shards, rows=(X, Y))
    assert "shards/overlap" in codes(report, "fault"), str(report)
    shards = [pipeline().shard(2, worker).shuffle(N).batch(SIZE) for worker in range(2)]
    assert "shards/overlap" not in wrong(audit(*shards, rows=(X, Y), contract=[]))


@pytest.mark.parametrize("way", ["fit", "dataset"])
def test_x_shuffled_apart_from_y(way):
    x = X[np.random.default_rng(2).permutation(N)]
    if way == "fit":
        report = audit(model().fit, x, Y, rows=(X, Y), batch_size=SIZE)
    else:
        report = audit(pipeline(x).shuffle(N).batch(SIZE), rows=(X, Y))
    assert "pairs/apart" in codes(report, "fault"), str(report)


def test_rows_that_never_come():
    report = audit(model().fit, X, Y, batch_size=SIZE, validation_split=0.1)
    (found,) = [each for each in report.findings if each.code == "coverage/never"]
    assert (found.level, found.index) == ("fault", N - N // 10)
    assert "24 of 240 do not" in found.message


def test_a_training_in_the_order_of_the_data():
    report = audit(pipeline().batch(SIZE), rows=(X, Y))
    assert "epochs/unshuffled" in codes(report, "fault")
    loader = Loader(X, Y, sampler=SequentialSampler(N, SIZE))
    assert "epochs/fixed" in codes(audit(loader, contract=["fixed"]), "passed")


def test_a_seed_that_is_not_used_and_one_that_does_not_suffice():
    report = audit(lambda seed: pipeline().shuffle(N, seed=7).batch(SIZE), rows=(X, Y), seed=0)
    assert "seed/unused" in codes(report, "fault")
    report = audit(lambda seed: pipeline().shuffle(N).batch(SIZE), rows=(X, Y), seed=0)
    assert "seed/from outside" in codes(report, "warning")


def test_a_class_mix_that_is_not_the_stated_one():
    loader = Loader(X, Y, sampler=RandomSampler(N, SIZE, replacement=True))
    third = {0: 1, 1: 1, 2: 1}
    assert "stated/frequency" in codes(audit(loader, expected=third, epochs=8), "fault")
    weights = (1 / np.bincount(Y))[Y]
    loader = Loader(X, Y, sampler=WeightedSampler(weights, SIZE))
    assert not wrong(audit(loader, expected=third, epochs=8))


class StartsAgain:
    """Its state forgets where it is."""

    def __init__(self):
        self.epoch = 0

    def __iter__(self):
        self.epoch += 1
        order = np.random.default_rng(self.epoch).permutation(N)
        return (X[order[start : start + SIZE]] for start in range(0, N, SIZE))

    def state_dict(self):
        return {"epoch": self.epoch - 1}

    def load_state_dict(self, state):
        self.epoch = state["epoch"]


def test_what_a_resume_repeats():
    report = audit(StartsAgain(), rows=X)
    assert codes(report, "fault") == ["resume/elsewhere"]
    assert "skips 0 rows and repeats 112" in report.faults[0]
    loader = Loader(X, Y, sampler=RandomSampler(N, SIZE))
    assert "resume/exact" in codes(audit(loader), "passed")


# -- what is sound ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    {
        "tf.data": lambda: (pipeline().shuffle(N).batch(SIZE),),
        "fit of tf.data": lambda: (model().fit, pipeline().shuffle(N).batch(SIZE)),
        "loader": lambda: (Loader(X, Y, sampler=RandomSampler(N, SIZE)),),
        "like torch": lambda: (TorchLike(X, Y),),
        "shards": lambda: tuple(
            Loader(X, Y, sampler=ShardedSampler(RandomSampler(N, SIZE), 2, shard))
            for shard in range(2)
        ),
    }.values(),
)
def test_sound_trainings_are_accepted(arguments):
    report = audit(*arguments(), rows=(X, Y), contract=["random", "once"])
    assert not wrong(report), str(report)


def test_our_loader_in_fit_is_accepted():
    loader = Loader(X, Y, sampler=RandomSampler(N, SIZE))
    report = audit(model().fit, loader, shuffle=False, contract=["random", "once"])
    assert not wrong(report), str(report)


def test_the_loader_is_left_as_it_was():
    loader, fresh = (Loader(X, Y, sampler=RandomSampler(N, SIZE)) for _ in range(2))
    for what in ((model().fit, loader), (loader,)):
        audit(*what)
        assert type(loader) is Loader
        assert loader.sampler.state_dict() == fresh.sampler.state_dict()
    np.testing.assert_array_equal(loader[0][0], fresh[0][0])
    np.testing.assert_array_equal(loader[1][0], fresh[1][0])


class ByNumber(keras.utils.PyDataset):
    """A plain PyDataset: batches by number, no iterator."""

    def __init__(self):
        super().__init__()
        self.epoch, self.order = 0, np.random.default_rng(0).permutation(N)

    def __len__(self):
        return N // SIZE

    def __getitem__(self, number):
        rows = self.order[number * SIZE : (number + 1) * SIZE]
        return X[rows], Y[rows]

    def on_epoch_end(self):
        self.epoch += 1
        self.order = np.random.default_rng(self.epoch).permutation(N)


def test_a_plain_pydataset_is_accepted():
    every = {"rows": (X, Y), "contract": ["random", "once"]}
    assert not wrong(audit(ByNumber(), **every))
    assert not wrong(audit(model().fit, ByNumber(), shuffle=False, **every))


@pytest.mark.parametrize("name", STRATEGIES)
def test_our_strategies_are_accepted(name):
    sampler = STRATEGIES[name](batch_size=8)
    n = getattr(sampler, "n", strategies.N)
    x = np.arange(n, dtype=np.float32)
    report = audit(Loader(x, x, sampler=sampler), labels=np.arange(n) % 3, contract=[], epochs=8)
    # The one row of weight 0 does not come, and that is said.
    zero = ["coverage/never"] if name == "weighted without replacement" else []
    assert wrong(report) == zero, str(report)


def test_fit_baseline_is_accepted(monkeypatch):
    given = []
    network = model()
    fit = network.fit

    def watched(data, *args, **options):
        given.append((data, options["shuffle"]))
        return fit(data, *args, **options)

    monkeypatch.setattr(network, "fit", watched)
    fit_baseline(network, X, Y, batch_size=SIZE, epochs=1)
    monkeypatch.undo()
    ((loader, shuffle),) = given
    report = audit(network.fit, loader, shuffle=shuffle, contract=["random", "once"])
    assert not wrong(report), str(report)


def test_rows_are_recognised_in_another_type_and_structure():
    rows = ({"a": X.astype(float), "b": np.arange(N)}, Y)
    dataset = tf.data.Dataset.from_tensor_slices(({"a": X, "b": np.arange(N, dtype="int32")}, Y))
    report = audit(dataset.shuffle(N).batch(SIZE), rows=rows, contract=["random", "once"])
    assert not wrong(report), str(report)


def test_equal_rows_are_told_apart_by_y_or_counted_in_turn():
    x = X.copy()
    x[1], x[200] = x[0], x[0]
    report = audit(pipeline(x).shuffle(N).batch(SIZE), rows=(x, Y), contract=["random", "once"])
    assert not wrong(report), str(report)
    assert "rows/alike" in codes(report, "note")


# -- the page, and the caller's mistakes -----------------------------------------------------------


def test_the_page_has_text_pictures_and_mends():
    keras.utils.set_random_seed(0)
    report = audit(model().fit, X, Y, batch_size=SIZE)
    assert str(report).startswith("audit of fit(ndarray): 1 faults")
    shown = report._repr_html_()
    assert shown.count("<svg") == 3
    assert "shuffle(len(x))" in shown


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: audit(pipeline(X + 1).batch(SIZE), rows=(X, Y)), "are no rows of `rows`"),
        (lambda: audit(pipeline().repeat().batch(SIZE), rows=(X, Y)), "steps_per_epoch"),
        (lambda: audit([X], rows=X, batch_size=3), "no options of a loader"),
        (lambda: audit([X], rows=X, epochs=0), "epochs must"),
        (lambda: audit([(X, Y)], rows=(X, Y), expected={0: 1}), "a share for each class"),
    ],
)
def test_the_callers_mistakes_are_named(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()


def test_batches_of_row_numbers_need_no_rows():
    orders = [np.random.default_rng(e).permutation(N) for e in range(3)]
    turn = iter(orders)

    class Numbers:
        def __iter__(self):
            return iter(np.array_split(next(turn), 15))

    assert not wrong(audit(Numbers(), labels=Y))


def test_the_readmes_example():
    data = datasets.moons(n=1000)
    keras.utils.set_random_seed(0)
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    network.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    seeded = audit(network.fit, data.x_train, data.y_train, batch_size=32)
    assert "epoch 1 is epoch 0 again" in str(seeded)
    pairs = tf.data.Dataset.from_tensor_slices((data.x_train, data.y_train))
    mended = pairs.shuffle(len(data.x_train)).batch(32)
    assert audit(network.fit, mended, rows=(data.x_train, data.y_train)).ok


def test_what_can_be_run_only_once_is_answered():
    once = (X[start : start + SIZE] for start in range(0, N, SIZE))
    report = audit(once, rows=X)
    assert codes(report, "fault") == ["batches/empty epoch"], str(report)
