"""Networks whose linear regions are counted, and inputs that they learn to tell apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import make_circles, make_gaussian_quantiles, make_moons
from sklearn.preprocessing import scale
from torch import nn

from benchmarks._data import Array


def network(widths: Sequence[int], seed: int, draw: str = "torch") -> nn.Sequential:
    """Return a network of default weights, or "he": N(0, 2 / fan_in), biases N(0, 1/4)."""
    torch.manual_seed(seed)
    modules: list[nn.Module] = []
    for fan_in, fan_out in pairwise(widths):
        linear = nn.Linear(fan_in, fan_out, dtype=torch.float64)
        if draw == "he":
            nn.init.normal_(linear.weight, std=(2 / fan_in) ** 0.5)
            nn.init.normal_(linear.bias, std=0.5)
        modules += [linear, nn.ReLU()]
    return nn.Sequential(*modules[:-1])


def triangles(depth: int, seed: int) -> nn.Sequential:
    """Return composed triangle waves with peaks drawn in (0.001, 0.999)."""
    peaks = np.random.default_rng(seed).uniform(0.001, 0.999, size=depth)
    layers = [([[1.0], [1.0]], [0.0, -peaks[0]])]
    for peak, after in zip(peaks, [*peaks[1:], None], strict=True):
        row = [1 / peak, -1 / (peak * (1 - peak))]
        layers.append(([row, row], [0.0, -after]) if after else ([row], [0.0]))
    modules: list[nn.Module] = []
    for matrix, bias in layers:
        linear = nn.Linear(len(matrix[0]), len(matrix), dtype=torch.float64)
        linear.weight.data = torch.tensor(matrix, dtype=torch.float64)
        linear.bias.data = torch.tensor(bias, dtype=torch.float64)
        modules += [linear, nn.ReLU()]
    return nn.Sequential(*modules[:-1])


def patterns(model: nn.Sequential, X: Array) -> NDArray[np.uint8]:
    """Return which neurons are active, packed into bits, a row of X a row."""
    found = []
    with torch.no_grad():
        for h in torch.tensor(X).split(100_000):
            active = []
            for module in model:
                h = module(h)
                if isinstance(module, nn.ReLU):
                    active.append(h > 0)
            found.append(np.packbits(torch.cat(active, 1).numpy(), axis=1))
    return np.concatenate(found)


def descend(net: nn.Module, X: Array, y: Array, lr: float, n_steps: int) -> float:
    """Train by full-batch Adam on squared errors; return the last step's loss before it."""
    inputs, target = torch.tensor(X), torch.tensor(y)[:, None]
    optimizer = torch.optim.Adam(net.parameters(), lr=lr)
    for _ in range(n_steps):
        optimizer.zero_grad()
        loss = (net(inputs) - target).square().mean()
        loss.backward()
        optimizer.step()
    return loss.item()


def _line(n: int, seed: int, rng: np.random.Generator):
    X = rng.normal(size=(n, 2))
    return X, (X @ [1.0, 0.5] > 0).astype(int)


def _quantiles(n: int, seed: int, rng: np.random.Generator):
    X, y = make_gaussian_quantiles(n_samples=n, n_classes=4, random_state=seed)
    return X, y % 2


def _spirals(turns: float) -> Callable:
    def draw(n: int, seed: int, rng: np.random.Generator):
        y = np.arange(n) % 2
        radius = np.sqrt(rng.uniform(0.02, 1, size=n))
        angle = 2 * np.pi * turns * radius + np.pi * y
        X = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], -1)
        return X + rng.normal(scale=0.02, size=X.shape), y

    return draw


INPUTS: dict[str, Callable] = {  # the simplest first
    "line": _line,
    "moons": lambda n, seed, rng: make_moons(n, noise=0.1, random_state=seed),
    "circles": lambda n, seed, rng: make_circles(n, noise=0.1, factor=0.5, random_state=seed),
    "spirals 0.5": _spirals(0.5),
    "quantiles": _quantiles,
    "spirals 1": _spirals(1.0),
    "spirals 2": _spirals(2.0),
    "random labels": lambda n, seed, rng: (rng.normal(size=(n, 2)), rng.integers(0, 2, size=n)),
}


def inputs(name: str, n_samples: int, seed: int) -> tuple[Array, NDArray[np.int_]]:
    """Return standardized inputs (n_samples, 2) of two classes."""
    X, y = INPUTS[name](n_samples, seed, np.random.default_rng(seed))
    return scale(X), y
