"""The projection of a gaussian process on columns: coefficients whose sum is as close as can be.

What is left of the process makes the error bars wider, and adds to the errors of left-out rows.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

# Fewest points between the rows, and points a coefficient; as many rows at most.
FEWEST_POINTS, POINTS_A_COEFFICIENT = 1000, 2
# Ridges to choose from, relative to the largest eigenvalue.
RIDGES = tuple(10.0**-k for k in range(6, 21, 2))
# Least variance of the posterior along its axes, in its own units: rounding errors exceed it.
LEAST_VARIANCE = 1e-9


class Span(NamedTuple):
    """What columns span at some points."""

    basis: Tensor  # (n_points, n_columns), orthonormal
    sizes: Tensor  # (n_columns,), singular values
    by_basis: Tensor  # (n_columns, n_columns), coefficients of the columns of each basis function

    @classmethod
    def of(cls, columns: Tensor) -> Span:
        """Return the span of columns (n_columns, n_points), with more points than columns."""
        basis, sizes, right = torch.linalg.svd(columns.mT, full_matrices=False)
        return cls(basis, sizes, torch.where(sizes > 0, 1 / sizes, 0.0)[:, None] * right)

    def share(self, ridge: float) -> Tensor:
        """Return the part of each basis function that a relative ridge leaves, (n_columns,)."""
        squares = self.sizes.square()
        return squares / (squares + ridge * squares[0])

    def root(self, covariance: Tensor, share: Tensor, apart: Tensor) -> tuple[Tensor, Tensor]:
        """Return the root of the covariance of the coefficients, see `Posterior`.

        Parameters
        ----------
        covariance : Tensor of shape (n_points, n_points)
            Of the process.
        share : Tensor of shape (n_columns,)
        apart : Tensor of shape ()
            Sum of the squares that are left of its mean.

        Returns
        -------
        root : Tensor of shape (n_columns, n_columns)
        wider : Tensor of shape ()
            By which the covariance was multiplied, so that no variance is lost.
        """
        values, vectors = torch.linalg.eigh(self.basis.mT @ covariance @ self.basis)
        half = share[:, None] * vectors * values.clamp_min(LEAST_VARIANCE).sqrt()
        variance = covariance.diagonal().clamp_min(0).sum()
        wider = (variance + apart) / half.square().sum()
        rows = (wider.sqrt() * half.mT @ self.by_basis).flip(1)
        return torch.linalg.qr(rows)[1].flip(0, 1), wider


def points_at(
    X: Tensor, n_columns: int, generator: torch.Generator, most_rows: int | None = None
) -> Tensor:
    """Return rows, (n_features, n_samples), and points between them, enough for so many columns.

    There are at most ``most_rows`` rows, by default as many as points.
    """
    n_points = max(FEWEST_POINTS, POINTS_A_COEFFICIENT * n_columns)
    rows = X[:, torch.randperm(X.shape[1], generator=generator)[: most_rows or n_points]]
    return torch.cat([rows, points_between(X, n_points, generator)], 1)


def points_between(X: Tensor, n_points: int, generator: torch.Generator) -> Tensor:
    """Return points with features of different rows, and points between two rows."""
    n_features, n = X.shape
    n_mixed = n_points // 2
    mixed = X.gather(1, torch.randint(n, (n_features, n_mixed), generator=generator))
    begin, end = torch.randint(n, (2, n_points - n_mixed), generator=generator)
    part = torch.rand(len(begin), generator=generator, dtype=X.dtype)
    return torch.cat([mixed, torch.lerp(X[:, begin], X[:, end], part)], 1)
