"""Any data: the cases of a first real project, each in the few lines that a user writes."""

from __future__ import annotations

import numpy as np
import pytest

from batchlab import BatchLab, ClassBalancedSampler, Loader, RandomSampler, Session, train
from batchlab.backend import keras, tf

layers = keras.layers
N, FILES = 120, 3_000


@pytest.fixture(autouse=True)
def _seed():
    keras.utils.set_random_seed(0)


def labels(n=N):
    """A class in six is rare."""
    return np.where(np.arange(n) % 6 == 0, 1, 0)


def learnt(history):
    """Losses at the end of training are below those of its start."""
    losses = [losses.mean() for losses in history.losses]
    third = len(losses) // 3
    return np.mean(losses[-third:]) < np.mean(losses[:third])


def pictures(n=N):
    """Dark ones of class 0, bright ones of class 1; uint8 (n, 16, 16, 3)."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 100, (n, 16, 16, 3)).astype(np.uint8) + 100 * labels(n)[
        :, None, None, None
    ].astype(np.uint8)


def image_model():
    model = keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            layers.Conv2D(4, 3, strides=2, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(1, "sigmoid"),
        ]
    )
    model.compile(keras.optimizers.Adam(0.02), "binary_crossentropy")
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """3 000 PNG files, in a folder for each class."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("pictures")
    for number, (picture, label) in enumerate(zip(pictures(FILES), labels(FILES))):
        (folder / "abc"[label]).mkdir(exist_ok=True)
        Image.fromarray(picture).save(folder / "abc"[label] / f"{number:04}.png")
    return folder


def test_a_folder_of_pictures(folder):
    # -- 11 lines
    from PIL import Image

    paths = sorted(folder.glob("*/*.png"))
    classes, y = np.unique([path.parent.name for path in paths], return_inverse=True)

    def load(paths, rng):
        x = np.stack([np.asarray(Image.open(path), np.float32) / 255 for path in paths])
        flipped = rng.random(len(x)) < 0.5
        x[flipped] = x[flipped, :, ::-1]
        return x

    sampler = ClassBalancedSampler(y, batch_size=16)
    loader = Loader(paths, y, sampler=sampler, load=load, workers=2)
    history = train(image_model(), loader, epochs=2, verbose=0)
    # --
    assert list(classes) == ["a", "b"] and len(paths) == 3_000
    assert learnt(history)
    x, y = next(iter(loader))
    assert x.shape == (16, 16, 16, 3)
    assert (x.mean((1, 2, 3)) > 0.4).astype(int).tolist() == y.tolist()


def test_pictures_from_files_train_as_in_memory(folder):
    from PIL import Image

    def load(paths, rng):
        return np.stack([np.asarray(Image.open(path), np.float32) / 255 for path in paths])

    paths = sorted(folder.glob("*/*.png"), key=lambda path: path.name)
    weights = []
    memory = pictures(FILES) / np.float32(255)
    for x, options in ((paths, {"load": load, "workers": 2}), (memory, {})):
        keras.utils.set_random_seed(1)
        model = image_model()
        loader = Loader(x, labels(FILES), sampler=RandomSampler(FILES, 16), **options)
        train(model, loader, epochs=2, verbose=0)
        weights.append(model.get_weights())
    for ours, theirs in zip(*weights):
        np.testing.assert_array_equal(ours, theirs)


@pytest.fixture
def decode():
    """Pictures from paths, flipped at random; it notes how many were read at once."""
    from PIL import Image

    def load(paths, rng):
        load.most = max(load.most, len(paths))
        x = np.stack([np.asarray(Image.open(path), np.float32) / 255 for path in paths])
        flipped = rng.random(len(x)) < 0.5
        x[flipped] = x[flipped, :, ::-1]
        return x

    load.most = 0
    return load


