r"""Ridge regression for any loss, with the ridge that predicts left-out rows best.

The columns :math:`\phi_i` of the rows have weights :math:`w_i` that sum to 1. For squared errors

.. math::   \min_{b, c} \sum_i w_i (y_i - b - c \cdot \phi_i)^2 + \lambda \|c\|^2

is solved for many :math:`\lambda` by one singular value decomposition of the centered columns.
The residual of row i is :math:`r_i / (1 - h_i)` if row i is left out, where h is the diagonal of
the hat matrix (Allen 1974). So each row is predicted by a fit to the others. Other losses need
iteratively reweighted least squares, and leave out folds of rows.

References
----------
Allen, "The relationship between variable selection and data augmentation and a method for
prediction", 1974, https://doi.org/10.1080/00401706.1974.10489157
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from skrelu._solvers.losses import Loss, SquaredError

# Ridges to choose from, relative to the largest squared singular value.
RIDGES = tuple(10.0 ** (-k / 3) for k in range(-3, 15)) + tuple(10.0**-k for k in range(5, 17))
# The same for losses other than squared errors.
FEW_RIDGES = (10.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-6, 1e-8, 1e-10)
# Smallest singular value, as a fraction of the largest; smaller ones are rounding errors.
RANK = 1e-13
# Most least-squares problems for losses other than squared errors.
MAX_ITER = 30
# Relative decrease of the cost below which these end.
TOL = 1e-5
# Most trials of a step, which is halved until it reduces the cost.
HALVINGS = 8
# Most values of weighted columns in memory at once.
HELD = 4e6
# Folds for losses other than squared errors.
FOLDS = 5
# Ridges without improvement that end the search for losses other than squared errors.
PATIENCE = 2
# Smallest difference of leverage and 1. Below it, a row determines its own prediction.
LEAST_FREE = 1e-9


class RidgeFit(NamedTuple):
    """A linear model of all rows, and predictions of left-out rows."""

    coef: Tensor  # (1 + n_columns, n_outputs), the intercept first
    left_out: Tensor  # (n_outputs, n_samples), raw values
    loss: float  # of left_out, relative to the loss of the best constant
    ridge: float  # relative to the largest squared singular value


class _Decomposed(NamedTuple):
    """Centered columns times the roots of the weights, as a sum of s_j v_j u_j'."""

    mean: Tensor  # (n_columns,)
    u: Tensor  # (rank, n_samples)
    s: Tensor  # (rank,)
    v: Tensor  # (n_columns, rank)


def fit_ridge(
    columns: Tensor,
    y: Tensor,
    weights: Tensor,
    loss: Loss,
    other: tuple[Tensor, Tensor, Tensor] | None = None,
    ridges: Sequence[float] | None = None,
    factor: float = 1.0,
) -> RidgeFit:
    """Fit a linear model with the ridge that predicts left-out rows best.

    Parameters
    ----------
    columns : Tensor of shape (n_columns, n_samples)
    y : Tensor of shape (n_outputs, n_samples)
        In units in which 0 is the best constant.
    weights : Tensor of shape (n_samples,)
        Positive, sum to 1.
    loss : Loss
    other : tuple of Tensor, optional
        Columns, y and weights of rows that choose the ridge instead of left-out rows. Then
        ``left_out`` has the predictions of these rows.
    ridges : sequence of float, optional
        Ridges to choose from, decreasing, relative to the largest squared singular value.
    factor : float, default=1
        Factor on the best ridge.

    Returns
    -------
    RidgeFit
    """
    squared = isinstance(loss, SquaredError)
    if ridges is None:
        ridges = RIDGES if squared else FEW_RIDGES
    judged = (y, weights) if other is None else other[1:]
    best: RidgeFit | None = None
    waited = 0
    for ridge, (coef, left_out) in zip(
        ridges, _trials(columns, y, weights, loss, other, ridges), strict=True
    ):
        value = mean_loss(loss, left_out, *judged)
        waited += 1
        if best is None or value < best.loss:
            best, waited = RidgeFit(coef, left_out, value, ridge), 0
        if waited == PATIENCE and not squared:
            break
    assert best is not None
    if factor != 1:
        return fit_ridge(columns, y, weights, loss, other, [best.ridge * factor])
    if squared or other is not None:
        return best
    for coef in _iterated(_decomposed(columns, weights), y, weights, loss, [best.ridge]):
        best = best._replace(coef=coef)
    return best


