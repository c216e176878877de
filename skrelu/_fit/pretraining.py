"""Pretraining: directions, offsets and peaks of the triangle-wave sub-networks."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from skrelu._fit import tuning
from skrelu._networks.triangle_model import TriangleModel
from skrelu._solvers.adam import adam
from skrelu._solvers.joint import JointProblem, coefficient_penalty, column_variances, working_rows
from skrelu._solvers.levenberg_marquardt import levenberg_marquardt
from skrelu._solvers.losses import SquaredError
from skrelu._solvers.progress import Options, Result
from skrelu._solvers.rows import Rows
from skrelu._solvers.variable_projection import SeparableProblem


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
    n_draws = max(1, tuning.N_SCREENED // network.n_subnetworks)
    n_draws = max(1, min(n_draws, int(tuning.MOST_SCREENED / (n_starts * problem.n_columns**2))))
    theta = network.random(n_starts * n_draws, problem.rows.X, generator)
    if n_draws == 1:
        return theta
    starts = torch.arange(n_starts, device=theta.device)
    cost = problem.evaluate(theta, starts.repeat_interleave(n_draws)).cost
    best = cost.nan_to_num(torch.inf).view(n_starts, n_draws).argmin(1)
    return theta.view(n_starts, n_draws, -1)[starts, best]


def pretrain(
    model: TriangleModel,
    rows: Rows,
    theta: Tensor | None,
    alpha: float,
    options: Options,
    coef: Tensor | None = None,
    dtype: torch.dtype | None = None,
) -> Pretrained:
    """Fit a batch of sums of triangle-wave sub-networks.

    Levenberg-Marquardt eliminates the coefficients from squared errors; else everything moves.

    Parameters
    ----------
    theta : Tensor of shape (n_starts, model.wave_network.n_parameters) or None
        Where to start; None draws at random.
    coef : Tensor of shape (n_starts, 1 + n_features + model.wave_network.n_subnetworks, n_outputs)
        Coefficients to start with, if they are not eliminated. By default they are those of least
        squares, or 0 where there is a shape.
    dtype : torch.dtype, optional
        Precision of the outcome, by default that of the rows. Slopes of steep waves that
        cancel in a model with a shape want the highest.
    """
    starts = torch.arange(len(rows.training), device=rows.X.device)
    if options.solver == "lm" and model.shape is None and isinstance(rows.loss, SquaredError):
        problem = SeparableProblem(model.triangles, rows, alpha)
        if theta is None:
            theta = screened_starts(problem, len(starts), options.generator)
        problem.settle(theta, starts)
        result = levenberg_marquardt(problem, theta, options)
        variance = problem.evaluate(result.theta, starts).state[0]
        result = result.to(dtype or theta.dtype)
        return Pretrained(result, result.eliminated, variance.to(result.theta))
    if theta is None or coef is None:
        point = _first(model, rows, theta, alpha, options.generator)
    else:
        point = model.restored(theta, coef)
    bounds = None if model.shape is None else model.bounds(point)
    if options.solver == "lm":
        result = levenberg_marquardt(JointProblem(model, rows, alpha), point, options, bounds)
    else:
        penalty = coefficient_penalty(model, point, rows, starts)
        result = adam(model, point, rows, alpha, penalty, options, bounds)
    plain = TriangleModel(model.wave_network, model.n_outputs)
    rows, result = rows.to(dtype or rows.X.dtype), result.to(dtype or rows.X.dtype)
    result.theta, coef = model.waves(result.theta)
    point = plain.pack(result.theta, coef, result.theta[:, :0])
    return Pretrained(result, coef, column_variances(plain, point, rows, starts))


def _first(
    model: TriangleModel,
    rows: Rows,
    theta: Tensor | None,
    alpha: float,
    generator: torch.Generator,
) -> Tensor:
    """Return points to start from, with coefficients."""
    n_starts = len(rows.training)
    starts = torch.arange(n_starts, device=rows.X.device)
    if model.shape is not None:
        if theta is None:
            return model.random(n_starts, rows.X, generator)
        n_coef = 1 + model.wave_network.n_features + model.wave_network.n_subnetworks
        return model.restored(theta, theta.new_zeros(n_starts, n_coef, model.n_outputs))
    problem = SeparableProblem(model.triangles, working_rows(rows), alpha)
    if theta is None:
        theta = screened_starts(problem, n_starts, generator)
    problem.settle(theta, starts)
    return model.pack(theta, problem.evaluate(theta, starts).eliminated, theta[:, :0])


def with_coefficients(model: TriangleModel, result: Result) -> tuple[Tensor, Tensor]:
    """Return parameters of the waves and coefficients that a solver has come to."""
    if result.theta.shape[1] == model.n_parameters:
        return model.waves(result.theta)
    return result.theta, result.eliminated
