"""The fit of a linear model, for tables with no fewer features than rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from skrelu._data.torch_interop import threads, to_tensor
from skrelu._fit import tuning
from skrelu._fit.blend import blended, raw_values
from skrelu._fit.fitted import Fitted, Weights
from skrelu._fit.job import Job
from skrelu._fit.plan import Plan
from skrelu._networks.triangle_model import TriangleModel
from skrelu._solvers.progress import Result, Status
from skrelu._solvers.rows import Rows


def fit_linear(job: Job, plan: Plan) -> Fitted:
    """Fit a linear model, with one sub-network whose coefficient is 0."""
    with job.step("linear model") as step:
        fitted = _fit_linear(job, plan)
        step.error = fitted.error
    return fitted


def _fit_linear(job: Job, plan: Plan) -> Fitted:
    rows = job.rows(1, False, len(job.training.X))
    fitted = nothing_fitted(job, plan, rows)
    relu = to_tensor(fitted.relu, rows.X.device)
    fitted = blended(job, fitted, rows, raw_values(fitted.plan.relu, relu, rows))
    error = fitted.error if np.isfinite(fitted.error) else 1.0  # of the best constant
    known, curve = rows.X.new_tensor([error]), [1.0, error]
    assert fitted.pretraining is not None
    result = replace(
        fitted.pretraining, validation_loss=known, loss_curve=curve, validation_curve=curve
    )
    return replace(fitted, error=error, pretraining=result)


def nothing_fitted(job: Job, plan: Plan, rows: Rows | None = None) -> Fitted:
    """Return the best constant, with one sub-network whose coefficient is 0."""
    rows = job.rows(1, False, tuning.WARM_ROWS) if rows is None else rows
    triangles = replace(plan.triangles, n_subnetworks=1, n_free_peaks=None)
    model = TriangleModel(triangles, len(rows.y))
    with threads(0.0):
        inner = triangles.random(1, rows.X, job.generator)
        theta = model.pack(inner, inner.new_zeros(1, 2 + len(rows.X), len(rows.y)), inner[:, :0])
        relu, lowered = model.to_relu(theta)
    plan = plan.by_least_squares(model, relu)
    unknown, nothing = theta.new_full((1,), torch.nan), theta.new_ones(1)
    result = Result(theta, nothing, unknown, nothing, Status.DONE, 1, [1.0])
    weights = Weights(theta, lowered, torch.zeros_like(lowered))
    return job.fitted(plan, weights, np.ones(1), unknown, result, None)
