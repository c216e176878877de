"""Points like the rows of a table: between neighbouring rows, and anywhere in their box."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

Array = NDArray[np.float64]

# A point is made of a row and one of so many neighbours, or of any other row with this probability.
N_NEIGHBOURS, FAR = 8, 0.15
# Range of the share of the second row, by column. Columns of few values take one of both values.
SHARES, FEW_VALUES = (-0.2, 1.2), 20


def points_between(X: Array, owners: NDArray[np.int64], n: int, rng: np.random.Generator) -> Array:
    """Draw points between rows and a little beyond, within the ranges of the columns.

    Each feature of a point has a share of its own: points fill the boxes that neighbours span.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_columns)
        Standardized rows, at least one.
    owners : ndarray of int of shape (n_columns,)
        The feature of each column.

    Returns
    -------
    ndarray of shape (n, n_columns)
    """
    one = rng.integers(len(X), size=n)
    other = neighbours(X, X[one], rng)
    other = np.where(rng.random(n) < FAR, rng.integers(len(X), size=n), other)
    shares = rng.uniform(*SHARES, size=(n, owners.max() + 1))[:, owners]
    few = np.array([len(np.unique(column)) <= FEW_VALUES for column in X.T], dtype=bool)
    shares[:, few] = shares[:, few] > np.mean(SHARES)
    points = X[one] * (1 - shares) + X[other] * shares
    return np.clip(points, X.min(0), X.max(0))


def points_in_box(low: Array, high: Array, n: int, rng: np.random.Generator) -> Array:
    """Draw points anywhere between bounds of the columns, (n, n_columns)."""
    return low + rng.random((n, len(low))) * (high - low)


def neighbours(X: Array, points: Array, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return for each point one of the rows next to it; the nearest is the point itself."""
    k = min(N_NEIGHBOURS + 1, len(X))
    near = cKDTree(X).query(points, k)[1].reshape(len(points), k)
    return near[np.arange(len(points)), rng.integers(min(1, k - 1), k, size=len(points))]
