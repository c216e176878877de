r"""The posterior of a network's parameters: a gaussian around those that were fitted.

With the columns J of the network's tangent (`skrelu._networks.members.tangent`), noise of
precision :math:`\tau` and weights of precisions :math:`\lambda`, the covariance of the parameters
is :math:`H^{-1}`, :math:`H = \tau J J' + \mathrm{diag}(\lambda)` (MacKay 1992, "A practical
Bayesian framework for backpropagation networks", https://doi.org/10.1162/neco.1992.4.3.448). The
variance of the output is :math:`J(x)' H^{-1} J(x)`. A row affects its own prediction by the
leverage :math:`h_i = \tau w_i J_i' H^{-1} J_i`, so a fit without the row leaves about
:math:`r_i / (1 - h_i)` of its residual.
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
# Largest leverage: rows of higher ones determine their own predictions.
MOST_LEVERAGE = 0.99


class Posterior(NamedTuple):
    """The posterior of one network.

    ``root`` is lower triangular, and root' root is the covariance of the parameters.
    """

    root: Tensor  # (n_columns, n_columns)
    precision: Tensor  # (), of the noise


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
    hessian = tau * gram + torch.diag(precisions.of_weights[0] @ precisions.groups)
    eye = torch.eye(len(hessian)).to(hessian)
    size = hessian.diagonal().mean()
    for jitter in JITTERS:
        factor, info = torch.linalg.cholesky_ex(hessian + jitter * size * eye)
        if not info:
            break
    return Posterior(torch.linalg.solve_triangular(factor, eye, upper=False), tau)


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


def packed(root: Tensor) -> Tensor:
    """Return the lower triangle as a vector."""
    return root[*torch.tril_indices(len(root), len(root))]


def unpacked(triangle: Tensor) -> Tensor:
    """Return the lower triangular matrix of a vector: the inverse of `packed`."""
    n = math.isqrt(2 * len(triangle))
    root = triangle.new_zeros(n, n)
    root[*torch.tril_indices(n, n)] = triangle
    return root
