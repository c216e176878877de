"""The error bars of a fit: posteriors of its starts, and scores of rows that were left out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from skrelu._data.torch_interop import threads, to_numpy, to_tensor
from skrelu._fit import tuning
from skrelu._fit.blend import base_weights
from skrelu._fit.conformal import scores_of
from skrelu._fit.error_bars import ErrorBars, Predictive
from skrelu._fit.fitted import Fitted
from skrelu._fit.job import Job
from skrelu._networks.composed_network import ComposedNetwork
from skrelu._networks.members import tangent
from skrelu._networks.triangle_model import TriangleModel
from skrelu._solvers.losses import Loss, SquaredError
from skrelu._solvers.posterior import (
    MOST_LEVERAGE,
    Posterior,
    each_left_out,
    packed,
    posterior,
    variances,
)


@dataclass(frozen=True)
class _LeftOut:
    """Rows, and what fits without them predict; samples are the last dimension."""

    X: Tensor
    y: Tensor
    raw: Tensor
    weights: Tensor  # (n_rows,)
    loss: Loss
    apart: bool = True  # whether the rows were held out
    # (n_outputs, n_rows), of the posteriors without the row, if it was fitted
    variance: Tensor | None = None
    optimism: float = 1.0  # factor on errors of rows that have chosen the model


def with_error_bars(job: Job, fitted: Fitted, n_effective: float | None = None) -> Fitted:
    """Return a fit with error bars, unless no rows tell how large they are.

    ``n_effective`` is the effective number of rows that were fitted, if those of the job are a
    sample of them.
    """
    with threads(0.0):
        found = _posteriors(job, fitted, n_effective)
        left = _held_out(job, fitted) if fitted.left_out is not None else None
        if found is not None:
            left = _by_posterior(found, fitted, left)
        if left is None:
            return fitted
        none = np.zeros(len(left.y))
        roots = [] if found is None else [to_numpy(packed(one.root)) for one in found.each]
        weights = to_numpy(left.weights * (1 / left.weights.square().sum()))
        bars = ErrorBars(none, none + 1, roots, none[:, None], weights)
        variance = torch.ones_like(left.y)
        if not left.loss.classes and not left.loss.log_link:
            bars, variance = _calibrated(fitted, bars, left, found)
        scores = scores_of(left.loss, left.raw, left.y, variance, left.optimism)
        if not bool(scores.isfinite().all()) or not np.isfinite(bars.factor).all():
            return fitted  # rounding errors of extreme values
    return replace(fitted, error_bars=replace(bars, scores=to_numpy(scores)))


def left_out_values(job: Job, fitted: Fitted) -> Tensor | None:
    """Return what fits without each training row predict of it, (n_outputs, n_trained).

    NaN of rows that are not left out; None if nothing is known.
    """
    with threads(0.0):
        if fitted.left_out is not None:
            return torch.tensor(fitted.left_out)[:, : len(job.training.X)]
        found = _posteriors(job, fitted, None)
        return None if found is None else _by_posterior(found, fitted, None).raw


def _calibrated(
    fitted: Fitted, bars: ErrorBars, left: _LeftOut, found: _Found | None
) -> tuple[ErrorBars, Tensor]:
    """Return error bars with noise and factor, and the variances of the left-out rows."""
    if left.variance is None:
        model = Predictive(fitted.members, bars).model_variance(left.X)
    else:
        model = fitted.members.spread(left.X) + left.variance
    squares = (left.optimism * (left.y - left.raw)).square()
    mean = squares @ left.weights
    if found is None or fitted.encoded is not None:
        noise = torch.maximum(mean - model @ left.weights, tuning.LEAST_NOISE * mean)
    else:
        noise = found.noise
    variance = (noise[:, None] + model).clamp_min(tuning.NO_VARIANCE)
    factor = (squares / variance) @ left.weights
    bars = replace(bars, noise=to_numpy(noise), factor=to_numpy(factor))
    return bars, (factor[:, None] * variance).clamp_min(tuning.NO_VARIANCE)


def _held_out(job: Job, fitted: Fitted) -> _LeftOut | None:
    """Return rows that starts held out, or that least squares left out once each."""
    rows = fitted.rows
    assert rows is not None
    assert fitted.left_out is not None
    raw = to_tensor(fitted.left_out, rows.y.device)
    known = raw.isfinite().all(0).nonzero()[:, 0]
    known = known[:: -(-len(known) // tuning.SCORED_ROWS) or 1]
    if not len(known):
        return None
    weights = base_weights(rows)
    if rows.n_samples > rows.n_trained and rows.validation is not None:
        weights = torch.cat([weights, rows.validation[0, rows.n_trained :]])
    weights = weights[known]
    if not weights.any():
        return None
    X = rows.X[:, known] if rows.X.shape[1] else job.features(known)  # of all rows
    X, y, raw, weights = (part.cpu() for part in (X, rows.y[:, known], raw[:, known], weights))
    weights = weights / weights.sum()
    stacked = fitted.encoded is not None
    apart = stacked or rows.validation is not None
    chosen = stacked or (apart and fitted.plan.automatic)
    optimism = 1 + chosen * tuning.CHOSEN_OPTIMISM / job.n_effective
    return _LeftOut(X, y, raw, weights, rows.loss, apart, optimism=optimism)


@dataclass(frozen=True)
class _Fitted:
    """Rows that were fitted, with what the average predicts of them."""

    X: Tensor
    y: Tensor
    raw: Tensor  # (n_outputs, n_rows)
    base: Tensor  # (n_rows,), weights that sum to 1
    residual: Tensor  # (n_outputs, n_rows), working residuals
    curvature: Tensor  # (n_outputs, n_rows), times the number of rows that a row stands for
    loss: Loss
    chunks: list[slice]
    balance: Tensor  # (n_outputs,), precisions of the noise of outputs, relative to their mean
    own: float  # part of the rows that a row stands for which it is itself


class _Found(NamedTuple):
    """Posteriors of all starts."""

    each: list[Posterior]
    shares: Tensor  # (n_starts,)
    rows: _Fitted

    @property
    def noise(self) -> Tensor:
        """Variance of the noise of each output, (n_outputs,)."""
        each = torch.stack([1 / one.precision for one in self.each])
        return (self.shares @ each) / self.rows.balance


def _posteriors(job: Job, fitted: Fitted, n_effective: float | None) -> _Found | None:
    """Return the posteriors of starts whose parameters least squares have determined."""
    model = fitted.plan.network
    determined = isinstance(model, ComposedNetwork) or fitted.plan.solver == "ridge"
    if job.settings.loss.coupled or not determined or not fitted.gain.any():
        return None
    if fitted.posterior is not None:
        size = len(fitted.posterior.root)
    elif isinstance(model, TriangleModel):
        size = model.sizes[1] // model.n_outputs
    else:
        size = model.n_parameters
    if size > tuning.MOST_OF_POSTERIOR or not np.isfinite(fitted.pretrained).all():
        return None
    most = max(2 * size, int(tuning.POSTERIOR_WORK / size**2))
    rows = job.rows(1, False, most)
    part = slice(rows.n_trained)
    X, y, base = (one.cpu() for one in (rows.X[:, part], rows.y[:, part], base_weights(rows)))
    chunk = max(1, int(tuning.POSTERIOR_NUMBERS / (size * len(y))))
    chunks = [slice(i, i + chunk) for i in range(0, X.shape[1], chunk)]
    shares, relu = torch.tensor(fitted.shares), torch.tensor(fitted.relu)
    each = [fitted.plan.relu.forward(relu, X[:, c]) for c in chunks]
    raw = torch.cat([torch.einsum("s,son->on", shares, values) for values in each], -1)
    loss = rows.loss
    residual, curvature = loss.working(raw, y, loss.scale(raw, y, base))
    curvature = curvature.expand_as(raw) * base
    n_effective = job.n_effective if n_effective is None else n_effective
    curvature = curvature * (n_effective * len(y) / curvature.sum())
    balance = torch.ones_like(y[:, 0])
    if isinstance(model, ComposedNetwork) and isinstance(loss, SquaredError):
        balance = 1 / (residual.square() @ base).clamp_min(tuning.NO_VARIANCE)
        balance = balance / balance.mean()
    curvature = curvature * balance[:, None]
    own = job.n_effective / n_effective
    rows_of = _Fitted(X, y, raw, base, residual, curvature, loss, chunks, balance, own)
    if fitted.posterior is not None:
        starts = [fitted.posterior]
    else:
        starts = [_posterior(model, theta, rows_of) for theta in torch.tensor(fitted.pretrained)]
    finite = all(bool(one.root.isfinite().all()) for one in starts)
    return _Found(starts, shares, rows_of) if finite else None


def _posterior(model: TriangleModel | ComposedNetwork, theta: Tensor, rows: _Fitted) -> Posterior:
    """Return the posterior of one start."""
    squares = (rows.curvature * rows.residual.square()).sum() / rows.curvature.sum()
    if isinstance(model, ComposedNetwork):
        ids = model.groups(by_feature=not rows.loss.classes)
        groups = torch.nn.functional.one_hot(ids + 1).T[1:]
        return posterior(
            lambda chunk: tangent(model, theta, rows.X[:, chunk]),
            rows.chunks, rows.curvature, squares, theta, groups,
        )  # fmt: skip
    # All outputs have the same columns; the intercept has no penalty. Windows have the penalties of
    # their fit: with others, its coefficients would not be the most probable ones.
    inner, coef, _ = model.unpack(theta)
    directions, *_ = model.triangles.unpack(inner)
    unit = torch.cat([theta.new_ones(1 + len(rows.X)), directions.norm(dim=1) ** 1.5])[:, None]
    unit = torch.where(unit > 0, unit, 1.0)
    kinds = torch.tensor([0] + [1] * len(rows.X) + [2] * (len(coef) - 1 - len(rows.X)))
    groups = torch.nn.functional.one_hot(kinds, 3).T[1:]
    found = posterior(
        lambda chunk: (model.columns(theta, rows.X[:, chunk]) / unit)[None],
        rows.chunks, rows.curvature.mean(0, keepdim=True), squares,
        coef.square().mean(1).sqrt() * unit[:, 0], groups,
    )  # fmt: skip
    return found._replace(root=found.root / unit[:, 0], penalties=found.penalties * unit[:, 0] ** 2)


def _by_posterior(found: _Found, fitted: Fitted, known: _LeftOut | None) -> _LeftOut:
    """Return all rows, with what fits without each of them would predict to first order.

    What least squares know of such fits takes the place of these predictions. Rows that were
    held out stay as they are.
    """
    rows = found.rows
    some = slice(None, None, -(-len(rows.base) // tuning.SCORED_ROWS))
    if known is not None and (known.apart or known.raw.shape != rows.raw[:, some].shape):
        return known
    if known is not None and fitted.left_out_variance is not None:
        return replace(known, variance=torch.tensor(fitted.left_out_variance)[None, some])
    raw, variance = torch.zeros_like(rows.raw), torch.zeros_like(rows.raw)
    pairs = zip(found.shares, found.each, torch.tensor(fitted.pretrained), strict=True)
    for share, one, theta in pairs:
        of_one = _each_left_out(one, fitted.plan.network, theta, rows)
        raw, variance = raw + share * of_one[0], variance + share * of_one[1]
    if known is not None:
        return replace(known, variance=variance[:, some])
    weights = rows.base[some] / rows.base[some].sum()
    X, y, raw, variance = (part[:, some] for part in (rows.X, rows.y, raw, variance))
    return _LeftOut(X, y, raw, weights, rows.loss, False, variance)


def _each_left_out(
    found: Posterior, model: TriangleModel | ComposedNetwork, theta: Tensor, rows: _Fitted
) -> tuple[Tensor, Tensor]:
    """Return predictions of one start and their variances, (n_outputs, n_rows)."""
    n_residuals = rows.y.numel() if isinstance(model, ComposedNetwork) else len(rows.base)
    if n_residuals > len(found.root):
        return _by_leverage(found, model, theta, rows)
    columns, targets = tangent(model, theta, rows.X), rows.raw - rows.residual
    if isinstance(model, TriangleModel):
        weights = rows.curvature.mean(0)
        raw, variance = each_left_out(found, columns[0], targets, weights)
        return raw, variance.expand_as(raw)
    flat = columns.transpose(0, 1).flatten(1)  # (n_columns, n_outputs * n_rows)
    values = model.forward(theta[None], rows.X)[0]
    bent = values - (theta @ flat).view_as(values)  # what is not linear in the parameters
    flat_targets = (targets - bent).view(1, -1)
    raw, variance = each_left_out(found, flat, flat_targets, rows.curvature.flatten())
    return raw.view_as(values) + bent, variance.view_as(values)


def _by_leverage(
    found: Posterior, model: TriangleModel | ComposedNetwork, theta: Tensor, rows: _Fitted
) -> tuple[Tensor, Tensor]:
    """Return predictions of one start and their variances, of more rows than columns."""
    parts = [variances(found.root, tangent(model, theta, rows.X[:, c])) for c in rows.chunks]
    variance = torch.cat(parts, -1)
    weights = rows.own * rows.curvature
    leverage = (found.precision * weights * variance).clamp(0, MOST_LEVERAGE)
    raw = rows.raw + rows.residual * leverage / (1 - leverage)
    return raw, (variance / (1 - leverage)).expand_as(raw)