def test_the_panel_takes_files_and_trains_as_train_does(folder, decode, tmp_path):
    paths, y = sorted(folder.glob("*/*.png"), key=lambda path: path.name), labels(FILES)
    model = image_model()
    sampler = RandomSampler(FILES, 16)
    history = train(model, Loader(paths, y, sampler=sampler, load=decode), verbose=0)

    keras.utils.set_random_seed(0)
    # -- 2 lines
    options = {"strategies": {"random": RandomSampler}, "batch_size": 16, "load": decode}
    lab = BatchLab(paths, y, image_model(), workers=2, **options)
    # --
    lab.run(history.steps)
    for ours, theirs in zip(lab.a.model.get_weights(), model.get_weights()):
        np.testing.assert_array_equal(ours, theirs)
    assert decode.most == 1_000  # some are scored, and never all are read
    assert "load=load" in lab.recipe()
    assert "imbalance" not in lab.controls and "label_noise" in lab.controls
    assert lab.a.twin(label_noise=0.25).run(2).steps == 2
    lab.export_picture(tmp_path / "panel.png")
    lab.save(tmp_path / "run.json")
    keras.utils.set_random_seed(0)
    again = BatchLab.load(tmp_path / "run.json", paths, y, image_model(), **options)
    np.testing.assert_array_equal(again.a.losses_of([0, 7]), lab.a.losses_of([0, 7]))
    lab.stop()
    again.stop()


def test_the_panel_refuses_rows_of_different_shapes():
    def pad(rows, rng):
        return keras.utils.pad_sequences(rows)

    with pytest.raises(ValueError, match="load must make one array for x, with samples of one shape"):
        Session([[1], [1, 2]] * 8, [0, 1] * 8, load=pad)


def test_a_table_with_strings_and_gaps(tmp_path):
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    town = np.array(["Bern", "Rom", ""])[rng.integers(0, 3, N)]
    age = np.where(rng.random(N) < 0.2, np.nan, rng.integers(20, 80, N))
    table = pandas.DataFrame({"town": town, "age": age, "bought": (town == "Rom").astype(int)})
    table.to_csv(tmp_path / "table.csv", index=False)
    # -- 12 lines
    table = pandas.read_csv(tmp_path / "table.csv")
    y = table.pop("bought").to_numpy()
    table = table.fillna({"town": "unknown", "age": table["age"].median()})
    space = keras.utils.FeatureSpace(
        {"town": "string_categorical", "age": "float_normalized"}, output_mode="concat"
    )
    space.adapt(tf.data.Dataset.from_tensor_slices(dict(table)))
    output = layers.Dense(1, "sigmoid")(space.get_encoded_features())
    model = keras.Model(space.get_inputs(), output)
    model.compile(keras.optimizers.Adam(0.1), "binary_crossentropy")

    loader = Loader(dict(table), y, sampler=ClassBalancedSampler(y, batch_size=16))
    history = train(model, loader, epochs=6, verbose=0)
    # --
    assert learnt(history)


