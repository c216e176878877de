"""Removal of the parameters that matter least."""

from __future__ import annotations

import torch
from torch import Tensor

from skrelu._networks.plain_network import PlainNetwork
from skrelu._solvers.gram import gram
from skrelu._solvers.rows import Rows

# Rows that the Gauss-Newton matrix sums over, and the ridge on it, in units of its mean diagonal.
MOST_ROWS, RIDGE = 2000, 1e-6


def prune(
    network: PlainNetwork, theta: Tensor, rows: Rows, n_parameters: int
) -> tuple[PlainNetwork, Tensor]:
    """Remove the parameters whose removal costs least by the Gauss-Newton matrix.

    The others move to make up for it ("optimal brain surgeon"), unless that makes the error larger.

    Parameters
    ----------
    theta : Tensor of shape (network.n_parameters,)
    rows : Rows
        With squared errors, and one start.
    n_parameters : int
        Most parameters that are left. Fewer are if some then have no effect.

    References
    ----------
    Hassibi, Stork, Wolff, "Optimal brain surgeon and general network pruning", 1993,
    https://doi.org/10.1109/ICNN.1993.298572
    """
    n_dropped = network.n_parameters - n_parameters
    if n_dropped <= 0:
        return network, theta
    X, root = rows.X[:, : rows.n_trained], rows.training[:, : rows.n_trained].sqrt()
    X, root = X[:, :MOST_ROWS], root[:, None, :MOST_ROWS]
    matrix = torch.zeros(network.n_parameters, network.n_parameters, dtype=theta.dtype)
    for output in range(network.n_outputs):
        one = root.new_zeros(1, network.n_outputs, 1)
        one[0, output] = 1
        matrix += gram(network.jacobian(theta[None], X, one * root))[0]
    matrix.diagonal().add_(RIDGE * matrix.diagonal().mean() + 1e-300)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(matrix))
    dropped = (theta.square() / inverse.diagonal()).argsort()[:n_dropped]
    square = inverse[dropped[:, None], dropped]
    moved = theta - inverse[:, dropped] @ torch.linalg.solve(square, theta[dropped])
    candidates = [network.without(part, dropped) for part in (moved, theta)]
    return min(candidates, key=lambda found: _loss(found[0], found[1], rows))


def _loss(network: PlainNetwork, theta: Tensor, rows: Rows) -> float:
    """Return the training loss, infinity if it is not a number."""
    errors = (network.forward(theta, rows.X) - rows.y).square().mean(-2)
    return float((errors * rows.training[0]).sum().nan_to_num(torch.inf))
