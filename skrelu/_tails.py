r"""A piecewise-linear map of each feature: shorter tails, and limits.

Rows far out in a feature determine much of a network and say little about others where there is
noise. So beyond quantiles low and high a feature goes on with smaller slopes,

.. math::   x \mapsto \min(\max(x, l), h) + s_+ (x - h)_+ - s_- (l - x)_+,

which a layer of ReLU neurons computes exactly.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from skrelu._scaling import weighted_quantiles

Array = NDArray[np.float64]

# Beyond this quantile at each end, a tail is at most so long, in ranges between the quantiles.
TAIL, LONGEST_TAIL = 0.05, 0.25


class Tails(NamedTuple):
    """Where the tails of each feature begin, and their slopes, each (n_features,)."""

    low: Array
    high: Array
    slope_below: Array
    slope_above: Array

    @classmethod
    def of(cls, X: Array, weights: Array) -> Tails:
        """Return tails for rows X (n_samples, n_features) with weights."""
        low, high = (weighted_quantiles(X, weights, [q]) for q in (TAIL, 1 - TAIL))
        longest = LONGEST_TAIL * (high - low)
        with np.errstate(divide="ignore", invalid="ignore"):
            slopes = [longest / (low - X.min(0)), longest / (X.max(0) - high)]
        # Features with one value between the quantiles (most indicators) are left alone.
        slopes = [np.where((longest > 0) & (slope < 1), slope, 1.0) for slope in slopes]
        return cls(low, high, *slopes)

    def apply(self, X: NDArray) -> Array:
        """Return features with shorter tails."""
        with np.errstate(over="ignore", invalid="ignore"):
            below = self.slope_below * np.maximum(self.low - X, 0)
            above = self.slope_above * np.maximum(X - self.high, 0)
        return np.clip(X, self.low, self.high) - below + above

    def slopes(self, X: NDArray) -> Array:
        """Return the derivatives of `apply`."""
        below = np.where(self.low > X, self.slope_below, 1.0)
        return np.where(self.high < X, self.slope_above, below)