def _trials(
    columns: Tensor,
    y: Tensor,
    weights: Tensor,
    loss: Loss,
    other: tuple[Tensor, Tensor, Tensor] | None,
    ridges: Sequence[float],
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield coefficients and predictions of left-out rows, by ridge."""
    if isinstance(loss, SquaredError):
        for coef, left_out in _squared(_decomposed(columns, weights), y, weights, ridges):
            yield coef, left_out if other is None else predicted(coef, other[0])
    elif other is not None:
        for coef in _iterated(_decomposed(columns, weights), y, weights, loss, ridges):
            yield coef, predicted(coef, other[0])
    else:  # rows are in random order
        index = torch.arange(y.shape[1], device=y.device)
        folds = [index % FOLDS == fold for fold in range(FOLDS)]
        folds = [out for out in folds if out.any() and bool(weights[~out].sum() > 0)]
        fits = []
        for out in folds:
            kept, part = columns[:, ~out], weights[~out] / weights[~out].sum()
            fits.append(_iterated(_decomposed(kept, part), y[:, ~out], part, loss, ridges))
        for coefs in zip(*fits, strict=True) if fits else [()] * len(ridges):
            left_out = torch.zeros_like(y)  # the best constant, if there is one row
            for out, coef in zip(folds, coefs, strict=True):
                left_out[:, out] = predicted(coef, columns[:, out])
            yield y.new_zeros(1 + len(columns), len(y)), left_out


def predicted(coef: Tensor, columns: Tensor) -> Tensor:
    """Return the raw values of a linear model, (n_outputs, n_samples)."""
    return coef[1:].mT @ columns + coef[0][:, None]


def _decomposed(columns: Tensor, weights: Tensor) -> _Decomposed:
    mean = columns @ weights
    centered = (columns - mean[:, None]) * weights.sqrt()
    n_columns, n_samples = centered.shape
    if n_columns > n_samples:
        v, s, u = torch.linalg.svd(centered, full_matrices=False)
    else:  # with a QR decomposition first, because there may be many more rows
        q, r = torch.linalg.qr(centered.mT)
        w, s, v = torch.linalg.svd(r, full_matrices=False)
        u, v = (q @ w).mT, v.mT
    kept = s > RANK * s.amax() if len(s) else s > 0
    return _Decomposed(mean, u[kept], s[kept], v[:, kept])


def _coefficients(parts: _Decomposed, by_basis: Tensor, constant: Tensor) -> Tensor:
    """Return coefficients of the columns, given those of s_j u_j and the mean."""
    coef = parts.v @ by_basis
    return torch.cat([(constant - parts.mean @ coef)[None], coef])


def _squared(
    parts: _Decomposed, y: Tensor, weights: Tensor, ridges: Sequence[float]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield coefficients, and predictions of each row by a fit without it."""
    root = weights.sqrt()
    mean = y @ weights
    targets = (y - mean[:, None]) * root
    inner = parts.u @ targets.mT
    squares = parts.s.square()
    # Residual and 1 - leverage without a ridge; both are 0 if a row determines its own prediction.
    beyond, free = targets - inner.mT @ parts.u, 1 - weights - parts.u.square().sum(0)
    own = free < LEAST_FREE
    beyond, free = torch.where(own, 0, beyond), torch.where(own, 0, free)
    for ridge in ridges:
        # For a ridge of 0, predictions are those of the smallest ridge.
        penalty = max(ridge, RIDGES[-1]) * (squares.amax() if len(squares) else 0)
        left = penalty / (squares + penalty)
        by_u = (
            (squares / (squares + ridge * squares.amax()))[:, None] * inner
            if len(squares)
            else inner
        )
        residual = (beyond + (left[:, None] * inner).mT @ parts.u) / root
        gap = residual / (free + left @ parts.u.square())
        yield _coefficients(parts, by_u / parts.s[:, None], mean), y - gap


def _iterated(
    parts: _Decomposed, y: Tensor, weights: Tensor, loss: Loss, ridges: Sequence[float]
) -> Iterator[Tensor]:
    """Yield coefficients for any loss; each ridge starts from the solution of the last one."""
    basis = parts.s[:, None] * parts.u / weights.sqrt()  # (rank, n_samples), uncorrelated
    by_basis, constant = y.new_zeros(len(parts.s), len(y)), y.new_zeros(len(y))
    largest = parts.s.square().amax() if len(parts.s) else y.new_zeros(())
    unit = loss.unit(y)

    def cost_of(by_basis: Tensor, constant: Tensor) -> float:
        raw = by_basis.mT @ basis + constant[:, None]
        norm = float(penalty * by_basis.square().sum()) / len(y)
        return mean_loss(loss, raw, y, weights) + norm

    for ridge in ridges:
        penalty = ridge * largest
        cost = cost_of(by_basis, constant)
        for _ in range(MAX_ITER):
            raw = by_basis.mT @ basis + constant[:, None]
            residual, curvature = loss.working(raw, y, loss.scale(raw, y, weights))
            row_weights = weights * (curvature / unit).expand_as(raw)
            wanted = _weighted(basis, raw - residual, row_weights, penalty)
            step = wanted[0] - by_basis, wanted[1] - constant
            for halving in range(HALVINGS):
                length = 0.5**halving
                trial = by_basis + length * step[0], constant + length * step[1]
                now = cost_of(*trial)
                if now < cost:
                    break
            if not now < cost:
                break
            (by_basis, constant), fell, cost = trial, cost - now, now
            if fell < TOL * cost:
                break
        yield _coefficients(parts, by_basis, constant)


def _weighted(
    basis: Tensor, target: Tensor, weights: Tensor, penalty: Tensor
) -> tuple[Tensor, Tensor]:
    """Return coefficients and constants of a weighted least-squares problem of each output."""
    augmented = torch.cat([basis.new_ones(1, basis.shape[1]), basis])
    ridge = torch.cat([penalty.new_zeros(1), penalty.expand(len(basis))])
    solutions = []
    at_a_time = max(1, int(HELD / max(1, augmented.numel())))
    for values, row_weights in zip(target.split(at_a_time), weights.split(at_a_time), strict=True):
        weighted = augmented * row_weights[:, None]  # (n_outputs, 1 + rank, n_samples)
        matrix = weighted @ augmented.mT
        jitter = RANK * matrix.diagonal(dim1=-1, dim2=-2).sum(-1, keepdim=True)
        diagonal = ridge + jitter + torch.finfo(matrix.dtype).tiny
        factor, _ = torch.linalg.cholesky_ex(matrix + torch.diag_embed(diagonal))
        solutions.append(torch.cholesky_solve(weighted @ values[..., None], factor)[..., 0])
    solution = torch.cat(solutions).mT
    return solution[1:], solution[0]


def mean_loss(loss: Loss, raw: Tensor, y: Tensor, weights: Tensor) -> float:
    """Return the mean loss relative to that of the best constant, infinite if it is NaN."""
    values = loss.values(raw, y, loss.scale(raw, y, weights)) / loss.unit(raw)
    mean = float((values @ weights).mean())
    return mean if mean == mean else torch.inf  # NaN
