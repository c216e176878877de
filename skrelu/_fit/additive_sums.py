r"""Sums over rows from which an additive model follows, by counting in pairs of bins.

A ramp a of a feature in bin i at the fraction f is 1 for a < i, f for a = i and 0 for a > i. So the
products of the ramps of two features are sums over bins and fractions,

.. math::

    \sum_n w r_a s_b = \sum_{i > a, j > b} W_{ij} + \sum_{j > b} F_{aj}
                      + \sum_{i > a} G_{ib} + H_{ab}

with the sums W, F, G and H of w, w f, w g and w f g over the rows in each pair of bins. This takes
some operations a row for each pair of features, not for each pair of ramps.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skrelu._data.table import Array
from skrelu._networks.encoding import Knots


@dataclass(frozen=True)
class AdditiveSums:
    """Weighted sums over rows; those of two lots of rows can be added.

    Columns are the ramps of all features, and then *plain* columns: the features, the targets, and
    ones.

    Parameters
    ----------
    products : ndarray of shape (n_ramps + n_plain, n_ramps + n_plain)
        Inner products of all columns.
    n_outputs : int
    """

    products: Array
    n_outputs: int

    @classmethod
    def of(cls, knots: Knots, X: Tensor, y: Tensor, weights: Array) -> AdditiveSums:
        """Return the sums over some rows.

        Parameters
        ----------
        knots : Knots
            Of all features, in order.
        X : Tensor of shape (n_samples, n_features)
        y : Tensor of shape (n_outputs, n_samples)
        weights : ndarray of shape (n_samples,)
        """
        sizes = knots.sizes
        positions = knots.positions(X).numpy()
        bins = np.minimum(positions.astype(np.int64), np.array(sizes) - 1)
        plain = np.concatenate([X.numpy().T, y.numpy(), np.ones((1, len(X)))])
        begins = np.cumsum([0, *sizes])
        products = np.zeros((begins[-1] + len(plain),) * 2)
        columns = [slice(a, b) for a, b in pairwise(begins)]
        weighted = plain * weights
        products[begins[-1] :, begins[-1] :] = weighted @ plain.T
        features = list(zip(bins.T, (positions - bins).T, sizes, strict=True))
        for j, (i, f, size) in enumerate(features):
            i = np.ascontiguousarray(i)
            products[columns[j], columns[j]] = _with_itself(i, f, weights, size)
            sums = [_ramps(_sums(i, u, size), _sums(i, u * f, size)) for u in weighted]
            products[columns[j], begins[-1] :] = np.stack(sums, 1)
            for k, (other, g, width) in enumerate(features[:j]):
                place, n = i * width + other, size * width
                by_bins = (
                    _sums(place, part, n).reshape(size, width)
                    for part in (weights, weights * f, weights * g, weights * f * g)
                )
                products[columns[j], columns[k]] = _pairs(*by_bins)
                products[columns[k], columns[j]] = products[columns[j], columns[k]].T
        products[begins[-1] :, : begins[-1]] = products[: begins[-1], begins[-1] :].T
        return cls(products, len(y))

    def plus(self, other: AdditiveSums) -> AdditiveSums:
        """Return the sums of two lots of rows."""
        return AdditiveSums(self.products + other.products, self.n_outputs)

    def centred(self, n_rows: int) -> tuple[Tensor, Tensor, float, Tensor]:
        """Return what an additive model follows from, as of ``n_rows`` rows of mean weight 1.

        Returns
        -------
        A : Tensor of shape (n_columns, n_columns)
            Inner products of ramps and features less their means.
        b : Tensor of shape (n_columns, n_outputs)
            Those of these and of targets less their means.
        squares : float
            Sum of squares of targets less their means.
        means : Tensor of shape (n_columns,)
        """
        products = torch.from_numpy(self.products)
        means = products[-1] / products[-1, -1]
        centred = products * (n_rows / products[-1, -1]) - n_rows * means.outer(means)
        n = len(products) - 1 - self.n_outputs
        squares = centred.diagonal()[n:-1].sum()
        return centred[:n, :n], centred[:n, n:-1], float(squares), means[:n]


def _sums(place: NDArray[np.int64], values: Array, size: int) -> Array:
    return np.bincount(place, values, size).astype(float, copy=False)


def _ramps(whole: Array, part: Array) -> Array:
    """Return sums by ramps, (size,), given those by bins, whole and times the fraction."""
    return _beyond(whole, 0) + part


def _pairs(whole: Array, of_f: Array, of_g: Array, of_both: Array) -> Array:
    """Return sums by pairs of ramps, given those by pairs of bins."""
    return _beyond(_beyond(whole, 0) + of_f, 1) + _beyond(of_g, 0) + of_both


def _with_itself(i: NDArray[np.int64], f: Array, weights: Array, size: int) -> Array:
    """Return the products of a feature's ramps: that of two is the higher ramp."""
    sums = [_sums(i, part, size) for part in (weights, weights * f, weights * f * f)]
    higher = np.maximum.outer(np.arange(size), np.arange(size))
    found = _ramps(sums[0], sums[1])[higher]
    np.fill_diagonal(found, _ramps(sums[0], sums[2]))
    return found


def _beyond(sums: Array, axis: int) -> Array:
    """Return the sums over all later bins."""
    return np.flip(np.cumsum(np.flip(sums, axis), axis), axis) - sums
