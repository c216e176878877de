r"""Models that are linear in given columns, with the ridge under which left-out rows fit best.

The columns :math:`\phi_i` of the rows have weights :math:`w_i` that sum to 1. For squared errors

.. math::   \min_{b, c} \sum_i w_i (y_i - b - c \cdot \phi_i)^2 + \lambda \|c\|^2

is solved for many :math:`\lambda` by one singular value decomposition of the centered columns.
The fit without row i differs from that with it by :math:`h_i r_i / (1 - h_i)` there, h being the
diagonal of the hat matrix (Allen 1974), so that each row is predicted by a fit that has not
seen it. Other losses are met by iterated least squares on their working residuals, of which the
last one gives the same to first order (Rad and Maleki 2020).

References
----------
Allen, "The relationship between variable selection and data augmentation and a method for
prediction", 1974, https://doi.org/10.1080/00401706.1974.10489157

Rad, Maleki, "A scalable estimate of the out-of-sample prediction error via approximate
leave-one-out cross-validation", 2020, https://doi.org/10.1111/rssb.12374
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from skrelu._losses import Loss, SquaredError

# Ridges to try, relative to the largest squared singular value: few for losses that iterate.
RIDGES = tuple(10.0**-k for k in range(-1, 17))
FEW_RIDGES = (10.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-6, 1e-8, 1e-10)
# Singular values below so much of the largest are rounding.
RANK = 1e-13
# Most least-squares problems of other losses, and the fall of the cost that ends them.
MAX_ITER, TOL = 30, 1e-5
# Steps that do not lower the cost are halved so many times.
HALVINGS = 8
# Values of weighted columns to hold at a time.
HELD = 2e7
# Leverages above are rounding: the row determines its own prediction.
MOST_LEVERAGE = 1 - 1e-9


class RidgeFit(NamedTuple):
    """A linear model of all rows, and what fits without each row say of it."""

    coef: Tensor  # (1 + n_columns, n_outputs), the intercept first
    left_out: Tensor  # (n_outputs, n_samples), raw values
    loss: float  # of these, relative to the best constant's
    ridge: float  # relative to the largest squared singular value


class _Decomposed(NamedTuple):
    """The centered columns times the roots of the weights, as s_j v_j u_j'."""

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
) -> RidgeFit:
    """Fit a linear model with the ridge that is best for rows that a fit has not seen.

    Parameters
    ----------
    columns : Tensor of shape (n_columns, n_samples)
    y : Tensor of shape (n_outputs, n_samples)
        In units in which 0 is the best constant.
    weights : Tensor of shape (n_samples,)
        Positive, sum to 1.
    loss : Loss
    other : tuple of Tensor, optional
        Columns, y and weights of rows to choose by, instead of leaving rows out; the fit's
        ``left_out`` are predictions of these then.
    ridges : sequence of float, optional
        To choose from, relative to the largest squared singular value, from large to small.

    Returns
    -------
    RidgeFit
    """
    parts = _decomposed(columns, weights)
    squared = isinstance(loss, SquaredError)
    if ridges is None:
        ridges = RIDGES if squared else FEW_RIDGES
    search = _squared if squared else _iterated
    best: RidgeFit | None = None
    found = search(parts, y, weights, loss, ridges)
    for ridge, (scores, left_out) in zip(ridges, found, strict=True):
        coef = _coefficients(parts, scores)
        judged, targets, shares = left_out, y, weights
        if other is not None:
            judged, targets, shares = coef[1:].mT @ other[0] + coef[0][:, None], *other[1:]
        value = _mean_loss(loss, judged, targets, shares)
        if best is None or value < best.loss:
            best = RidgeFit(coef, judged, value, ridge)
    assert best is not None
    return best


def _decomposed(columns: Tensor, weights: Tensor) -> _Decomposed:
    mean = columns @ weights
    centered = (columns - mean[:, None]) * weights.sqrt()
    n_columns, n_samples = centered.shape
    if n_columns > n_samples:
        v, s, u = torch.linalg.svd(centered, full_matrices=False)
    else:  # of the transpose in two steps, as there may be many more rows
        q, r = torch.linalg.qr(centered.mT)
        w, s, v = torch.linalg.svd(r, full_matrices=False)
        u, v = (q @ w).mT, v.mT
    kept = s > RANK * s.amax() if len(s) else s > 0
    return _Decomposed(mean, u[kept], s[kept], v[:, kept])


def _coefficients(parts: _Decomposed, scores: tuple[Tensor, Tensor]) -> Tensor:
    """Return coefficients of the columns, from those of the u_j and the mean of the rows."""
    by_u, constant = scores
    coef = parts.v @ (by_u / parts.s[:, None])
    return torch.cat([(constant - parts.mean @ coef)[None], coef])


