"""Pretraining: directions, offsets, peaks and coefficients of the triangle-wave sub-networks."""

from __future__ import annotations

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


def pretrain(
    model: TriangleModel, rows: Rows, theta: Tensor | None, alpha: float, options: Options
) -> Result:
    """Fit a batch of sums of triangle-wave sub-networks.

    With squared errors and no shape, Levenberg-Marquardt eliminates the coefficients. Otherwise all
    parameters move.

    Parameters
    ----------
    theta : Tensor of shape (n_starts, model.n_parameters) or None
        Starting points. None draws them at random, with coefficients by least squares, or 0 with
        a shape.
    """
    if options.solver == "lm" and _separable(model, rows):
        separable = SeparableProblem(model, rows, alpha)
        theta = _screened(separable, options.generator) if theta is None else theta
        separable.settle(theta, _all(rows))
        return levenberg_marquardt(separable, theta, options)
    if theta is None:
        theta = random_starts(model, rows, alpha, options.generator)
    if options.solver == "lm":
        return levenberg_marquardt(JointProblem(model, rows, alpha), theta, options)
    penalty = coefficient_penalty(model, theta, rows, _all(rows))
    return adam(model, theta, rows, alpha, penalty, options, model.bounds(theta))


def coefficient_variances(model: TriangleModel, theta: Tensor, rows: Rows) -> Tensor:
    """Return the weight of the square of each coefficient in the cost of pretraining.

    Returns
    -------
    Tensor of shape (n_starts, 1 + n_features + n_subnetworks)
    """
    if _separable(model, rows):
        return SeparableProblem(model, rows, 0.0).evaluate(theta, _all(rows)).state[0]
    return column_variances(model, theta, rows, _all(rows))


def _separable(model: TriangleModel, rows: Rows) -> bool:
    return model.shape is None and isinstance(rows.loss, SquaredError)


def _all(rows: Rows) -> Tensor:
    return torch.arange(len(rows.training), device=rows.X.device)


def random_starts(
    model: TriangleModel,
    rows: Rows,
    alpha: float,
    generator: torch.Generator,
    n_screened: int = tuning.N_SCREENED,
) -> Tensor:
    """Draw starting points with coefficients.

    Parameters
    ----------
    n_screened : int
        Number of sub-networks drawn for each start; the network that fits best is kept.
    """
    if model.shape is not None:
        return model.random(len(rows.training), rows.X, generator)
    problem = SeparableProblem(model, working_rows(rows), alpha)
    theta = _screened(problem, generator, n_screened)
    problem.settle(theta, _all(rows))
    return problem.evaluate(theta, _all(rows)).theta


def _screened(
    problem: SeparableProblem, generator: torch.Generator, n_screened: int = tuning.N_SCREENED
) -> Tensor:
    """Draw several random networks for each start, and keep the one with the lowest cost."""
    model, n_starts = problem.model, len(problem.rows.training)
    n_draws = max(1, n_screened // model.n_subnetworks)
    n_draws = max(1, min(n_draws, int(tuning.MOST_SCREENED / (n_starts * problem.n_columns**2))))
    inner = model.triangles.random(n_starts * n_draws, problem.rows.X, generator)
    coef = inner.new_zeros(len(inner), problem.n_columns, model.n_outputs)
    theta = model.pack(inner, coef, inner[:, :0])
    if n_draws == 1:
        return theta
    starts = _all(problem.rows)
    cost = problem.evaluate(theta, starts.repeat_interleave(n_draws)).cost
    best = cost.nan_to_num(torch.inf).view(n_starts, n_draws).argmin(1)
    return theta.view(n_starts, n_draws, -1)[starts, best]
