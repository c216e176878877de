r"""Additive models: a ridge on ramps of every feature, with one precision a group by evidence.

The model is y = Z t + noise, with t gaussian a priori: all coefficients of a group have one
precision :math:`\alpha_g`. A constant precision of a ramp's coefficients, which are the increments
of a curve, is a Brownian prior on the curve. For a category it is a shrunken mean of each level.
The precisions maximise the evidence by MacKay's fixed-point iteration, from the products Z'Z and
Z'y alone.

References
----------
MacKay, "Bayesian interpolation", 1992, https://doi.org/10.1162/neco.1992.4.3.415
"""

from __future__ import annotations

import torch
from torch import Tensor

from skrelu._solvers.gram import gram

# Most iterations that estimate precisions, and the relative change at which they end.
ITERATIONS, CHANGE = 15, 0.01
# Ridge for rounding, as a fraction of the mean diagonal of Z'Z.
JITTER = 1e-6
# Bounds of precisions, and fewest coefficients that the data determine in a group.
MOST_PRECISION, FEWEST = 1e8, 1e-3
# Least rows that the noise is estimated from, as a fraction of all.
FREE_ROWS = 0.05


def fit_additive(
    columns: Tensor, y: Tensor, weights: Tensor, held_out: Tensor, owner: Tensor
) -> Tensor:
    """Return coefficients of additive models, each without the rows that it holds out.

    Precisions are estimated once, from all rows.

    Parameters
    ----------
    columns : Tensor of shape (n_columns, n_samples)
        Their weighted means are 0.
    y : Tensor of shape (n_outputs, n_samples)
        The outputs share all precisions.
    weights : Tensor of shape (n_samples,)
        Numbers of rows that each row stands for.
    held_out : Tensor of bool of shape (n_models, n_samples)
    owner : Tensor of int of shape (n_columns,)
        Group of each column, from 0 on.

    Returns
    -------
    Tensor of shape (n_models, n_columns, n_outputs), in float64
    """
    root = weights.sqrt()
    columns, y = columns * root, y * root
    A, b = products(columns, y)
    squares, n = float(y.double().square().sum()), float(weights.sum())
    coef, precisions, noise = by_evidence(A, b, squares, n, owner)
    if not held_out.any():
        return coef.expand(len(held_out), -1, -1)
    found = []
    for rows in held_out:
        A_out, b_out = products(columns[:, rows], y[:, rows])
        factor = _factor((A - A_out) / noise, precisions)
        found.append(torch.cholesky_solve((b - b_out) / noise, factor))
    return torch.stack(found)


def products(columns: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Return Z'Z, (n_columns, n_columns), and Z'y, (n_columns, n_outputs), in double precision.

    Parameters
    ----------
    columns : Tensor of shape (n_columns, n_samples)
    y : Tensor of shape (n_outputs, n_samples)
    """
    return gram(columns[None])[0].double(), (columns @ y.mT).double()


def _factor(matrix: Tensor, diagonal: Tensor) -> Tensor:
    """Return the Cholesky factor of a matrix plus a diagonal, which rounding may have to raise."""
    while True:
        factor, failed = torch.linalg.cholesky_ex(matrix + diagonal.diag())
        if not failed:
            return factor
        diagonal = 10 * diagonal


def by_evidence(
    A: Tensor, b: Tensor, squares_of_y: float, n_rows: float, owner: Tensor
) -> tuple[Tensor, Tensor, float]:
    """Return coefficients of all rows, the precision of each, and the variance of the noise.

    Parameters
    ----------
    A, b : Tensor of shape (n_columns, n_columns) and (n_columns, n_outputs)
        Weighted sums over rows, see `products`.
    squares_of_y : float
        Weighted sum of squares of y.
    n_rows : float
        Sum of the weights.
    owner : Tensor of int of shape (n_columns,)
        Group of each column, from 0 on.

    Returns
    -------
    coef : Tensor of shape (n_columns, n_outputs)
    precisions : Tensor of shape (n_columns,)
    noise : float
    """
    n_outputs, sizes = b.shape[1], owner.bincount()
    n = n_rows * n_outputs
    jitter = JITTER * A.diagonal().mean()
    precisions, noise = A.new_ones(len(sizes)), 1.0
    before = torch.zeros_like(precisions)
    for _ in range(ITERATIONS):
        factor = _factor(A / noise, precisions[owner] + jitter / noise)
        coef = torch.cholesky_solve(b / noise, factor)
        variances = torch.cholesky_inverse(factor).diagonal()
        total = torch.zeros_like(precisions).index_add_(0, owner, variances)
        determined = (n_outputs * (sizes - precisions * total)).clamp_min(FEWEST)
        squares = torch.zeros_like(precisions).index_add_(0, owner, coef.square().sum(1))
        explained = float(2 * (coef * b).sum() - (coef * (A @ coef)).sum())
        residual = max(squares_of_y - explained, 1e-12 * squares_of_y)
        precisions = determined / squares.clamp_min(1e-30)
        precisions = precisions.clamp(1 / MOST_PRECISION, MOST_PRECISION)
        noise = max(residual / max(n - float(determined.sum()), FREE_ROWS * n), 1e-30)
        if float((determined - before).abs().sum()) < CHANGE * float(determined.sum()):
            break
        before = determined
    return coef, precisions[owner] + jitter / noise, noise
