"""The fit of triangle waves with windows side by side, for one feature or two.

Only the coefficients are fitted, so that the best of many sizes is found fast. Such a model follows
many periods, jumps and corners, which few sub-networks with free directions cannot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from skrelu._data.torch_interop import threads
from skrelu._fit import tuning
from skrelu._fit.blend import base_weights, blended, quantile_shift, raw_values
from skrelu._fit.fitted import Fitted, Weights
from skrelu._fit.job import Job
from skrelu._fit.plan import Plan
from skrelu._networks.triangle_model import TriangleModel
from skrelu._networks.triangle_network import TriangleNetwork
from skrelu._networks.windows import LINEAR, windows_side_by_side
from skrelu._solvers.losses import SQUARED_ERROR, Pinball, SquaredError
from skrelu._solvers.progress import Result, Status
from skrelu._solvers.ridge import RidgeFit, fit_ridge
from skrelu._solvers.rows import Rows


def fit_windows(job: Job, plan: Plan) -> Fitted | None:
    """Fit windows side by side; None with too few rows or too many features."""
    with job.step("windows side by side") as step:
        fitted = _fit_windows(job, plan)
        step.done = fitted is not None
        step.error = None if fitted is None else fitted.error
    return fitted


def _fit_windows(job: Job, plan: Plan) -> Fitted | None:
    rows = job.rows(1, False, tuning.WINDOW_ROWS)
    varying = bool((rows.X.amax(1) > rows.X.amin(1)).all())
    if (
        len(rows.X) not in tuning.WINDOW_SIZES
        or not varying
        or rows.n_trained < tuning.WINDOW_FEWEST_ROWS
    ):
        return None
    with threads(0.0):
        quantiles = isinstance(rows.loss, Pinball)
        found = _quantiles(rows, plan) if quantiles else _best_size(rows, plan)
        if found is not None and job.ridge_factor != 1:
            dictionary, fit = found
            found = dictionary, dictionary.fit(rows, [fit.ridge * job.ridge_factor])
    if found is None:
        return None
    dictionary, fit = found
    model = TriangleModel(dictionary.triangles, len(rows.y))
    inner, coef = dictionary.theta[None], dictionary.coef(fit)[None]
    theta = model.pack(inner, coef, inner[:, :0])
    relu, lowered = model.to_relu(theta)
    plan = plan.by_least_squares(model, relu)
    error, curve = theta.new_tensor([fit.loss]), [1.0, fit.loss]
    result = Result(theta, error, error, error, Status.DONE, 1, curve, curve)
    weights = Weights(theta, lowered, torch.zeros_like(lowered))
    fitted = job.fitted(plan, weights, np.ones(1), error, result, None)
    left_out = fit.left_out if rows.validation is None else None
    return blended(job, fitted, rows, raw_values(relu, lowered, rows), left_out)


@dataclass(frozen=True)
class _Dictionary:
    """Windows side by side as columns of a linear model."""

    triangles: TriangleNetwork
    theta: Tensor  # (triangles.n_parameters,)
    factors: Tensor  # (n_features + n_subnetworks,), of the columns

    @classmethod
    def of(cls, X: Tensor, depth: int, n_directions: int, n_windows: int) -> _Dictionary:
        directions, offsets, widths = windows_side_by_side(X, n_directions, n_windows)
        triangles = TriangleNetwork(len(X), len(directions), depth)
        peaks = X.new_full((len(directions), depth + 1), 0.5)
        theta = triangles.pack(directions, offsets, peaks, peaks[:, :depth])
        factors = widths**1.5
        largest = (factors[:, None] * triangles.basis(theta, X)).abs().amax()
        return cls(triangles, theta, torch.cat([(LINEAR * largest).expand(len(X)), factors]))

    def columns(self, X: Tensor) -> Tensor:
        return self.factors[:, None] * torch.cat([X, self.triangles.basis(self.theta, X)])

    def coef(self, fit: RidgeFit) -> Tensor:
        """Return the coefficients of [1, x, F]."""
        return torch.cat([fit.coef[:1], self.factors[:, None] * fit.coef[1:]])

    def fit(self, rows: Rows, ridges: Sequence[float] | None = None) -> RidgeFit:
        """Fit the coefficients, with the ridge chosen by held-out or else by left-out rows."""
        n, other = rows.n_trained, None
        if rows.validation is not None:
            held_out = slice(n, None)
            other = self.columns(rows.X[:, held_out]), rows.y[:, held_out], rows.validation[0, n:]
        columns, weights = self.columns(rows.X[:, :n]), base_weights(rows)
        return fit_ridge(columns, rows.y[:, :n], weights, rows.loss, other, ridges)


def _best_size(rows: Rows, plan: Plan) -> tuple[_Dictionary, RidgeFit] | None:
    """Return the windows with the number that left-out rows choose, and their fit."""
    squared, n = isinstance(rows.loss, SquaredError), rows.n_trained
    most_work = (
        tuning.COUPLED_WINDOW_WORK / len(rows.y) ** 2 if rows.loss.coupled else tuning.WINDOW_WORK
    )
    best: tuple[_Dictionary, RidgeFit] | None = None
    sizes = tuning.WINDOW_SIZES[len(rows.X)]
    for n_directions, n_windows in sizes:
        size = n_directions * n_windows
        most = max(n, sizes[0][0] * sizes[0][1]) if squared else tuning.ITERATED_WINDOWS
        if size > most or n * size**2 > most_work:
            break
        X = rows.X[:, :n]
        dictionary = _Dictionary.of(X, plan.triangles.depth, n_directions, n_windows)
        fit = dictionary.fit(rows, None if squared else tuning.WINDOW_RIDGES)
        if best is None or fit.loss < (1 - tuning.WINDOW_GAIN) * best[1].loss:
            best = dictionary, fit
        if best[1].loss < tuning.WINDOW_EXACT:
            break
    return best


def _quantiles(rows: Rows, plan: Plan) -> tuple[_Dictionary, RidgeFit] | None:
    """Fit quantiles, with the number of windows, and about the ridge, that suit the mean.

    Left-out rows choose the ridge and calibrate the quantiles.
    """
    assert isinstance(rows.loss, Pinball)
    low, high = (rows.y.quantile(q, 1, keepdim=True) for q in tuning.QUANTILE_CLIP)
    best = _best_size(replace(rows, y=rows.y.clamp(low, high), loss=SQUARED_ERROR), plan)
    if best is None or best[1].loss > 1:
        return None
    dictionary, n = best[0], rows.n_trained
    fit = dictionary.fit(rows, [factor * best[1].ridge for factor in tuning.QUANTILE_RIDGES])
    if rows.validation is None:
        residual = rows.y[:, :n] - fit.left_out
        fit.coef[0] += quantile_shift(rows.loss, residual, base_weights(rows))
    return dictionary, fit
