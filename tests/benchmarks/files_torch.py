"""What PyTorch's DataLoader with two workers takes for the files of ``files.py``.

    python tests/benchmarks/files_torch.py FOLDER EPOCHS    # prints the seconds of every epoch

In a process of its own, as PyTorch and TensorFlow do not get on in one; beside its workers it computes
with one thread or one per core, whichever is faster.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from loops_torch import fastest
from PIL import Image
from torch import nn

BATCH = 32


class Pictures(torch.utils.data.Dataset):
    """PNG files, decoded and flipped anew whenever they are asked for."""

    def __init__(self, folder: str) -> None:
        self.paths, self.labels = sorted(Path(folder).glob("*.png")), np.load(f"{folder}/y.npy")

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> tuple[Any, int]:
        pixels = np.asarray(Image.open(self.paths[number]), np.float32) / 255
        flipped = pixels[:, ::-1] if torch.rand(()) < 0.5 else pixels
        return torch.from_numpy(flipped.transpose(2, 0, 1).copy()), int(self.labels[number])


def main(folder: str, epochs: int) -> None:
    loader = torch.utils.data.DataLoader(
        Pictures(folder), BATCH, shuffle=True, num_workers=2, persistent_workers=True
    )
    pooled = [nn.Conv2d(3, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3), nn.ReLU()]
    pooled += [nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 2)]
    model = nn.Sequential(*pooled).to(memory_format=torch.channels_last)
    optimizer, loss_fn = torch.optim.Adam(model.parameters()), nn.CrossEntropyLoss()

    def run(epochs: int, most: int | None = None) -> list[float]:
        seconds = []
        for _ in range(epochs):
            began = time.perf_counter()
            for x, y in itertools.islice(loader, most):
                optimizer.zero_grad()
                loss_fn(model(x.contiguous(memory_format=torch.channels_last)), y).backward()
                optimizer.step()
            seconds.append(time.perf_counter() - began)
        return seconds

    torch.set_num_threads(fastest(run))
    print(json.dumps(run(epochs)))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
