"""Pretraining: directions, offsets and peaks of the triangle-wave sub-networks."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from skrelu._adam import adam
from skrelu._levenberg_marquardt import levenberg_marquardt
from skrelu._rows import Rows
from skrelu._solvers import Options, Result
from skrelu._triangle_network import TriangleNetwork
from skrelu._variable_projection import SeparableProblem

# Random sub-networks tried for each start before the first step: the best draw costs
# one evaluation and spares the worst local minima.
N_SCREENED = 64


class Pretrained(NamedTuple):
    """A batch of pretrained networks."""

    result: Result  # theta: (n_starts, network.n_parameters)
    coef: Tensor  # (n_starts, 1 + n_features + n_subnetworks, n_outputs)
    variance: Tensor  # (n_starts, 1 + n_features + n_subnetworks), of the columns of Phi


def screened_starts(problem: SeparableProblem, n_starts: int, generator: torch.Generator) -> Tensor:
    """Draw several random networks for each start and keep the one that fits best.

    Returns
    -------
    Tensor of shape (n_starts, n_parameters)
    """
    network = problem.network
    n_draws = max(1, N_SCREENED // network.n_subnetworks)
    theta = network.random(n_starts * n_draws, problem.rows.X, generator)
    if n_draws == 1:
        return theta
    starts = torch.arange(n_starts, device=theta.device)
    cost = problem.evaluate(theta, starts.repeat_interleave(n_draws)).cost
    best = cost.nan_to_num(torch.inf).view(n_starts, n_draws).argmin(1)
    return theta.view(n_starts, n_draws, -1)[starts, best]


def pretrain(
    network: TriangleNetwork, rows: Rows, theta: Tensor | None, alpha: float, options: Options
) -> Pretrained:
    """Fit a batch of triangle-wave networks.

    Levenberg-Marquardt eliminates the coefficients; Adam moves everything.

    Parameters
    ----------
    theta : Tensor of shape (n_starts, network.n_parameters) or None
        Where to start; None draws at random.
    """
    problem = SeparableProblem(network, rows, alpha)
    n_starts = rows.training.shape[0]
    if theta is None:
        theta = screened_starts(problem, n_starts, options.generator)
    everything = torch.arange(n_starts, device=theta.device)
    problem.settle(theta, everything)
    if options.solver == "lm":
        result = levenberg_marquardt(problem, theta, options)
        variance = problem.evaluate(result.theta, everything).state[0]
        return Pretrained(result, result.eliminated, variance)
    first = problem.evaluate(theta, everything)
    coef, variance = first.eliminated, first.state[0]
    model = _WithCoefficients(network, rows.y.shape[0])
    penalty = variance[..., None].expand_as(coef).flatten(1) / len(rows.y)
    penalty = torch.cat([torch.zeros_like(theta), penalty], -1)
    result = adam(model, torch.cat([theta, coef.flatten(1)], -1), rows, alpha, penalty, options)
    result.theta, coef = with_coefficients(network, rows, result)
    return Pretrained(result, coef, variance)


def with_coefficients(
    network: TriangleNetwork, rows: Rows, result: Result
) -> tuple[Tensor, Tensor]:
    """Return parameters and coefficients that a solver has come to."""
    if result.theta.shape[1] == network.n_parameters:
        return result.theta, result.eliminated
    return _WithCoefficients(network, len(rows.y)).split(result.theta)


class _WithCoefficients:
    """A triangle-wave network with its coefficients in the same vector."""

    def __init__(self, network: TriangleNetwork, n_outputs: int) -> None:
        self.network, self.n_outputs = network, n_outputs

    def split(self, both: Tensor) -> tuple[Tensor, Tensor]:
        n = self.network.n_parameters
        return both[..., :n], both[..., n:].unflatten(-1, (-1, self.n_outputs))

    def forward(self, both: Tensor, X: Tensor) -> Tensor:
        theta, coef = self.split(both)
        intercept, linear, weights = coef.split(
            [1, self.network.n_features, self.network.n_subnetworks], -2
        )
        return weights.mT @ self.network.basis(theta, X) + linear.mT @ X + intercept.mT
