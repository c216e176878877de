"""Deep networks grow: each is fitted from shallower ones, and never fits worse than they do.

In the limit of infinite depth one layer after the other is added and fitted. From some depth on,
the limit is also unfolded to a network of each depth, and refined. It replaces the shallower
network, to which a layer is appended that copies the last one, only if its loss is lower. Nothing
on the way depends on the depth to end with, so a deeper network has been all shallower ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from skrelu._fit import tuning
from skrelu._fit.refinement import (
    best_branches,
    refine,
    ridges_of,
    spread_penalty,
    without_parabolas,
)
from skrelu._networks.parabolic_network import ParabolicNetwork
from skrelu._networks.relu_network import ReLUNetwork
from skrelu._solvers.levenberg_marquardt import levenberg_marquardt
from skrelu._solvers.progress import Options, Result
from skrelu._solvers.regression import LossProblem
from skrelu._solvers.rows import Rows

# Added to the unit diagonals of products of derivatives, which are nearly singular.
JITTER = 1e-9


class _Limit(NamedTuple):
    """A fit in the limit."""

    network: ParabolicNetwork
    theta: Tensor  # (n_starts, network.n_parameters)
    penalty: Tensor  # (n_starts, network.relu.n_parameters)


class _Grown(NamedTuple):
    """The best networks of each start so far."""

    network: ReLUNetwork
    theta: Tensor  # (n_starts, network.n_parameters)
    penalty: Tensor  # (n_starts, network.n_parameters)
    n_regions: Tensor  # (n_starts,), by the folds
    loss: Tensor  # (n_starts,), on all rows, as the other two
    validation_loss: Tensor  # (n_starts,)
    error: Tensor  # (n_starts,)


def refine_growing(
    network: ParabolicNetwork,
    theta: Tensor,
    depth: int,
    rows: Rows,
    alpha: float,
    penalty: Tensor,
    options: Options,
    n_branches: int,
) -> tuple[Result, Tensor]:
    """Fit networks in the limit, layer by layer, and unfold and refine them on the way.

    Parameters
    ----------
    theta : Tensor of shape (n_starts, network.n_parameters)
        Starting points.
    depth : int
        Number of hidden layers to end with, at least `tuning.GROWN_FROM`.
    penalty : Tensor of shape (n_starts, network.relu.n_parameters)
        See `released_penalty`.
    options : Options
        ``max_iter`` is not used.
    n_branches : int
        Branches of each start, with different random neurons. The best one is unfolded.

    Returns
    -------
    result : Result
        The weights of the `ReLUNetwork` of this depth, and the iterations of all fits. If it was
        interrupted before there was one, ``theta`` is a point in the limit.
    penalty : Tensor of shape (n_starts, n_parameters)
    """
    few, many = (_some(rows, n, options.generator) for n in tuning.GROWING_ROWS)
    refined = replace(options, max_iter=tuning.GROWN_ITER)
    done: Result | None = None
    best: _Grown | None = None
    limits: list[_Limit] = []
    start = _Limit(network, theta, penalty)
    for fitted, limit in _fits_in_limit(start, depth, few, rows.X, alpha, options, n_branches):
        limits.append(limit)
        done, now = fitted.after(done), limit.network.relu.depth + tuning.UNFOLDED_LAYERS
        if done.interrupted or now < tuning.GROWN_FROM:
            continue
        unfolded = _unfolded(limits, now, rows, alpha)
        better = best is None or bool((_watched(unfolded) < _watched(best)).any())
        best = unfolded if best is None else _lower(best, unfolded)
        if better and many.n_trained >= unfolded.n_regions.max():
            relu, ridge = unfolded.network, unfolded.penalty
            done = refine(relu, unfolded.theta, many, alpha, ridge, refined).after(done)
            found = _judged(relu, done.theta, ridge, unfolded.n_regions, rows, alpha)
            best = _lower(best, found)
        if done.interrupted:
            break
    assert done is not None
    if best is None:
        return done, penalty
    if best.network.depth < depth:
        best = _lower(best, _unfolded(limits, depth, rows, alpha))
    _, theta, penalty, _, loss, validation, error = best
    return replace(done, theta=theta, loss=loss, validation_loss=validation, error=error), penalty


def _fits_in_limit(
    start: _Limit,
    depth: int,
    rows: Rows,
    X: Tensor,
    alpha: float,
    options: Options,
    n_branches: int,
) -> Iterator[tuple[Result, _Limit]]:
    """Yield fits of one layer more each, and the best branches of each start.

    Parameters
    ----------
    X : Tensor of shape (n_features, n_samples)
        All rows, on which an added layer changes nothing.
    """
    network, generator = start.network, options.generator
    rows = rows.repeated(n_branches)
    theta, penalty = (part.repeat_interleave(n_branches, 0) for part in start[1:])
    theta = network.revive(theta, X, generator)
    ridges = ridges_of(network.relu, without_parabolas(network, theta), penalty)
    options = replace(options, max_iter=tuning.LIMIT_ITER)
    last = min(depth, tuning.GROWN_TO) - tuning.UNFOLDED_LAYERS
    for n_layers in range(network.relu.depth, last + 1):
        if n_layers > network.relu.depth:
            neurons = best_neurons(network, theta, rows, generator)
            network, theta = network.deepen(theta, X, neurons)
        penalty = spread_penalty(network.relu, without_parabolas(network, theta), *ridges)
        n_tail = network.n_parameters - network.relu.n_parameters
        problem = LossProblem(network, rows, alpha, torch.nn.functional.pad(penalty, (0, n_tail)))
        fitted = levenberg_marquardt(problem, theta, options)
        theta = fitted.theta
        best = best_branches(fitted, n_branches)
        yield fitted, _Limit(network, theta[best], penalty[best])
        if fitted.interrupted:
            return
        ridges = ridges_of(network.relu, without_parabolas(network, theta), penalty)


def best_neurons(
    network: ParabolicNetwork, theta: Tensor, rows: Rows, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Choose, of random neurons, one that would reduce the loss most in a linearized step.

    Its outgoing weights, in the output and in v, move together with all weights of the network.

    Returns
    -------
    matrix : Tensor of shape (n_starts, n_subnetworks, 1, 4)
    bias : Tensor of shape (n_starts, n_subnetworks, 1)
    """
    X = rows.X[:, : rows.n_trained]
    matrix, bias = network.random_neurons(theta, X, tuning.GROWN_CANDIDATES, generator)
    raw, starts = network.forward(theta, X), torch.arange(len(theta), device=theta.device)
    scale = rows.scale(raw, starts)
    residual, curvature = rows.loss.working(raw, rows.y[:, : rows.n_trained], scale)
    root = (rows.training[:, None, : rows.n_trained] * curvature).sqrt()  # (n_starts, 1, n)
    known = _unit(network.jacobian(theta, X, root))
    more = network.derivatives_of_neurons(theta, X, matrix, bias) * root[:, None, None]
    unit = _unit(more).flatten(1, 3)  # (n_starts, n_subnetworks * n_neurons * 2, n)
    residual = (root * residual).mT
    cross = unit @ known.mT
    factor = torch.linalg.cholesky(_damped(known @ known.mT))
    solved = torch.cholesky_solve(cross.mT, factor)  # (n_starts, n_parameters, ...)
    # What is left of both derivatives of a neuron, and of the residual, beside the known ones.
    right = unit @ residual - solved.mT @ (known @ residual)
    right = right.unflatten(1, (*more.shape[1:3], 2))
    pairs, by_known = (part.unflatten(1, more.shape[1:4]) for part in (unit, cross))
    left = by_known @ solved.mT.unflatten(1, more.shape[1:4]).mT
    gain = right.mT @ torch.linalg.solve(_damped(pairs @ pairs.mT - left), right)
    best = gain[..., 0, 0].nan_to_num(0.0).argmax(-1, keepdim=True)  # (n_starts, n_subnetworks, 1)
    index = best[..., None].expand(*best.shape, matrix.shape[-1])
    return matrix.gather(-2, index), bias.gather(-1, best)


