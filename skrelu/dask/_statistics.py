"""Sums over rows that are added partition by partition: moments, samples, additive models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skrelu._data.scaling import Scaling
from skrelu._data.table import Array
from skrelu._data.torch_interop import isolated, to_tensor
from skrelu._fit.additive_sums import AdditiveSums
from skrelu._fit.encoded_columns import chunks_of, curves_of, owners_of, spread_of
from skrelu._networks.encoding import Curves, Knots
from skrelu._solvers.additive import by_evidence
from skrelu._solvers.losses import Loss
from skrelu.dask._reading import Numbers

# Rows whose pairs of bins are counted at once.
ROWS_COUNTED = 65_536
# Standard deviations of a number of drawn rows: so many more are drawn.
MORE = 5
CPU = torch.device("cpu")


class Drawn(NamedTuple):
    """Rows that were drawn at random, with the numbers that drew them, see `Draws.keys`."""

    rows: Numbers
    keys: Array  # (n_rows, 2)

    def plus(self, other: Drawn) -> Drawn:
        """Return the rows of both."""
        pairs = zip(self.rows, other.rows, strict=True)
        rows = Numbers(*(np.concatenate(pair) for pair in pairs))
        return Drawn(rows, np.concatenate([self.keys, other.keys]))

    def smallest(self, most: int) -> Drawn:
        """Return at most so many rows, those with the smallest first keys, ordered by these."""
        return self.take(np.argsort(self.keys[:, 0], kind="stable")[:most])

    def take(self, index: NDArray[np.int64]) -> Drawn:
        """Return some of the rows."""
        return Drawn(Numbers(*(part[index] for part in self.rows)), self.keys[index])


@dataclass(frozen=True)
class Draws:
    """Which rows are drawn: for a sample of all, and to be held out by each member.

    Numbers of rows depend on the seed and on the place of the row in its partition alone, so that
    every pass and every worker draws the same.

    Parameters
    ----------
    seed : int
    n_rows, n_sampled : int
        Rows of all partitions, and at most so many in the sample.
    fraction : float
        Of rows that a member holds out.
    n_members : int
    """

    seed: int
    n_rows: int
    n_sampled: int
    fraction: float
    n_members: int

    def keys(self, number: int, n_rows: int) -> Array:
        """Return two numbers in [0, 1) for each row of a partition, (n_rows, 2).

        The first ones draw the sample, the second ones the rows that are held out.
        """
        return np.random.default_rng([self.seed, 0, number]).random((n_rows, 2))

    def sampled(self, keys: Array) -> NDArray[np.bool_]:
        """Return which rows are drawn for the sample: some more than it has in the end."""
        some_more = self.n_sampled + MORE * self.n_sampled**0.5
        return keys[:, 0] * self.n_rows < some_more

    def held_out(self, keys: Array, member: int) -> NDArray[np.bool_]:
        """Return which rows a member holds out; no other does as long as there are enough rows."""
        return (keys[:, 1] - member * self.fraction) % 1 < self.fraction

    def held_out_by_any(self, keys: Array) -> NDArray[np.bool_]:
        """Return which rows some member holds out."""
        return keys[:, 1] < self.fraction * self.n_members


@dataclass(frozen=True)
class Moments:
    """Weighted means and squares of columns and targets, their ranges, and drawn rows.

    Two lots of rows are added by the formula of Chan, Golub and LeVeque (1979), which does not
    cancel. Columns are those of X, then those of y.
    """

    weight: float
    mean: Array  # (n_columns + n_outputs,)
    squares: Array  # weighted sums of squared deviations from the mean
    within: Array  # the same from the mean of the own partition
    low: Array
    high: Array
    sample: Drawn
    held_out: Drawn

    @classmethod
    @isolated()
    def of(cls, rows: Numbers, number: int, draws: Draws) -> Moments:
        """Return those of a partition."""
        n_columns = rows.X.shape[1] + rows.y.shape[1]
        whole = Drawn(rows, draws.keys(number, len(rows.X)))
        sample = whole.take(np.flatnonzero(draws.sampled(whole.keys)))
        held_out = whole.take(np.flatnonzero(draws.held_out_by_any(whole.keys)))
        if not len(rows.X):
            none, most = np.zeros(n_columns), np.full(n_columns, np.inf)
            return cls(0.0, none, none, none, most, -most, sample, held_out)
        found = []
        for values in (rows.X, rows.y):
            mean = rows.weights @ values / rows.weights.sum()
            squares = np.zeros_like(mean)
            for chunk in chunks_of(len(values)):
                squares += rows.weights[chunk] @ np.square(values[chunk] - mean)
            found.append((mean, squares, values.min(0), values.max(0)))
        mean, squares, low, high = (np.concatenate(pair) for pair in zip(*found, strict=True))
        weight = float(rows.weights.sum())
        return cls(weight, mean, squares, squares, low, high, sample, held_out)

    def plus(self, other: Moments) -> Moments:
        """Return those of two lots of rows."""
        if not other.weight or not self.weight:
            return self if self.weight else other
        weight = self.weight + other.weight
        apart, part = other.mean - self.mean, other.weight / weight
        between = np.square(apart) * (self.weight * part)
        return Moments(
            weight,
            self.mean + apart * part,
            self.squares + other.squares + between,
            self.within + other.within,
            np.minimum(self.low, other.low),
            np.maximum(self.high, other.high),
            self.sample.plus(other.sample),
            self.held_out.plus(other.held_out),
        )

    @property
    def scaling(self) -> Scaling:
        """Standardization of columns and targets."""
        scale = np.sqrt(self.squares / self.weight)
        return Scaling.of_moments(self.mean, scale, self.low, self.high)

    @property
    def between(self) -> Array:
        """Fraction of the variance of each column and target that is between partitions."""
        squares = np.where(self.squares > 0, self.squares, 1.0)
        return np.where(self.squares > 0, 1 - self.within / squares, 0.0)


@dataclass(frozen=True)
class AdditiveColumns:
    """The columns of an additive model, and the targets that it is fitted to.

    Parameters
    ----------
    knots : Knots
    groups : tuple of int
        Group of each feature.
    X_scaling, y_scaling : Scaling
    loss : Loss
    scale : Tensor of shape (n_outputs, 1)
        Residual scale of the best constant, see `Loss.scale`.
    """

    knots: Knots
    groups: tuple[int, ...]
    X_scaling: Scaling
    y_scaling: Scaling
    loss: Loss
    scale: Tensor

    @isolated()
    def sums(self, rows: Numbers) -> AdditiveSums:
        """Return the sums of some rows."""
        total: AdditiveSums | None = None
        for begin in range(0, max(1, len(rows.X)), ROWS_COUNTED):
            chunk = slice(begin, begin + ROWS_COUNTED)
            X = to_tensor(self.X_scaling.apply(rows.X[chunk]), CPU)
            y = standardized(rows.y[chunk], self.y_scaling, self.loss)
            residual, _ = self.loss.working(torch.zeros_like(y), y, self.scale)
            found = AdditiveSums.of(self.knots, X, -residual, rows.weights[chunk])
            total = found if total is None else total.plus(found)
        assert total is not None
        return total


def additive_model(
    sums: AdditiveSums, n_rows: int, columns: AdditiveColumns
) -> tuple[Curves, Tensor]:
    """Return the additive model of all rows, and the spreads of its curves, (1, n_curves)."""
    knots, groups = columns.knots, columns.groups
    A, b, squares, means = sums.centred(n_rows)
    coef, _, _ = by_evidence(A, b, squares, n_rows, owners_of(knots, groups))
    of_features = torch.tensor(groups)
    group = torch.cat([of_features[knots.owner], of_features])
    variances = torch.zeros(b.shape[1], max(groups) + 1, dtype=torch.float64)
    for g in range(max(groups) + 1):
        own = (group == g).nonzero()[:, 0]
        part = coef[own]
        variances[:, g] = (part * (A[own][:, own] @ part)).sum(0) / n_rows
    spread = spread_of(variances.clamp_min(0).flatten()[None].float())
    return curves_of(coef[None], means, knots, groups), spread


def standardized(y: Array, scaling: Scaling, loss: Loss) -> Tensor:
    """Return targets in units for which raw values of 0 are the best constant, (n_outputs, n)."""
    if loss.log_link:
        y = y / np.exp(scaling.mean)
    elif not loss.classes:
        y = scaling.apply(y)
    return torch.tensor(np.ascontiguousarray(y.T))
