"""Images from files: what a step waits for their decoding, ours beside tf.data on the same files.

    python tests/benchmarks/files.py                          # 3 000 PNG files of 64 × 64
    python tests/benchmarks/files.py --files 600 --epochs 1

Every row trains the same small network on the same files, decoded and flipped anew in every epoch,
and is given as a ratio to `train` on the decoded pictures in memory. The best epoch after the first
counts. PyTorch's DataLoader with two workers is compared where it is installed (``pip install
torch``). Run it while nothing else runs.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2]))

from batchlab import Loader, RandomSampler, train
from batchlab.backend import keras, tf

SIDE, BATCH = 64, 32


def make_files(folder: Path, count: int) -> tuple[list[str], Any, Any]:
    """PNG files, the pictures in them, uint8 (n, side, side, 3), and their classes."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    paths = [str(folder / f"{number:05}.png") for number in range(count)]
    pictures = []
    for path, pixels in zip(paths, coarse):
        picture = Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        picture.save(path)
        pictures.append(np.asarray(picture))
    return paths, np.stack(pictures), (coarse[:, 4, 4, 0] > 127).astype(np.int64)


def network() -> keras.Model:
    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((SIDE, SIDE, 3)),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.GlobalAveragePooling2D(),
            layers.Dense(2, "softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    return model


def load(paths: list[str], rng: np.random.Generator) -> Any:
    pictures = np.stack([np.asarray(Image.open(path)) for path in paths])
    x = pictures.astype(np.float32) / 255
    flipped = rng.random(len(x)) < 0.5
    x[flipped] = x[flipped, :, ::-1]
    return x


def tf_data(paths: list[str], y: Any) -> tf.data.Dataset:
    """As TensorFlow's guides write it."""

    def decoded(path: Any, label: Any) -> Any:
        picture = tf.io.decode_png(tf.io.read_file(path), channels=3)
        return tf.image.random_flip_left_right(tf.cast(picture, tf.float32) / 255), label

    files = tf.data.Dataset.from_tensor_slices((paths, y)).shuffle(len(paths))
    files = files.map(decoded, num_parallel_calls=tf.data.AUTOTUNE)
    return files.batch(BATCH).prefetch(tf.data.AUTOTUNE)


class Clock(keras.callbacks.Callback):
    """Seconds of every epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.began = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.seconds.append(time.perf_counter() - self.began)


def contenders(paths: list[str], pictures: Any, y: Any) -> dict[str, Callable[[int], list[float]]]:
    """What gives the seconds of so many epochs."""
    cores = os.cpu_count() or 1

    def files(workers: int) -> Loader:
        sampler = RandomSampler(len(y), BATCH)
        return Loader(paths, y, sampler=sampler, load=load, workers=workers)

    def in_memory() -> Loader:
        return Loader(pictures / np.float32(255), y, sampler=RandomSampler(len(y), BATCH))

    def fit(data: Any, **options: Any) -> Any:
        return network().fit(data, shuffle=False, verbose=0, **options)

    def measured(run: Callable[..., Any]) -> Callable[[int], list[float]]:
        def seconds(epochs: int) -> list[float]:
            clock = Clock()
            run(epochs=epochs, callbacks=[clock])
            return clock.seconds

        return seconds

    ours: dict[str, Callable[..., Any]] = {
        "train, in memory": lambda **options: train(network(), in_memory(), verbose=0, **options),
        f"train, files, workers={cores}": lambda **options: train(
            network(), files(cores), verbose=0, **options
        ),
        "train, files, workers=1": lambda **options: train(
            network(), files(1), verbose=0, **options
        ),
        "model.fit, in memory": lambda **options: fit(in_memory(), **options),
        f"model.fit, files, workers={cores}": lambda **options: fit(files(cores), **options),
        "model.fit on tf.data (AUTOTUNE)": lambda **options: fit(tf_data(paths, y), **options),
    }
    runs = {name: measured(run) for name, run in ours.items()}
    if importlib.util.find_spec("torch"):
        runs["torch DataLoader, 2 workers"] = lambda epochs: torch_seconds(paths, y, epochs)
    return runs


def torch_seconds(paths: list[str], y: Any, epochs: int) -> list[float]:
    folder = Path(paths[0]).parent
    np.save(folder / "y.npy", y)
    command = [sys.executable, str(Path(__file__).with_name("files_torch.py")), str(folder)]
    return json.loads(subprocess.check_output([*command, str(epochs)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=3000)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = make_files(Path(folder), options.files)
        seconds: dict[str, list[float]] = {}
        for _ in range(options.rounds):  # in turn: the machine may be busy for a while
            for name, run in contenders(*data).items():
                seconds.setdefault(name, []).extend(run(options.epochs + 1)[1:])
    best = {name: min(values) for name, values in seconds.items()}
    first = next(iter(best.values()))
    for name, value in best.items():
        step = 1000 * value * BATCH / options.files
        print(f"{name:34} {step:7.2f} ms a step   {value / first:5.2f}")


if __name__ == "__main__":
    main()
