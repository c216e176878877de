r"""The posterior of a network's parameters: a gaussian around those that were fitted.

With the columns J of the network's tangent (`skrelu._networks.members.tangent`), noise of
precision :math:`\tau` and weights of precisions :math:`\lambda`, the covariance of the parameters
is :math:`H^{-1}`, :math:`H = \tau J J' + \mathrm{diag}(\lambda)` (MacKay 1992, "A practical
Bayesian framework for backpropagation networks", https://doi.org/10.1162/neco.1992.4.3.448). The
variance of the output is :math:`J(x)' H^{-1} J(x)`. A row affects its own prediction by the
leverage :math:`h_i = \tau w_i J_i' H^{-1} J_i`, so a fit without the row leaves about
:math:`r_i / (1 - h_i)` of its residual.

Where rows are no more than columns, residuals and :math:`1 - h_i` may vanish together. There the
same follows from the covariance :math:`K = J' \mathrm{diag}(\lambda)^{-1} J + \mathrm{diag}(1 /
\tau w)` of the targets t: without the row its error is :math:`(K^{-1} t)_i / (K^{-1})_{ii}`, and
its variance :math:`1 / (K^{-1})_{ii}` (Rasmussen and Williams 2006, "Gaussian processes for machine
learning", section 5.4.2, https://gaussianprocess.org/gpml).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from skrelu._solvers.evidence import Precisions

# Steps towards the largest evidence: precisions of the noise changed by 1 % in the last of them.
N_STEPS = 10
# Added to the diagonal of H, relative to its mean, against rounding: the first one that suffices.
JITTERS = (1e-15, 1e-12, 1e-9, 1e-6)
# Largest leverage, if it is what is subtracted from 1.
MOST_LEVERAGE = 0.99
# Least weight of a row, whose noise is finite.
LEAST_WEIGHT = 1e-9


class Posterior(NamedTuple):
    """The posterior of one network.

    ``root`` is lower triangular, and root' root is the covariance of the parameters.
    """

    root: Tensor  # (n_columns, n_columns)
    precision: Tensor  # (), of the noise
    penalties: Tensor  # (n_columns,), precisions of the parameters; 0 without penalty


def posterior(
    columns: Callable[[slice], Tensor],
    chunks: list[slice],
    weights: Tensor,
    squares: Tensor,
    theta: Tensor,
    groups: Tensor,
) -> Posterior:
    """Return the posterior at fitted parameters, with precisions estimated from the data.

    Parameters
    ----------
    columns : callable
        Returns the columns of some rows, (n_outputs, n_columns, n_rows).
    chunks : list of slice
        Of all rows, small enough for memory.
    weights : Tensor of shape (n_outputs, n_samples)
        Weights of the rows, times the curvatures of their losses. They sum to the number of rows.
    squares : Tensor of shape ()
        Mean square of the residuals.
    theta : Tensor of shape (n_columns,)
    groups : Tensor of shape (n_groups, n_columns)
        1 where a parameter belongs to a group of one precision; others have no penalty.
    """
    gram = torch.zeros(len(theta), len(theta)).to(theta)
    for chunk in chunks:
        gram += _gram(columns(chunk), weights[:, chunk])
    precisions = Precisions(groups.to(theta), weights.sum()[None])
    precisions.of_noise = 1 / squares.clamp_min(1e-30)[None]
    for _ in range(N_STEPS):
        precisions.estimate(gram[None], theta[None], squares[None], torch.arange(1))
    tau = precisions.of_noise[0]
    penalties = precisions.of_weights[0] @ precisions.groups
    if weights.numel() > len(theta):
        return Posterior(_inverse_root(tau * gram + torch.diag(penalties)), tau, penalties)
    parts = [columns(c) * weights[:, c].sqrt()[:, None] for c in chunks]
    rows = torch.cat([part.transpose(0, 1).flatten(1) for part in parts], 1)
    return of_few_rows(rows, tau, penalties)


def of_few_rows(rows: Tensor, precision: Tensor, penalties: Tensor) -> Posterior:
    """Return the posterior with known precisions, for few rows or precise ones.

    Rounding errors of tau J J' may exceed the penalties, on which so much depends here.

    Parameters
    ----------
    rows : Tensor of shape (n_columns, n_rows)
        Columns times the square roots of the weights of the rows.
    precision : Tensor of shape ()
        Of the noise.
    penalties : Tensor of shape (n_columns,)
    """
    both = torch.cat([precision.sqrt() * rows.mT, torch.diag(penalties.sqrt())])
    triangle, eye = torch.linalg.qr(both)[1], torch.eye(len(rows)).to(rows)
    root = torch.linalg.solve_triangular(triangle.mT, eye, upper=False)
    return Posterior(root, precision, penalties)


def _inverse_root(matrix: Tensor) -> Tensor:
    """Return a lower triangular R so that R' R is the inverse of a positive definite matrix."""
    eye = torch.eye(len(matrix)).to(matrix)
    size = matrix.diagonal().mean()
    for jitter in JITTERS:
        factor, info = torch.linalg.cholesky_ex(matrix + jitter * size * eye)
        if not info:
            break
    return torch.linalg.solve_triangular(factor, eye, upper=False)


def _gram(columns: Tensor, weights: Tensor) -> Tensor:
    weighted = columns * weights[:, None].sqrt()
    return (weighted @ weighted.mT).sum(0)


def variances(root: Tensor, columns: Tensor) -> Tensor:
    """Return the variances of the outputs.

    Parameters
    ----------
    root : Tensor of shape (n_columns, n_columns)
    columns : Tensor of shape (n_outputs, n_columns, n_samples)

    Returns
    -------
    Tensor of shape (n_outputs, n_samples)
    """
    return (root @ columns).square().sum(-2)


def each_left_out(
    found: Posterior, columns: Tensor, targets: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor]:
    """Return what all other rows predict of each row of a linear model, and how sure they are.

    Parameters
    ----------
    found : Posterior
    columns : Tensor of shape (n_columns, n_samples)
    targets : Tensor of shape (n_outputs, n_samples)
    weights : Tensor of shape (n_samples,)

    Returns
    -------
    predictions : Tensor of shape (n_outputs, n_samples)
    variances : Tensor of shape (n_samples,)
        Of the model, without the noise.
    """
    noise = 1 / (found.precision * weights.clamp_min(LEAST_WEIGHT))
    free = found.penalties == 0
    half = columns[~free] / found.penalties[~free].sqrt()[:, None]
    root = _inverse_root(half.mT @ half + torch.diag(noise))
    basis, _ = torch.linalg.qr(root @ columns[free].mT)
    root = root - basis @ (basis.mT @ root)  # whatever the parameters without penalty are
    diagonal = root.square().sum(0)
    errors = (root @ targets.mT).mT @ root / diagonal
    return targets - errors, (1 / diagonal - noise).clamp_min(0)


def packed(root: Tensor) -> Tensor:
    """Return the lower triangle as a vector."""
    return root[*torch.tril_indices(len(root), len(root))]


def unpacked(triangle: Tensor) -> Tensor:
    """Return the lower triangular matrix of a vector: the inverse of `packed`."""
    n = math.isqrt(2 * len(triangle))
    root = triangle.new_zeros(n, n)
    root[*torch.tril_indices(n, n)] = triangle
    return root