def test_hdf5(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["x"], file["y"] = pictures() / np.float32(255), labels()
    # -- 4 lines
    with h5py.File(tmp_path / "data.h5") as file:
        y = file["y"][:]
        loader = Loader(file["x"], y, sampler=ClassBalancedSampler(y, batch_size=16))
        history = train(image_model(), loader, epochs=6, verbose=0)
    # --
    assert learnt(history)


def test_zarr(tmp_path):
    zarr = pytest.importorskip("zarr")
    path = str(tmp_path / "data.zarr")
    zarr.save_group(path, x=pictures() / np.float32(255), y=labels())
    # -- 4 lines
    group = zarr.open_group(path, mode="r")
    y = group["y"][:]
    loader = Loader(group["x"], y, sampler=ClassBalancedSampler(y, batch_size=16))
    history = train(image_model(), loader, epochs=6, verbose=0)
    # --
    assert learnt(history)


def test_arrow():
    datasets = pytest.importorskip("datasets")
    values = (pictures() / 255).astype(np.float32)
    rows = datasets.Dataset.from_dict({"image": values.tolist(), "label": labels().tolist()})

    # -- 5 lines
    def load(rows, rng):
        return np.array([row["image"] for row in rows], np.float32)

    y = np.array(rows["label"])
    loader = Loader(rows, y, sampler=ClassBalancedSampler(y, batch_size=16), load=load)
    history = train(image_model(), loader, epochs=6, verbose=0)
    # --
    assert learnt(history)


def sentences():
    """Token numbers from 1, of different lengths; those of class 1 hold a 9."""
    rng = np.random.default_rng(0)
    drawn = [rng.integers(1, 9, rng.integers(4, 60)) for _ in range(N)]
    return [
        np.append(tokens, 9 * np.ones(4, int)) if label else tokens
        for tokens, label in zip(drawn, labels())
    ]


def text_model():
    model = keras.Sequential(
        [
            keras.Input((None,), dtype="int64"),
            layers.Embedding(10, 4, mask_zero=True),
            layers.GlobalAveragePooling1D(),
            layers.Dense(1, "sigmoid"),
        ]
    )
    model.compile(keras.optimizers.Adam(0.1), "binary_crossentropy")
    return model


def pad(rows, rng):
    """To multiples of 16, so that few shapes are compiled."""
    longest = -(-max(map(len, rows)) // 16) * 16
    return keras.utils.pad_sequences(rows, longest, dtype="int64", padding="post")


class BucketSampler:
    """Batches of samples of like length, in random order, others in every epoch."""

    def __init__(self, lengths, batch_size, seed=0):
        self.order, self.batch_size = np.argsort(lengths, kind="stable"), batch_size
        self.lengths, self.rng = np.asarray(lengths), np.random.default_rng(seed)

    def __len__(self):
        return -(-len(self.order) // self.batch_size)

    def __iter__(self):
        blurred = self.lengths * self.rng.uniform(0.9, 1.1, len(self.lengths))
        batches = np.array_split(np.argsort(blurred), len(self))
        return iter([batches[number] for number in self.rng.permutation(len(batches))])


def test_text_of_different_lengths():
    tokens, y = sentences(), labels()

    # -- 5 lines
    def pad(rows, rng):
        longest = -(-max(map(len, rows)) // 16) * 16  # few shapes are compiled
        return keras.utils.pad_sequences(rows, longest, dtype="int64", padding="post")

    loader = Loader(tokens, y, sampler=ClassBalancedSampler(y, batch_size=16), load=pad)
    history = train(text_model(), loader, epochs=6, verbose=0)
    # --
    assert learnt(history)


def test_buckets_by_length_pad_less():
    tokens, y = sentences(), labels()
    lengths = [len(row) for row in tokens]
    loaders = [
        Loader(tokens, y, sampler=sampler, load=pad)
        for sampler in (BucketSampler(lengths, 8), RandomSampler(N, 8))
    ]
    bucketed, shuffled = (sum(x.size for x, _ in loader) for loader in loaders)
    assert bucketed < 0.8 * shuffled
    history = train(text_model(), loaders[0], epochs=4, verbose=0)
    assert learnt(history)
    assert (history.visits == 4).all()


def test_a_frozen_backbone():
    x, y = (pictures() / np.float32(255)), labels()
    inputs = keras.Input((16, 16, 3))
    backbone = keras.Model(inputs, layers.Conv2D(8, 3, strides=4)(inputs))
    before = backbone.get_weights()
    # -- 6 lines
    backbone.trainable = False
    pooled = layers.GlobalAveragePooling2D()(backbone.output)
    model = keras.Model(backbone.input, layers.Dense(1, "sigmoid")(pooled))
    model.compile(keras.optimizers.Adam(0.05), "binary_crossentropy")
    loader = Loader(x, y, sampler=ClassBalancedSampler(y, batch_size=16))
    history = train(model, loader, epochs=6, verbose=0)
    # --
    assert learnt(history)
    for ours, theirs in zip(backbone.get_weights(), before):
        np.testing.assert_array_equal(ours, theirs)


def test_segmentation():
    images = pictures() / np.float32(255)
    masks = (images[..., :1] > 0.3).astype(np.float32)
    model = keras.Sequential([keras.Input((16, 16, 3)), layers.Conv2D(1, 1, activation="sigmoid")])
    model.compile(keras.optimizers.Adam(0.05), "binary_crossentropy")

    # -- 8 lines
    def load(rows, rng):
        image, mask = rows["image"], rows["mask"]
        flipped = rng.random(len(image)) < 0.5
        image[flipped], mask[flipped] = image[flipped, :, ::-1], mask[flipped, :, ::-1]
        return image, mask

    data = {"image": images, "mask": masks}
    loader = Loader(data, sampler=RandomSampler(len(images), batch_size=16), load=load)
    history = train(model, loader, epochs=6, verbose=0)
    # --
    assert learnt(history)
    for image, mask in loader:
        np.testing.assert_array_equal(mask, image[..., :1] > 0.3)
