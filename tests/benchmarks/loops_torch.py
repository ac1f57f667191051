"""What PyTorch takes for the tasks of ``loops.py``."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from loops import Epoch, Task
from torch import nn


def contenders(name: str, task: Task) -> Iterator[tuple[str, Callable[[], Epoch]]]:
    threads = fastest(data_loader(task))
    torch.set_num_threads(threads)
    yield f"torch DataLoader, threads: {threads}", lambda: data_loader(task)


def fastest(run: Callable[..., Any]) -> int:
    """One thread or one per core: small models lose more by sharing than they gain."""
    times = {}
    for threads in (torch.get_num_threads(), 1):
        torch.set_num_threads(threads)
        run(1, most=2)
        start = time.perf_counter()
        run(1, most=10)
        times[threads] = time.perf_counter() - start
    return min(times, key=times.__getitem__)


def data_loader(task: Task) -> Callable[..., int]:
    """DataLoader with WeightedRandomSampler."""
    x, y = torch.from_numpy(task.x), torch.from_numpy(task.y)
    if task.kind == "resnet":
        x = x.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
    elif task.kind == "dense":
        x = x.float()
    model = {"dense": dense, "transformer": Transformer, "resnet": resnet}[task.kind](task)
    loss_fn = nn.BCEWithLogitsLoss() if task.binary else nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters())
    sampler = torch.utils.data.WeightedRandomSampler(torch.ones(len(x)), len(x))
    dataset = torch.utils.data.TensorDataset(x, y)
    loader = torch.utils.data.DataLoader(dataset, task.batch, sampler=sampler)

    def run(epochs: int, most: int = task.steps) -> int:
        for _ in range(epochs):
            for xb, yb in itertools.islice(loader, most):
                optimizer.zero_grad()
                out = model(xb)
                loss = loss_fn(out[:, 0], yb.float()) if task.binary else loss_fn(out, yb)
                loss.backward()
                optimizer.step()
        return epochs * task.steps

    return run


def dense(task: Task) -> nn.Module:
    modules: list[Any] = []
    for before, after in itertools.pairwise((task.x.shape[1], *task.widths)):
        modules += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*modules[:-1])


class Transformer(nn.Module):
    def __init__(self, task: Task) -> None:
        super().__init__()
        options = {"dropout": 0.0, "activation": "gelu", "batch_first": True, "norm_first": True}
        self.embedding = nn.Embedding(64, 64)
        self.blocks = nn.Sequential(
            *(nn.TransformerEncoderLayer(64, 2, 128, **options) for _ in range(2))
        )
        self.last = nn.Linear(64, 10)

    def forward(self, x: Any) -> Any:
        return self.last(self.blocks(self.embedding(x)).mean(1))


class Residual(nn.Module):
    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.hidden = nn.Sequential(
            *normed(before, after, 3, stride), nn.ReLU(), *normed(after, after, 3, 1)
        )
        self.shortcut = nn.Sequential(*(normed(before, after, 1, stride) if stride > 1 else ()))

    def forward(self, x: Any) -> Any:
        return torch.relu(self.hidden(x) + self.shortcut(x))


def normed(before: int, after: int, size: int, stride: int) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(before, after, size, stride, size // 2, bias=False), nn.BatchNorm2d(after)


def resnet(task: Task) -> nn.Module:
    blocks = (Residual(16, 16, 1), Residual(16, 32, 2), Residual(32, 64, 2))
    last = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)
    model = nn.Sequential(*normed(3, 16, 3, 1), nn.ReLU(), *blocks, *last)
    return model.to(memory_format=torch.channels_last)
