"""Refinement: training of all weights of the lowered network.

This stage starts from the pretrained network, lowered exactly, so the loss does not change at this
switch. If the later peaks are 1/2, it begins in the limit of infinite depth (`refine_in_limit`) and
ends with all layers released. The ridge of pretraining is spread over the output weights, so that
it does not change at a switch either.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from skrelu._fit import tuning
from skrelu._networks.parabolic_network import ParabolicNetwork
from skrelu._networks.relu_network import ReLUNetwork
from skrelu._solvers.adam import adam
from skrelu._solvers.levenberg_marquardt import levenberg_marquardt
from skrelu._solvers.progress import Options, Result
from skrelu._solvers.regression import LossProblem
from skrelu._solvers.rows import Rows


class Limit(NamedTuple):
    """How fits in the limit of infinite depth are made."""

    max_iter: int  # of each of them
    # Branches of each start, with different random neurons. The one that fits best after a few
    # iterations at full depth is kept.
    n_branches: int = 1


def released_penalty(network: ReLUNetwork, theta: Tensor, coef: Tensor, variance: Tensor) -> Tensor:
    """Return the penalty on the weights of a lowered network that is the ridge on coefficients.

    Parameters
    ----------
    theta : Tensor of shape (n_starts, network.n_parameters)
    coef : Tensor of shape (n_starts, 1 + n_features + n_subnetworks, n_outputs)
    variance : Tensor of shape (n_starts, 1 + n_features + n_subnetworks)
        Weight of the square of each coefficient, averaged over the outputs.

    Returns
    -------
    Tensor of shape (n_starts, network.n_parameters)
    """
    variance = variance / network.n_outputs
    _, linear, subnetworks = variance.split([1, network.n_features, network.n_subnetworks], -1)
    squares = coef[..., -network.n_subnetworks :, :].square().sum(-1)
    return spread_penalty(network, theta, squares * subnetworks, linear)


def spread_penalty(network: ReLUNetwork, theta: Tensor, sizes: Tensor, linear: Tensor) -> Tensor:
    """Return the penalty that spreads the ridge of each sub-network over its output weights.

    Parameters
    ----------
    sizes : Tensor of shape (n_starts, n_subnetworks)
        Ridge of each sub-network at theta, a weighted sum of squares.
    linear : Tensor of shape (n_starts, n_features)
        Weights of the squares of the linear part.
    """
    weights = network.unpack(theta)
    released = weights.output.square().sum((-1, -2))
    each = torch.where(released > 0, sizes / released, 0)
    zeros = network.unpack(torch.zeros_like(theta))
    return network.pack(
        zeros._replace(
            output=each[..., None, None].expand_as(weights.output),
            linear=linear[..., None].expand_as(weights.linear),
        )
    )


def refine(
    network: ReLUNetwork,
    theta: Tensor,
    rows: Rows,
    alpha: float,
    penalty: Tensor,
    options: Options,
) -> Result:
    """Fit all weights of a batch of ReLU networks.

    Parameters
    ----------
    theta : Tensor of shape (n_starts, network.n_parameters)
        Starting points.
    penalty : Tensor of shape (n_starts, network.n_parameters)
        See `released_penalty`.
    """
    if options.solver == "adam":
        return adam(network, theta, rows, alpha, penalty, options)
    return levenberg_marquardt(LossProblem(network, rows, alpha, penalty), theta, options)


def refine_in_limit(
    network: ParabolicNetwork,
    theta: Tensor,
    depth: int,
    rows: Rows,
    alpha: float,
    penalty: Tensor,
    options: Options,
    limit: Limit,
) -> tuple[Result, Tensor, Tensor]:
    """Fit the first layers with the limit of the later ones, then unfold the later layers.

    Parameters
    ----------
    theta : Tensor of shape (n_starts, network.n_parameters)
        Starting points.
    depth : int
        Number of hidden layers to end with.
    penalty : Tensor of shape (n_starts, network.relu.n_parameters)
        See `released_penalty`.
    options : Options
        ``max_iter`` includes the iterations of the refinement that follows.
    limit : Limit

    Returns
    -------
    result : Result
        Of the last fit, with the iterations of all.
    theta, penalty : Tensor of shape (n_starts, n_parameters)
        Of the `ReLUNetwork` of this depth, to refine further.
    """
    deepest = max(network.relu.depth, depth - tuning.UNFOLDED_LAYERS)
    n_fits = deepest - network.relu.depth + 1
    in_limit = replace(options, max_iter=limit.max_iter)
    n_branches = limit.n_branches
    afterwards = replace(options, max_iter=min(tuning.BRANCH_ITER, options.max_iter // 4))
    X, generator = rows.X, options.generator
    rows = rows.repeated(n_branches)
    theta, penalty = (part.repeat_interleave(n_branches, 0) for part in (theta, penalty))
    theta = network.revive(theta, X, generator)
    sizes = ridges_of(network.relu, without_parabolas(network, theta), penalty)
    result: Result | None = None
    for _ in range(n_fits):
        if result is not None:
            neuron = network.random_neurons(theta, X, 1, generator)
            network, theta = network.deepen(theta, X, neuron)
        penalty = spread_penalty(network.relu, without_parabolas(network, theta), *sizes)
        n_tail = network.n_parameters - network.relu.n_parameters
        problem = LossProblem(network, rows, alpha, torch.nn.functional.pad(penalty, (0, n_tail)))
        result = levenberg_marquardt(problem, theta, in_limit).after(result)
        theta = result.theta
        sizes = ridges_of(network.relu, without_parabolas(network, theta), penalty)
        if result.interrupted:
            break
    assert result is not None
    relu, theta = network.unfold(theta, X, depth)
    penalty = spread_penalty(relu, theta, *sizes)
    if n_branches == 1 or result.interrupted:
        return result, theta, penalty
    result = refine(relu, theta, rows, alpha, penalty, afterwards).after(result)
    best = best_branches(result, n_branches)
    return result.take(best), result.theta[best], penalty[best]


def best_branches(result: Result, n_branches: int) -> Tensor:
    """Return the indices of the best branch of each start."""
    best = result.watched.nan_to_num(torch.inf).view(-1, n_branches).argmin(1)
    return best + n_branches * torch.arange(len(best), device=best.device)


def without_parabolas(network: ParabolicNetwork, theta: Tensor) -> Tensor:
    """Return the weights of the ReLU part of a network in the limit."""
    return theta[:, : network.relu.n_parameters]


def ridges_of(network: ReLUNetwork, theta: Tensor, penalty: Tensor) -> tuple[Tensor, Tensor]:
    """Return the ridge of each sub-network, and the penalty on the linear part."""
    weights, penalties = network.unpack(theta), network.unpack(penalty)
    return (penalties.output * weights.output**2).sum((-1, -2)), penalties.linear[..., 0]
