"""A canonical order of the rows, so that a fit does not depend on the order they are given in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Rows that are read at once.
PART = 50_000


def canonical_rows(
    X: NDArray, y: NDArray, weights: NDArray
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Drop rows of weight zero, merge equal rows and put the rest in a fixed order.

    Then a weight of 2 is the same as a row given twice, bit for bit, and the order of
    the rows does not matter. Rows are ordered by a hash of their bits. This takes one
    sort of integers for any number of columns, and the order is as good as random.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
    y : ndarray of shape (n_samples, n_outputs)
    weights : ndarray of shape (n_samples,)
        Weights, at least 0.

    Returns
    -------
    X : ndarray of shape (n_rows, n_features)
        Copy in float64, with ``n_rows <= n_samples``.
    y : ndarray of shape (n_rows, n_outputs)
    weights : ndarray of shape (n_rows,)
    """
    kept = weights > 0
    n_rows, n_columns = int(np.count_nonzero(kept)), X.shape[1] + y.shape[1]
    key = np.zeros(n_rows, np.uint64)
    for place, part in _parts(X, y, kept):
        for column in part.T:
            key[place] = _mixed(key[place] ^ np.ascontiguousarray(column).view(np.uint64))
    order = np.argsort(key, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(n_rows)
    table = np.empty((n_rows, n_columns))
    for place, part in _parts(X, y, kept):
        table[rank[place]] = part
    weights = weights[kept].astype(np.float64)[order]
    first = np.ones(n_rows, bool)
    first[1:] = (table[1:] != table[:-1]).any(1)
    if not first.all():
        weights = np.add.reduceat(weights, first.nonzero()[0])
        table = table[first]
    return table[:, : X.shape[1]], table[:, X.shape[1] :], weights


def _parts(X: NDArray, y: NDArray, kept: NDArray[np.bool_]) -> Iterator[tuple[slice, Array]]:
    """Yield the kept rows part by part, with their places: tables on disk are read in order."""
    end = 0
    for begin in range(0, len(X), PART):
        rows = slice(begin, begin + PART)
        part = np.concatenate([X[rows], y[rows]], axis=1, dtype=np.float64, casting="unsafe")
        part = part[kept[rows]] + 0.0  # turns -0.0, whose bits differ, into 0.0
        end += len(part)
        yield slice(end - len(part), end), part


def _mixed(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scramble 64-bit integers: the finalizer of splitmix64 (Steele et al. 2014)."""
    bits = bits + np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))


@dataclass(frozen=True)
class Table:
    """The rows of a fit, in the units of the data."""

    X: Array  # (n_samples, n_features)
    y: Array  # (n_samples, n_outputs)
    weights: Array  # (n_samples,), sum to 1
    total: float  # sum of the weights before they were normalized: the number of rows
    groups: tuple[int, ...] | None = None  # feature of each column; None: columns are features
