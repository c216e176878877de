"""Train a small CNN, the same for all heads of a seed, and record losses and accuracy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks._images_data import Images, images
from skrelu.nn import fit_windows, parameter_groups, release, swap_dense

Array = NDArray[np.float64]
CHANNELS = (32, 64, 128)
WIDTH = 256  # of the dense head
BATCH = 64
N_FIRST = 256  # images that fresh heads are scaled on
READ_OUT = 0.1  # standard deviation of first outputs, as `fit_windows` has it


def network(shape: torch.Size, n_classes: int) -> nn.Sequential:
    """Return 3x3 convolutions, with pooling as long as 2 pixels are left, and a dense head."""
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


def as_made(model: nn.Sequential, X: Tensor) -> None:
    """Leave the dense head with the weights that torch draws."""


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


def swap(model: nn.Sequential, X: Tensor) -> None:
    """Put a layer with at most as many parameters in the place of the dense head."""
    swap_dense(model)


def swap_and_fit(model: nn.Sequential, X: Tensor) -> None:
    """Do the same, with windows for what the convolutions return."""
    fit_windows(swap_dense(model), X)


@dataclass(frozen=True)
class Head:
    """How the head of a network is made, and how it is drawn."""

    prepare: Callable[[nn.Sequential, Tensor], None]
    color: str
    line: str = "-"


HEADS = {
    "dense": Head(as_made, "#1f6fb4"),
    "dense, scaled": Head(scale_dense, "#1f6fb4", ":"),
    "waves, not fitted": Head(swap, "#3a8f5c", ":"),
    "waves": Head(swap_and_fit, "#d1542c"),
}


@dataclass(frozen=True)
class Case:
    """One training: all but the head is the same for all heads of a seed."""

    head: str
    lr: float
    seed: int
    n_epochs: int
    lr_factor: float | None = None  # of released weights; None: never released


def train(case: Case, source: str, path: Path | None, device: str) -> Array:
    """Return train loss, test loss and test accuracy in percent before and after each epoch."""
    torch.set_num_threads(1)
    data = images(source, path, case.seed, device)
    torch.manual_seed(case.seed)
    model = network(data.X.shape[1:], int(data.y.max()) + 1).to(device)
    shuffle = torch.Generator().manual_seed(case.seed)
    first = torch.randperm(len(data.X), generator=shuffle)[:N_FIRST]
    HEADS[case.head].prepare(model, data.X[first])
    optimizer = torch.optim.Adam(parameter_groups(model, case.lr))
    history = [evaluate(model, data)]
    for epoch in range(case.n_epochs):
        if case.lr_factor is not None and 2 * epoch == case.n_epochs:
            release(model, optimizer, lr_factor=case.lr_factor)
        for rows in torch.randperm(len(data.X), generator=shuffle).split(BATCH):
            optimizer.zero_grad()
            cross_entropy(model(data.X[rows]), data.y[rows]).backward()
            optimizer.step()
        history.append(evaluate(model, data))
    return np.array(history)


@torch.no_grad()
def evaluate(model: nn.Module, data: Images) -> tuple[float, float, float]:
    outputs, tested = (
        torch.cat([model(part) for part in X.split(1000)]) for X in (data.X, data.X_test)
    )
    right = (tested.argmax(1) == data.y_test).float().mean()
    losses = cross_entropy(outputs, data.y), cross_entropy(tested, data.y_test)
    return losses[0].item(), losses[1].item(), 100 * right.item()
