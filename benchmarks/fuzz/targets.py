"""Targets of random cases: numbers and labels that follow from inputs, and what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.random import Generator
from numpy.typing import NDArray

from benchmarks.fuzz.tables import LARGEST, choose, mostly

REACH = 10  # how many times their range inputs are taken to


@dataclass(frozen=True)
class Targets:
    """Targets as `fit` is given them."""

    y: Any
    values: NDArray  # the same as an array
    kind: str
    change: str
    far: NDArray | None  # what they are at `REACH` times the range of the inputs, if they tell
    reason: str | None  # why they must be refused


def middle(X: NDArray) -> NDArray:
    """Return the middle of the range of each column."""
    return X.min(0) / 2 + X.max(0) / 2


def in_unit_box(X: NDArray) -> NDArray:
    """Return the inputs with the range of each column brought to [-1, 1]."""
    if not len(X):
        return X
    with np.errstate(all="ignore"):
        centered = X - middle(X)
        largest = np.abs(centered).max(0)
        return np.nan_to_num(centered / np.where(largest > 0, largest, 1))


def far_from(X: NDArray) -> NDArray:
    """Return the inputs at `REACH` times their distance from the middle."""
    with np.errstate(all="ignore"):
        return np.clip(middle(X) + REACH * (X - middle(X)), -LARGEST, LARGEST)


NUMBERS: dict[str, Callable[[Generator, NDArray], NDArray]] = {
    "smooth": lambda rng, u: np.sin(2 * u) + u**2,
    "noisy": lambda rng, u: np.sin(2 * u) + 0.3 * rng.normal(size=len(u)),
    "linear": lambda rng, u: u,
    "constant": lambda rng, u: np.full(len(u), rng.normal()),
    "noise": lambda rng, u: rng.normal(size=len(u)),
    "steps": lambda rng, u: np.sign(u) + (u > 0.5),
    "oscillating": lambda rng, u: np.sin(60 * u),
    "counts": lambda rng, u: rng.poisson(np.exp(u)).astype(float),
    "rare counts": lambda rng, u: rng.poisson(0.03, len(u)).astype(float),
    "positive": lambda rng, u: np.exp(u) * rng.gamma(5, 0.2, len(u)),
    "heavy-tailed": lambda rng, u: rng.standard_cauchy(len(u)),
}
POSITIVE = {"poisson": ["counts", "counts", "rare counts"], "gamma": ["positive"]}
CHANGES: dict[str, Callable[[Generator, NDArray], Any]] = {
    "as drawn": lambda rng, y: y,
    "scaled": lambda rng, y: y * 10 ** rng.uniform(-300, 290),
    "largest": lambda rng, y: y * (LARGEST / max(1.0, np.abs(y).max(initial=0))),
    "denormal": lambda rng, y: y * 1e-310,
    "offset": lambda rng, y: y + 10 ** rng.uniform(0, 12),
    "several outputs": lambda rng, y: np.column_stack([y, rng.normal(size=len(y)), y**2]),
    "column": lambda rng, y: y[:, None],
    "list": lambda rng, y: y,
    "float32": lambda rng, y: y.astype(np.float32),
    "series": lambda rng, y: y,
    "tensor": lambda rng, y: y,
    "too long": lambda rng, y: np.append(y, y[-1:] + 1),
    "NaN": lambda rng, y: np.where(np.arange(len(y)) == len(y) // 2, np.nan, y),
    "None": lambda rng, y: y,
}
CONTAINERS: dict[str, Callable[[NDArray], Any]] = {
    "list": lambda y: y.tolist(),
    "series": pd.Series,
    "tensor": torch.tensor,
    "None": lambda y: None,
}
REFUSED = ("too long", "NaN", "None")


def _combined(rng: Generator, X: NDArray) -> NDArray:
    """Return one linear combination of the columns, mostly in [-1, 1]."""
    sizes = rng.normal(size=X.shape[1])
    return in_unit_box(X) @ (sizes / max(np.linalg.norm(sizes), 1e-9))


def draw_numbers(rng: Generator, X: NDArray, loss: str) -> Targets:
    """Draw targets of a regressor; X are numbers."""
    kinds = list(NUMBERS)
    usual = POSITIVE.get(loss, ["smooth", "noisy", "linear", "linear"])
    kind = choose(rng, usual, kinds, 0.1 if loss in POSITIVE else 0.4)
    change = choose(rng, ["as drawn"], mostly(list(CHANGES)[1:-3], REFUSED), 0.35)
    u = _combined(rng, X)
    y = NUMBERS[kind](rng, u)
    exact = kind == "linear" and change in ("as drawn", "list", "series", "tensor")
    far = REACH * u if exact else None
    values = CHANGES[change](rng, y)
    reason = change if change in REFUSED and len(X) else None
    return Targets(CONTAINERS.get(change, np.copy)(values), values, kind, change, far, reason)


LABELS: dict[str, Callable[[NDArray], Any]] = {
    "ints": lambda codes: codes,
    "text": lambda codes: np.array([f"class {code}" for code in codes]),
    "objects": lambda codes: np.array([f"class {code}" for code in codes], object),
    "floats": lambda codes: codes.astype(float),
    "small ints": lambda codes: codes.astype(np.int8),
    "bools": lambda codes: codes > 0,
    "series": lambda codes: pd.Series(codes),
    "categories": lambda codes: pd.Series(codes).astype("category"),
    "list": lambda codes: codes.tolist(),
    "tensor": torch.tensor,
    "column": lambda codes: codes[:, None],
    "mixed": lambda codes: np.array([f"{c}" if c else 0 for c in codes], object),
    "fractions": lambda codes: codes + 0.5,
    "NaN": lambda codes: np.where(np.arange(len(codes)) == 0, np.nan, codes),
    "too long": lambda codes: np.append(codes, 0),
    "None": lambda codes: None,
}
REFUSED_LABELS = ("fractions", "NaN", "too long", "None")


def _codes(rng: Generator, u: NDArray, kind: str) -> NDArray:
    """Return the numbers of the classes."""
    n = len(u)
    if kind == "single members":
        return np.arange(n)
    if kind == "one class":
        return np.zeros(n, int)
    if kind == "rare":
        return np.isin(np.arange(n), rng.integers(0, max(1, n), 2)).astype(int)
    n_classes = {"two": 2, "sixty": 60}.get(kind) or int(rng.integers(3, 9))
    noisy = u + rng.choice([0, 0.3]) * rng.normal(size=n)
    return np.digitize(noisy, np.quantile(noisy, np.arange(1, n_classes) / n_classes)) if n else u


def draw_labels(rng: Generator, X: NDArray) -> Targets:
    """Draw labels of a classifier; X are numbers."""
    odd = ["several", "rare", "single members", "one class", "sixty"]
    kind = choose(rng, ["two", "several"], odd, 0.25)
    change = choose(rng, ["ints", "text"], mostly(list(LABELS)[:-4], REFUSED_LABELS), 0.4)
    codes = _codes(rng, _combined(rng, X), kind)
    if change == "bools":
        codes = np.minimum(codes, 1)
    y = LABELS[change](codes)
    one = len(np.unique(codes)) < 2
    reason = change if change in REFUSED_LABELS and len(X) else "one class" if one else None
    return Targets(y, codes, kind, change, None, reason)
