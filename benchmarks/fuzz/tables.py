"""Inputs of random cases: sizes, columns, what is wrong with them, and what holds them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from scipy.sparse import csr_array

LARGEST = 1.7e308


@dataclass(frozen=True)
class Inputs:
    """A table as `fit` is given it."""

    X: Any
    seen: NDArray | None  # what it holds in float64, if that is only numbers
    shape: tuple[int, int]
    columns: str
    change: str
    container: str
    reason: str | None  # why it must be refused


def choose(rng: Generator, ordinary: Sequence[Any], odd: Sequence[Any], share: float) -> Any:
    """Return one of the odd ones with this probability, else one of the ordinary ones."""
    options = odd if rng.random() < share else ordinary
    return options[rng.integers(len(options))]


def mostly(good: Iterable[Any], bad: Iterable[Any]) -> list[Any]:
    """Return options of which those that are refused are drawn less often."""
    return [*good] * 4 + [*bad]


COLUMNS: dict[str, Callable[[Generator, int], NDArray]] = {
    "uniform": lambda rng, n: rng.uniform(-1, 1, n),
    "normal": lambda rng, n: rng.normal(size=n),
    "heavy tails": lambda rng, n: rng.standard_cauchy(n),
    "integers": lambda rng, n: rng.integers(-5, 6, n).astype(float),
    "few values": lambda rng, n: rng.integers(0, 2, n).astype(float),
    "constant": lambda rng, n: np.full(n, rng.normal()),
}


def _hole(value: float) -> Callable[[Generator, NDArray], NDArray]:
    def change(rng: Generator, X: NDArray) -> NDArray:
        holes = np.arange(X.size) == rng.integers(max(1, X.size))
        return np.where(holes.reshape(X.shape), value, X)

    return change


CHANGES: dict[str, Callable[[Generator, NDArray], NDArray]] = {
    "as drawn": lambda rng, X: X,
    "equal columns": lambda rng, X: X[:, rng.integers(0, X.shape[1], X.shape[1])],
    "equal rows": lambda rng, X: X[rng.integers(0, max(1, len(X) // 3), len(X))],
    "offset": lambda rng, X: X + 10 ** rng.uniform(0, 12, X.shape[1]),
    "scales": lambda rng, X: X * 10 ** rng.uniform(-300, 290, X.shape[1]),
    "largest": lambda rng, X: X * (LARGEST / max(1.0, np.abs(X).max(initial=0))),
    "denormal": lambda rng, X: X * 1e-310,
    "signed zeros": lambda rng, X: np.where(rng.random(X.shape) < 0.3, np.copysign(0.0, X), X),
    "NaN": _hole(np.nan),
    "inf": _hole(np.inf),
}
EXACT = ("as drawn", "equal columns", "equal rows")  # linear functions of them are so to rounding


def _read_only(X: NDArray) -> NDArray:
    X = X.copy()
    X.flags.writeable = False
    return X


def _names(X: NDArray) -> list[str]:
    return [f"x{j}" for j in range(X.shape[1])]


def _frame(X: NDArray) -> pd.DataFrame:
    return pd.DataFrame(X, columns=_names(X))


def _with_column(values: Callable[[int], Any]) -> Callable[[NDArray], pd.DataFrame]:
    return lambda X: _frame(X).assign(x0=values(len(X)))


# Containers of numbers: of which precision they are, and what makes them.
NUMBERS: dict[str, tuple[Any, Callable[[NDArray], Any]]] = {
    "C order": (float, np.ascontiguousarray),
    "Fortran order": (float, np.asfortranarray),
    "strided": (float, lambda X: np.repeat(np.repeat(X, 2, axis=0), 3, axis=1)[::2, ::3]),
    "read-only": (float, _read_only),
    "list": (float, lambda X: X.tolist()),
    "object": (float, lambda X: X.astype(object)),
    "float32": (np.float32, np.copy),
    "float16": (np.float16, np.copy),
    "int64": (np.int64, np.copy),
    "uint8": (np.uint8, np.copy),
    "bool": (bool, np.copy),
    "pandas": (float, _frame),
    "pandas float32": (np.float32, _frame),
    "pandas nullable": (float, lambda X: _frame(X).astype("Float64")),
    "pandas numbers as category": (float, lambda X: _frame(X).astype("category")),
    "polars": (float, lambda X: pl.DataFrame(X, schema=_names(X))),
    "tensor": (float, partial(torch.tensor, dtype=torch.float64)),
    "tensor float32": (np.float32, partial(torch.tensor, dtype=torch.float32)),
    "tensor bfloat16": ("bfloat16", partial(torch.tensor, dtype=torch.bfloat16)),
    "tensor with gradient": (float, lambda X: torch.tensor(X, requires_grad=True)),
}
# Containers that no number can be read of, or not a table.
OTHERS: dict[str, Callable[[NDArray], Any]] = {
    "pandas text": _with_column(lambda n: ["a"] * n),
    "pandas category": _with_column(lambda n: pd.Categorical(["a"] * n)),
    "pandas dates": _with_column(lambda n: pd.date_range("2020-01-01", periods=n)),
    "polars text": lambda X: pl.DataFrame(X, schema=_names(X)).with_columns(x0=pl.lit("a")),
    "complex": lambda X: X + 1j,
    "text": lambda X: np.full(X.shape, "a"),
    "sparse": csr_array,
    "vector": np.ravel,
    "cube": lambda X: X[:, None],
    "None": lambda X: None,
}
USUAL = ["C order", "C order", "C order", "pandas"]


def as_precision(X: NDArray, dtype: Any) -> NDArray:
    """Return the values in a precision that holds some of them; integers are cut off."""
    with np.errstate(all="ignore"):
        if dtype == "bfloat16":
            return torch.tensor(X).to(torch.bfloat16).double().numpy()
        if np.issubdtype(dtype, np.integer):
            info = np.iinfo(dtype)
            X = np.clip(np.nan_to_num(np.round(X)), max(info.min, -(2**53)), min(info.max, 2**53))
        return X.astype(dtype)


def _size(rng: Generator) -> tuple[int, int]:
    n_samples = round(float(np.exp(rng.uniform(np.log(3), np.log(300)))))
    n_samples = int(choose(rng, [n_samples], [0, 1, 1, 2, 2, 2], 0.08))
    n_features = int(choose(rng, [1, 1, 2, 3, 4], [5, 8, 12], 0.2))
    rare = rng.random()
    if rare < 0.005:
        return 2000, n_features
    if rare < 0.015:
        return n_samples, 60
    return n_samples, 2 * n_samples + 1 if rare < 0.025 else n_features


def draw_inputs(rng: Generator) -> Inputs:
    """Draw a table."""
    shape = _size(rng)
    n, p = shape
    kind = choose(rng, ["uniform", "normal", "mixed"], list(COLUMNS), 0.3)
    kinds = rng.choice(list(COLUMNS), p) if kind == "mixed" else [kind] * p
    X = np.column_stack([COLUMNS[name](rng, n) for name in kinds])
    change = choose(rng, ["as drawn"], mostly(list(CHANGES)[1:-2], ["NaN", "inf"]), 0.35)
    container = choose(rng, USUAL, mostly(NUMBERS, OTHERS), 0.45)
    X = CHANGES[change](rng, X)
    if container in OTHERS:
        dated = container == "pandas dates"  # scikit-learn takes a table of nothing else
        reason = None if dated else container
        return Inputs(OTHERS[container](X), None, shape, kind, change, container, reason)
    dtype, make = NUMBERS[container]
    values = as_precision(X, dtype)
    seen = values.astype(float)
    reason = f"{change} {shape}" if np.isinf(seen).any() or not len(seen) else None
    return Inputs(make(values), seen, shape, kind, change, container, reason)
