"""A function on a box, and rows drawn from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Range = tuple[float, float]


@dataclass(frozen=True)
class Problem:
    """Rows to learn from, perhaps with noise in y, and rows to test on, without."""

    X: Array
    y: Array
    X_test: Array
    y_test: Array

    def error(self, predict: Callable[[Array], Array]) -> float:
        """Return the test RMSE relative to the standard deviation of the true values."""
        residual = predict(self.X_test) - self.y_test
        return float(np.sqrt(np.mean(residual**2)) / self.y_test.std())


@dataclass(frozen=True)
class Function:
    """A function of inputs in `ranges`; ``value`` takes an array for each of them."""

    name: str
    group: str
    ranges: tuple[Range, ...]
    value: Callable[..., Array]

    def problem(self, n_train: int, n_test: int, noise: float = 0.0) -> Problem:
        """Draw rows uniformly in the ranges, the same ones in every call.

        Parameters
        ----------
        n_train, n_test : int
        noise : float, default=0
            Standard deviation of what is added to the training targets, relative to theirs.
        """
        rng = np.random.default_rng(crc32(self.name.encode()))
        low, high = np.transpose(self.ranges)
        X = rng.uniform(low, high, (n_train + n_test, len(low)))
        y = self.value(*X.T)
        train, test = y[:n_train], y[n_train:]
        noisy = train + noise * train.std() * rng.standard_normal(n_train)
        return Problem(X[:n_train], noisy, X[n_train:], test)
