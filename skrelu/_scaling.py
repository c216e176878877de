"""Standardization that survives columns of any finite scale."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Mean absolute deviation of a gaussian of standard deviation 1.
GAUSSIAN_DEVIATION = 0.7979
# Shares of classes are not told from 0 below.
SMALLEST_SHARE = 1e-10
# Standardized inputs are cut here, far beyond any data: keeps extrapolation finite.
LARGEST = 1e100


class Scaling(NamedTuple):
    """Mean and standard deviation of each column; scale 0 marks a constant column."""

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]

    @classmethod
    def of(cls, values: NDArray[np.float64], weights: NDArray[np.float64]) -> Scaling:
        """Return the weighted mean and standard deviation of the columns of ``values``.

        Parameters
        ----------
        values : ndarray of shape (n_samples, n_columns)
        weights : ndarray of shape (n_samples,)
            Sum to 1.
        """
        low, high = values.min(0), values.max(0)
        largest = np.maximum(np.abs(low), np.abs(high))
        unit = np.where(largest > 0, largest, 1.0)  # squares of 1e300 would overflow
        shrunk = values / unit
        mean = weights @ shrunk
        shrunk -= mean
        scale = np.sqrt(weights @ np.square(shrunk, out=shrunk))
        constant = (low == high) | (scale * unit < np.finfo(np.float64).tiny)
        return cls(np.where(constant, low, mean * unit), np.where(constant, 0.0, scale * unit))

    @classmethod
    def of_quantiles(
        cls, values: NDArray[np.float64], weights: NDArray[np.float64], levels: ArrayLike
    ) -> Scaling:
        """Return quantiles, and what is a standard deviation for gaussian columns.

        Parameters
        ----------
        values : ndarray of shape (n_samples, n_columns)
        weights : ndarray of shape (n_samples,)
            Sum to 1.
        levels : sequence of float
            One for all columns, or one a column.
        """
        median = weighted_quantiles(values, weights, [0.5])
        deviation = weights @ np.abs(values - median)
        return cls(weighted_quantiles(values, weights, levels), deviation / GAUSSIAN_DEVIATION)

    @classmethod
    def of_logarithms(cls, values: NDArray[np.float64], weights: NDArray[np.float64]) -> Scaling:
        """Return logarithms of the means, and ones."""
        return cls(np.log(weights @ values), np.ones(values.shape[1]))

    @classmethod
    def of_shares(cls, values: NDArray[np.float64], weights: NDArray[np.float64]) -> Scaling:
        """Return logits of the shares of classes, given as 0 and 1 or one-hot, and ones."""
        share = np.clip(weights @ values, SMALLEST_SHARE, 1 - SMALLEST_SHARE)
        mean = np.log(share) - (np.log1p(-share) if len(share) == 1 else 0)
        return cls(mean, np.ones(len(share)))

    def apply(self, values: NDArray) -> NDArray[np.float64]:
        """Standardize; constant columns become 0 whatever is in them later."""
        varies = self.scale > 0
        safe = np.where(varies, self.scale, 1.0)
        with np.errstate(over="ignore"):
            scaled = (np.asarray(values, np.float64) - self.mean) / safe
        return np.where(varies, np.clip(scaled, -LARGEST, LARGEST), 0.0)

    def undo(self, scaled: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return to the units of the data."""
        return scaled * self.scale + self.mean


def weighted_quantiles(
    values: NDArray[np.float64], weights: NDArray[np.float64], levels: ArrayLike
) -> NDArray[np.float64]:
    """Return the lower weighted quantile of each column, (n_columns,).

    Parameters
    ----------
    values : ndarray of shape (n_samples, n_columns)
    weights : ndarray of shape (n_samples,)
    levels : sequence of float
        One for all columns, or one a column, in (0, 1).
    """
    order = values.argsort(0)
    reached = weights[order].cumsum(0)
    needed = np.broadcast_to(levels, values.shape[1:]) * reached[-1]
    first = (reached < needed * (1 - 1e-12)).sum(0)  # 1e-12: sums of equal weights round
    return np.take_along_axis(values, order[first, np.arange(len(first))][None], 0)[0]