def _squared(parts: _Decomposed, y: Tensor, weights: Tensor, loss: Loss, ridges: Sequence[float]):
    """Yield coefficients of u (rank, n_outputs) with constants, and left-out predictions."""
    root = weights.sqrt()
    mean = y @ weights
    targets = (y - mean[:, None]) * root
    inner = parts.u @ targets.mT
    for ridge in ridges:
        squares = parts.s.square()
        shrink = squares / (squares + ridge * squares.amax()) if len(squares) else squares
        by_u = shrink[:, None] * inner
        residual = (targets - by_u.mT @ parts.u) / root
        leverage = (shrink @ parts.u.square() + weights).clamp_max(MOST_LEVERAGE)
        yield (by_u, mean), y - residual / (1 - leverage)


def _iterated(parts: _Decomposed, y: Tensor, weights: Tensor, loss: Loss, ridges: Sequence[float]):
    """Yield the same for any loss; each ridge begins where the one before it ended."""
    root = weights.sqrt()
    basis = parts.s[:, None] * parts.u / root  # (rank, n_samples), uncorrelated columns
    by_basis, constant = y.new_zeros(len(parts.s), len(y)), y.new_zeros(len(y))
    largest = parts.s.square().amax() if len(parts.s) else y.new_zeros(())
    unit = loss.unit(y)

    def cost_of(by_basis: Tensor, constant: Tensor, penalty: Tensor) -> float:
        raw = by_basis.mT @ basis + constant[:, None]
        norm = float(penalty * by_basis.square().sum()) / len(y)
        return _mean_loss(loss, raw, y, weights) + norm

    for ridge in ridges:
        penalty = ridge * largest
        cost, factors = cost_of(by_basis, constant, penalty), None
        for _ in range(MAX_ITER):
            raw = by_basis.mT @ basis + constant[:, None]
            residual, curvature = loss.working(raw, y, loss.scale(raw, y, weights))
            row_weights = weights * (curvature / unit).expand_as(raw)
            target = raw - residual
            new, factors = _weighted(basis, target, row_weights, penalty)
            # Halve steps that do not lower the cost.
            step = new[0] - by_basis, new[1] - constant
            for halving in range(HALVINGS):
                length = 0.5**halving
                trial = by_basis + length * step[0], constant + length * step[1]
                now = cost_of(*trial, penalty)
                if now < cost:
                    break
            if not now < cost:
                break
            (by_basis, constant), fell, cost = trial, cost - now, now
            if fell < TOL * cost:
                break
        assert factors is not None
        raw = by_basis.mT @ basis + constant[:, None]
        residual, curvature = loss.working(raw, y, loss.scale(raw, y, weights))
        row_weights = weights * (curvature / unit).expand_as(raw)
        augmented = torch.cat([torch.ones_like(basis[:1]), basis])
        halves = torch.linalg.solve_triangular(factors, augmented, upper=False)
        leverage = (row_weights * halves.square().sum(-2)).clamp_max(MOST_LEVERAGE)
        left_out = raw + leverage / (1 - leverage) * residual
        yield (parts.s[:, None] * by_basis, constant), left_out


def _weighted(
    basis: Tensor, target: Tensor, weights: Tensor, penalty: Tensor
) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Solve a least-squares problem for each output; return the Cholesky factors, too."""
    augmented = torch.cat([torch.ones_like(basis[:1]), basis])
    ridge = torch.cat([penalty.new_zeros(1), penalty.expand(len(basis))])
    factors, solutions = [], []
    at_a_time = max(1, int(HELD / augmented.numel()))
    for values, row_weights in zip(target.split(at_a_time), weights.split(at_a_time), strict=True):
        weighted = augmented * row_weights[:, None]  # (n_outputs, 1 + rank, n_samples)
        matrix = weighted @ augmented.mT
        jitter = RANK * matrix.diagonal(dim1=-1, dim2=-2).sum(-1, keepdim=True)
        diagonal = ridge + jitter + torch.finfo(matrix.dtype).tiny
        factor, _ = torch.linalg.cholesky_ex(matrix + torch.diag_embed(diagonal))
        factors.append(factor)
        solutions.append(torch.cholesky_solve(weighted @ values[..., None], factor)[..., 0])
    solution = torch.cat(solutions).mT
    return (solution[1:], solution[0]), torch.cat(factors)


def _mean_loss(loss: Loss, raw: Tensor, y: Tensor, weights: Tensor) -> float:
    values = loss.values(raw, y, loss.scale(raw, y, weights)) / loss.unit(raw)
    mean = float((values @ weights).mean())
    return mean if mean == mean else torch.inf  # NaN
