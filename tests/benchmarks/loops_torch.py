"""What PyTorch takes for the tasks of ``loops.py``."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from loops import Epoch, Task


def contenders(name: str, task: Task) -> Iterator[tuple[str, Callable[[], Epoch]]]:
    yield "torch DataLoader", lambda: data_loader(task)


def data_loader(task: Task) -> Epoch:
    """DataLoader with WeightedRandomSampler."""
    x, y = torch.from_numpy(task.x).float(), torch.from_numpy(task.y)
    widths = (task.x.shape[1], *task.widths)
    modules: list[Any] = []
    for before, after in itertools.pairwise(widths):
        modules += [torch.nn.Linear(before, after), torch.nn.ReLU()]
    model = torch.nn.Sequential(*modules[:-1])
    loss_fn = torch.nn.BCEWithLogitsLoss() if task.binary else torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters())
    sampler = torch.utils.data.WeightedRandomSampler(torch.ones(len(x)), len(x))
    dataset = torch.utils.data.TensorDataset(x, y)
    loader = torch.utils.data.DataLoader(dataset, task.batch, sampler=sampler)

    def run(epochs: int) -> int:
        for _ in range(epochs):
            for xb, yb in loader:
                optimizer.zero_grad()
                out = model(xb)
                loss = loss_fn(out[:, 0], yb.float()) if task.binary else loss_fn(out, yb)
                loss.backward()
                optimizer.step()
        return epochs * task.steps

    return run
