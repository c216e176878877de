"""Pretraining of all parameters together, for any loss and for functions with a shape.

With losses other than squared errors, or with bounds, linear least squares cannot eliminate the
coefficients. Levenberg-Marquardt then moves them together with the other parameters.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from skrelu._networks.triangle_model import TriangleModel
from skrelu._solvers.losses import SquaredError
from skrelu._solvers.progress import chunk_size
from skrelu._solvers.regression import LossProblem
from skrelu._solvers.rows import Rows
from skrelu._solvers.variable_projection import BEYOND


class JointProblem(LossProblem):
    """The pretraining problem of a batch of starts, with coefficients among the parameters.

    Parameters
    ----------
    model : TriangleModel
    rows : Rows
    alpha : float
        Strength of the ridge on the coefficients, as in `SeparableProblem`.
    """

    def __init__(self, model: TriangleModel, rows: Rows, alpha: float) -> None:
        penalty = rows.X.new_ones(len(rows.training), model.n_parameters)
        super().__init__(model, rows, alpha, penalty, model.bounds(rows.X))
        self.model = model
        first, n_coef, _ = model.sizes
        self.penalized = torch.arange(first, first + n_coef, device=rows.X.device)

    def _penalty(self, theta: Tensor, starts: Tensor) -> Tensor:
        return coefficient_penalty(self.model, theta, self.rows, starts)


def coefficient_penalty(model: TriangleModel, theta: Tensor, rows: Rows, starts: Tensor) -> Tensor:
    """Return the penalty: the weight of the square of each parameter, (n_active, n_parameters)."""
    variance = column_variances(model, theta, rows, starts) / model.n_outputs
    first, _, n_shifts = model.sizes
    return torch.nn.functional.pad(
        variance.repeat_interleave(model.n_outputs, -1), (first, n_shifts)
    )


def column_variances(model: TriangleModel, theta: Tensor, rows: Rows, starts: Tensor) -> Tensor:
    """Return variances of the columns [1, x, B], plus squared changes outside the windows.

    See `BEYOND`.

    Returns
    -------
    Tensor of shape (n_active, 1 + n_features + n_subnetworks)
    """
    left, right = model.triangles.outer_slopes(model.unpack(theta)[0])
    outside = torch.nn.functional.pad(left**2 + right**2, (1 + model.triangles.n_features, 0))
    mean = square = torch.zeros_like(outside)
    size = chunk_size(2 * len(theta) * model.wave_network.n_parameters, theta.dtype)
    for chunk in rows.chunks(size, trained=True):
        weights = rows.training[starts, chunk, None]
        columns = model.columns(theta, rows.X[:, chunk])
        mean = mean + (columns @ weights)[..., 0]
        square = square + (columns.square() @ weights)[..., 0]
    return (square - mean.square()).clamp_min(0) + BEYOND**2 * outside


def working_rows(rows: Rows) -> Rows:
    """Return the rows with squared errors that approximate the loss near raw values of 0."""
    raw, weights = torch.zeros_like(rows.y), rows.training.mean(0)
    residual, curvature = rows.loss.working(raw, rows.y, rows.loss.scale(raw, rows.y, weights))
    noise = rows.loss.noise
    if noise is not None:
        noise *= rows.loss.null[0] / float(curvature.mean())
    return replace(rows, y=-residual, loss=SquaredError(noise=noise))
