"""Features of any kind as numeric columns: missing values, and levels of categories."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Most levels of a category that have a column of their own; rarer ones share one.
MOST_LEVELS = 255
# Codes of levels that were not seen, and of values that are missing.
UNKNOWN, MISSING = -1.0, np.nan


@dataclass(frozen=True)
class Columns:
    """How features become columns.

    A numeric feature has a column, in which missing values are the mean of the distinct values, so
    that neither the order nor repetitions of rows matter. A category has a column of
    zeros and ones for each level, or one column for two levels. Either has a further column that
    marks missing values, if there were any.

    Parameters
    ----------
    n_levels : tuple of int
        Number of levels of each feature, 0 for numeric ones. The codes of a category are 0, 1, ...
    fills : tuple of float
        Values of each feature in place of missing ones.
    marked : tuple of bool
        Whether the feature has a column that marks missing values.
    """

    n_levels: tuple[int, ...]
    fills: tuple[float, ...]
    marked: tuple[bool, ...]

    @classmethod
    def of(cls, X: NDArray, n_levels: Sequence[int]) -> Columns:
        """Return the columns of a table of numbers and codes, in which NaN is missing."""
        missing = np.isnan(X) if X.dtype.kind == "f" else np.zeros(X.shape, bool)
        fills = np.zeros(X.shape[1])
        for j in np.flatnonzero(missing.any(0) & (np.asarray(n_levels) == 0)):
            known = np.unique(X[~missing[:, j], j].astype(float))
            fills[j] = (known / len(known)).sum() if len(known) else 0.0
        marked = [bool(part.any()) for part in missing.T]
        return cls(tuple(n_levels), tuple(fills.tolist()), tuple(marked))

    @property
    def plain(self) -> bool:
        """Whether columns are the features themselves."""
        return not any(self.n_levels) and not any(self.marked)

    @property
    def owners(self) -> list[int]:
        """Feature of each column."""
        sizes = [self._size(j) for j in range(len(self.n_levels))]
        return np.repeat(np.arange(len(sizes)), sizes).tolist()

    @property
    def valued(self) -> list[int | None]:
        """The column with the values of each feature, None for categories."""
        first = np.cumsum([0, *(self._size(j) for j in range(len(self.n_levels)))])
        return [None if n else int(at) for n, at in zip(self.n_levels, first, strict=False)]

    def _size(self, feature: int) -> int:
        n = self.n_levels[feature]
        return (1 if n in (0, 2) else n) + self.marked[feature]

    def expand(self, X: NDArray) -> NDArray:
        """Return the columns of a table of numbers and codes, (n_samples, n_columns)."""
        missing = np.isnan(X) if X.dtype.kind == "f" else np.zeros(X.shape, bool)
        if self.plain and not missing.any():
            return X
        found = np.empty((len(X), len(self.owners)), X.dtype if X.dtype.kind == "f" else float)
        column = iter(found.T)
        for j, (n, fill, marked) in enumerate(
            zip(self.n_levels, self.fills, self.marked, strict=True)
        ):
            x = X[:, j]
            for code in [1.0] if n == 2 else range(n):
                next(column)[:] = x == code
            if not n:
                next(column)[:] = np.where(missing[:, j], fill, x)
            if marked:
                next(column)[:] = missing[:, j]
        return found

    def by_feature(self, slopes: NDArray, X: NDArray) -> NDArray:
        """Return slopes by features, given those by columns, (n_samples, n_outputs, n_columns).

        They are 0 by categories, and where the feature is missing.
        """
        found = np.zeros((*slopes.shape[:2], len(self.n_levels)), slopes.dtype)
        for feature, column in enumerate(self.valued):
            if column is not None:
                found[..., feature] = slopes[..., column]
                if self.marked[feature]:
                    found[..., feature] *= (X[:, column + 1] == 0)[:, None]
        return found

    def names(self, features: Sequence[str], levels: Sequence[Sequence | None]) -> list[str]:
        """Return a name for each column."""
        found: list[str] = []
        for j, name in enumerate(features):
            values = levels[j]
            if values is None:
                found.append(name)
            else:
                kept = [*values, "other"][: self.n_levels[j]]
                found += [f"{name}={value}" for value in (kept[1:] if len(kept) == 2 else kept)]
            found += [f"{name} is missing"] * self.marked[j]
        return found


def is_missing(value: object) -> bool:
    """Return whether a value of a category is missing: None, NaN or NA."""
    return value is None or type(value).__name__ in ("NAType", "NaTType") or value != value


def levels_of(values: Sequence[Hashable], weights: NDArray[np.float64]) -> list[Hashable]:
    """Return the levels of a category that have a code each, in order.

    Parameters
    ----------
    values : sequence of hashable
    weights : ndarray of shape (n_samples,)
        Numbers of rows that each row stands for.
    """
    counts: dict[Hashable, float] = {}
    for value, weight in zip(values, weights.tolist(), strict=True):
        if weight > 0 and not is_missing(value):
            counts[value] = counts.get(value, 0.0) + weight
    kept = sorted(counts, key=lambda value: (-counts[value], str(value)))[:MOST_LEVELS]
    if len(kept) == 2:  # with one column, a level that was not seen is as the more frequent one
        return kept
    try:
        return sorted(kept)  # type: ignore[type-var]
    except TypeError:
        return sorted(kept, key=str)


def codes_of(
    values: Sequence[Hashable], levels: Sequence[Hashable], pooled: bool
) -> NDArray[np.float64]:
    """Return the codes of levels; others are `UNKNOWN`, or one more code if they are pooled."""
    code = {level: float(i) for i, level in enumerate(levels)}
    other = float(len(levels)) if pooled else UNKNOWN
    found = [MISSING if is_missing(value) else code.get(value, other) for value in values]
    return np.array(found, np.float64)