def _unit(rows: Tensor) -> Tensor:
    """Return rows of length 1; those of length 0 stay so."""
    return torch.nn.functional.normalize(rows, dim=-1, eps=torch.finfo(rows.dtype).tiny)


def _damped(matrix: Tensor) -> Tensor:
    return matrix + JITTER * torch.eye(matrix.shape[-1]).to(matrix)


def _some(rows: Rows, n: int, generator: torch.Generator) -> Rows:
    """Return at most n training rows, spread evenly along the first feature, and all others."""
    share = rows.n_trained / n
    places = torch.arange(n) + torch.rand(n, generator=generator, dtype=torch.float64)
    if share <= 1:
        return rows
    places[0], places[-1] = 0, n  # the first and the last row
    order = rows.X[0, : rows.n_trained].argsort(stable=True)
    return rows.part(order[(places * share).long().clamp_max(rows.n_trained - 1).to(order.device)])


def _unfolded(limits: list[_Limit], depth: int, rows: Rows, alpha: float) -> _Grown:
    """Unfold all networks in the limit to a depth, and return the best one of each start."""
    best: _Grown | None = None
    for limit in limits:
        network, fitted, penalty = limit
        ridges = ridges_of(network.relu, without_parabolas(network, fitted), penalty)
        relu, theta = network.unfold(fitted, rows.X, depth)
        penalty = spread_penalty(relu, theta, *ridges)
        n_regions = 2.0**network.relu.depth * 3.0 ** (depth - network.relu.depth)
        found = _judged(
            relu, theta, penalty, theta.new_full(theta.shape[:1], n_regions), rows, alpha
        )
        best = found if best is None else _lower(best, found)
    assert best is not None
    return best


def _judged(
    network: ReLUNetwork,
    theta: Tensor,
    penalty: Tensor,
    n_regions: Tensor,
    rows: Rows,
    alpha: float,
) -> _Grown:
    """Return networks with their losses on all rows."""
    starts = torch.arange(len(theta), device=theta.device)
    at = LossProblem(network, rows, alpha, penalty).evaluate(theta, starts)
    judged = (at.loss, at.validation_loss, at.error)
    return _Grown(network, theta, penalty, n_regions, *judged)


def _watched(grown: _Grown) -> Tensor:
    held_out = not bool(torch.isnan(grown.validation_loss).any())
    return (grown.validation_loss if held_out else grown.loss).nan_to_num(torch.inf)


def _deepened(grown: _Grown, depth: int) -> _Grown:
    """Return networks with layers that copy the last one, which have no penalty."""
    network, theta = grown.network.deepened(grown.theta, depth)
    penalty = grown.network.unpack(grown.penalty)
    none = network.unpack(torch.zeros_like(theta))
    penalty = none._replace(output=penalty.output, linear=penalty.linear)
    return grown._replace(network=network, theta=theta, penalty=network.pack(penalty))


def _lower(grown: _Grown, other: _Grown) -> _Grown:
    """Return the network of each start with the lower loss, as deep as the other one."""
    grown = _deepened(grown, other.network.depth)
    better = _watched(other) < _watched(grown)

    def chosen(new: Tensor, old: Tensor) -> Tensor:
        return torch.where(better.view(-1, *[1] * (new.ndim - 1)), new, old)

    return _Grown(
        other.network, *(chosen(*pair) for pair in zip(other[1:], grown[1:], strict=True))
    )
