"""Standardization of columns of any finite size, without overflow."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Mean absolute deviation of a gaussian with standard deviation 1.
GAUSSIAN_DEVIATION = 0.7979
# Smallest class frequency; lower ones are raised to it, so that logits stay finite.
SMALLEST_FREQUENCY = 1e-10
# Largest standardized value, far beyond any data. Clipping there keeps extrapolation finite.
LARGEST = 1e100
# Largest double, at which results are clipped, and smallest standard deviation that is not 0.
MOST, LEAST = np.finfo(np.float64).max, np.finfo(np.float64).smallest_subnormal


class Scaling(NamedTuple):
    """Mean and standard deviation of each column; a ``scale`` of 0 marks a constant column."""

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]

    @classmethod
    def of(cls, values: NDArray[np.float64], weights: NDArray[np.float64]) -> Scaling:
        """Return the weighted mean and standard deviation of the columns of ``values``.

        Parameters
        ----------
        values : ndarray of shape (n_samples, n_columns)
        weights : ndarray of shape (n_samples,)
            Weights of the rows, which sum to 1.
        """
        low, high = values.min(0), values.max(0)
        unit = _units(low, high)  # squares of 1e300 would overflow
        shrunk = values / unit
        mean = weights @ shrunk
        shrunk -= mean
        scale = np.sqrt(weights @ np.square(shrunk, out=shrunk))
        return cls.of_moments(mean, scale, low, high, unit)

    @classmethod
    def of_moments(
        cls,
        mean: NDArray[np.float64],
        scale: NDArray[np.float64],
        low: NDArray[np.float64],
        high: NDArray[np.float64],
        unit: NDArray[np.float64] | float = 1.0,
    ) -> Scaling:
        """Return means and standard deviations in some unit, of columns from low to high."""
        constant = (low == high) | (scale == 0)
        scale = np.maximum(scale, _least_spread(mean, low / unit, high / unit))
        scale = np.maximum(scale * unit, LEAST)
        return cls(np.where(constant, low, mean * unit), np.where(constant, 0.0, scale))

    @classmethod
    def of_quantiles(
        cls, values: NDArray[np.float64], weights: NDArray[np.float64], levels: ArrayLike
    ) -> Scaling:
        """Return quantiles, and standard deviations estimated from mean absolute deviations.

        Parameters
        ----------
        values : ndarray of shape (n_samples, n_columns)
        weights : ndarray of shape (n_samples,)
            Weights of the rows, which sum to 1.
        levels : sequence of float
            Quantile levels in (0, 1): one for all columns, or one for each column.
        """
        unit = _units(values.min(0), values.max(0))
        shrunk = values / unit
        median = weighted_quantiles(shrunk, weights, [0.5])
        deviation = weights @ np.abs(shrunk - median) / GAUSSIAN_DEVIATION
        least = _least_spread(median, shrunk.min(0), shrunk.max(0))
        scale = np.clip(np.maximum(deviation, least) * unit, LEAST, MOST)
        scale = np.where(deviation > 0, scale, 0.0)
        return cls(weighted_quantiles(values, weights, levels), scale)

    @classmethod
    def of_logarithms(cls, values: NDArray[np.float64], weights: NDArray[np.float64]) -> Scaling:
        """Return the logarithms of the means, and ones."""
        unit = _units(values.min(0), values.max(0))
        means = np.maximum(np.minimum(weights @ (values / unit), 1.0) * unit, LEAST)
        return cls(np.log(means), np.ones(values.shape[1]))

    @classmethod
    def of_frequencies(cls, values: NDArray[np.float64], weights: NDArray[np.float64]) -> Scaling:
        """Return the logits of the class frequencies, and ones; values are 0 and 1 or one-hot."""
        frequency = np.clip(weights @ values, SMALLEST_FREQUENCY, 1 - SMALLEST_FREQUENCY)
        mean = np.log(frequency) - (np.log1p(-frequency) if len(frequency) == 1 else 0)
        return cls(mean, np.ones(len(frequency)))

    def apply(self, values: NDArray) -> NDArray[np.float64]:
        """Standardize; constant columns become 0, whatever their values."""
        varies, half = self.scale > 0, self._half
        safe = np.where(varies, self.scale * half, 1.0)
        with np.errstate(all="ignore"):
            scaled = (np.asarray(values, np.float64) * half - self.mean * half) / safe
        return np.where(varies, np.clip(scaled, -LARGEST, LARGEST), 0.0)

    def undo(self, scaled: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return to the units of the data, clipped at the largest double."""
        half = self._half
        with np.errstate(all="ignore"):
            values = (scaled * (self.scale * half) + self.mean * half) / half
        return np.clip(values, -MOST, MOST)

    @property
    def _half(self) -> NDArray[np.float64]:
        """Factor of 1/2 before subtractions and additions, because 1e308 - (-1e308) overflows.

        It is 1 for small numbers, because halves of the smallest would be rounded.
        """
        return np.where(np.maximum(np.abs(self.mean), self.scale) < 1, 1.0, 0.5)


def quotients(values: ArrayLike, over: ArrayLike, under: ArrayLike) -> NDArray[np.float64]:
    """Return values * over / under for numbers of any size, clipped at the largest double.

    ``under`` is not negative. The result is 0 where ``under`` is 0.
    """
    (over, up), (under, down) = np.frexp(over), np.frexp(under)
    factor = np.where(under > 0, over / np.where(under > 0, under, 1.0), 0.0)
    with np.errstate(all="ignore"):
        return np.clip(np.ldexp(values * factor, up - down), -MOST, MOST)


def _units(low: NDArray[np.float64], high: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the largest magnitude of each column, 1 for a column of zeros."""
    largest = np.maximum(np.abs(low), np.abs(high))
    return np.where(largest > 0, largest, 1.0)


def _least_spread(
    center: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the smallest standard deviations to use.

    Below them, differences are rounding, or standardized values would be clipped. Standard
    deviations are so small only if weights have very different sizes.
    """
    return np.maximum(np.finfo(np.float64).eps * np.abs(center), (high - low) / LARGEST)


def weighted_quantiles(
    values: NDArray[np.float64], weights: NDArray[np.float64], levels: ArrayLike
) -> NDArray[np.float64]:
    """Return the lower weighted quantile of each column, (n_columns,).

    Parameters
    ----------
    values : ndarray of shape (n_samples, n_columns)
    weights : ndarray of shape (n_samples,)
    levels : sequence of float
        Quantile levels in (0, 1): one for all columns, or one for each column.
    """
    order = values.argsort(0)
    reached = weights[order].cumsum(0)
    needed = np.broadcast_to(levels, values.shape[1:]) * reached[-1]
    first = (reached < needed * (1 - 1e-12)).sum(0)  # 1e-12: sums of equal weights round
    return np.take_along_axis(values, order[first, np.arange(len(first))][None], 0)[0]
