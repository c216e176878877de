"""Stacking: the weights of several kinds of models in one average, by rows that they left out.

The weights are convex, so that the average of networks is again one network and stays within
their range (Breiman, "Stacked regressions", 1996, https://doi.org/10.1007/BF00117832).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from skrelu._data.table import Array
from skrelu._data.torch_interop import to_numpy, to_tensor
from skrelu._fit import tuning
from skrelu._fit.blend import base_weights, quantile_shift, raw_values
from skrelu._fit.encoded import EncodedFit
from skrelu._fit.fitted import Fitted
from skrelu._fit.job import Job
from skrelu._fit.linear import nothing_fitted
from skrelu._fit.plan import Plan
from skrelu._solvers.losses import SMALLEST, Loss, Pinball
from skrelu._solvers.progress import Result, Status
from skrelu._solvers.rows import Rows


def stacked(job: Job, plan: Plan, fitted: Fitted | None, encoded: EncodedFit) -> Fitted:
    """Return the average of a fit and of encoded networks, shifted as `blended` shifts."""
    with job.step("average of the kinds") as step:
        average = _stacked(job, plan, fitted, encoded)
        step.error = average.error
    return average


def alone(job: Job, plan: Plan, encoded: EncodedFit) -> Fitted:
    """Return the average of encoded networks so far, for callbacks, which change no fit."""
    generator = torch.Generator().set_state(job.generator.get_state())
    apart = replace(job, generator=generator, known_scalings=job.scalings)
    return _stacked(apart, plan, None, encoded)


def _stacked(job: Job, plan: Plan, fitted: Fitted | None, encoded: EncodedFit) -> Fitted:
    rows = encoded.rows
    left_out, names = [*encoded.left_out], [*encoded.names]
    if fitted is not None and fitted.left_out is not None:
        left_out.insert(0, to_tensor(fitted.left_out, rows.y.device))
        names.insert(0, "waves")
    others = torch.stack(left_out)
    found, error = _convex_of_outputs(others, rows)
    average = torch.einsum("ko,kon->on", to_tensor(found, rows.y.device), others)
    gains = dict(zip(names, found, strict=True))
    if fitted is None:
        network = nothing_fitted(job, plan)
        network = replace(network, plan=replace(network.plan, solver="adam"))
    else:
        network = fitted
    network = replace(
        network,
        gain=gains.get("waves", np.zeros(len(rows.y))),
        kinds={name: _as_one(rows, gain) for name, gain in gains.items()},
        error=error,
        pretraining=_reported(fitted, encoded, error),
    )
    network = replace(network, left_out=to_numpy(average), rows=rows)
    by_kind = torch.tensor(np.array([gains[name] for name in encoded.names]))
    if not by_kind.any():
        return network
    model = encoded.model.with_shares(encoded.model.shares * by_kind[encoded.by_kind])
    network = replace(network, encoded=model)
    if isinstance(rows.loss, Pinball):
        shift = _calibrating(rows.loss, average, rows)
    else:
        shift = _centring(network, job, rows)
    return replace(
        network,
        encoded=model.plus(shift.cpu()),
        left_out=to_numpy(average + shift.to(average)[:, None]),
    )


def _calibrating(loss: Pinball, left_out: Tensor, rows: Rows) -> Tensor:
    """Return shifts after which the right fraction of left-out rows is below each quantile."""
    known = left_out.isfinite().all(0)
    return quantile_shift(loss, (rows.y - left_out)[:, known], _weights(rows)[known])


def _reported(fitted: Fitted | None, encoded: EncodedFit, error: float) -> Result:
    """Return the iterations of all kinds, with the status of the kind that did not converge."""
    result = encoded.result
    result = replace(result, validation_loss=torch.tensor([error], dtype=torch.float64))
    if fitted is None or fitted.pretraining is None:
        return result
    first = fitted.pretraining
    status = first.status if result.status is Status.DONE else result.status
    return replace(result.after(first), status=status)


def left_out_losses(fitted: Fitted) -> Array:
    """Return the loss of each output on left-out rows, relative to that of the best constant."""
    rows = fitted.rows
    assert rows is not None
    assert fitted.left_out is not None
    raw = to_tensor(fitted.left_out, rows.y.device)
    known = raw.isfinite().all(0)
    raw, y, weights = raw[:, known], rows.y[:, known], _weights(rows)[known]
    values = rows.loss.values(raw, y, rows.loss.scale(raw, y, weights)) / rows.loss.unit(raw)
    return to_numpy(values @ (weights / weights.sum()))


def _weighted_together(loss: Loss) -> bool:
    """Return whether all outputs have the same weights: classes, and quantiles of one target."""
    return loss.coupled or isinstance(loss, Pinball)


def _as_one(rows: Rows, gain: Array) -> float | Array:
    """Return the weights of a kind, as one number if all outputs have the same."""
    return float(gain[0]) if len(gain) == 1 or _weighted_together(rows.loss) else gain


def _convex_of_outputs(left_out: Tensor, rows: Rows) -> tuple[Array, float]:
    """Return convex weights (n_kinds, n_outputs), and the mean loss of their averages.

    Parameters
    ----------
    left_out : Tensor of shape (n_kinds, n_outputs, n_samples)
        NaN where a kind has left a row out.
    """
    if _weighted_together(rows.loss):
        weights, error = _convex(left_out, rows)
        return np.repeat(weights[:, None], len(rows.y), 1), error
    found = []
    for output, null in enumerate(rows.loss.null):
        one, loss = slice(output, output + 1), replace(rows.loss, null=(null,))
        found.append(_convex(left_out[:, one], replace(rows, y=rows.y[one], loss=loss)))
    return np.stack([weights for weights, _ in found], 1), float(np.mean([e for _, e in found]))


def _convex(left_out: Tensor, rows: Rows) -> tuple[Array, float]:
    """Return convex weights, and the loss of their average relative to that of the best constant.

    Parameters
    ----------
    left_out : Tensor of shape (n_kinds, n_outputs, n_samples)
    """
    known = left_out.isfinite().all(0).all(0).nonzero()[:, 0]
    prior = np.full(len(left_out), 1 / len(left_out))
    if len(prior) > 2:
        prior = np.array([0.5, *np.full(len(prior) - 1, 0.5 / (len(prior) - 1))])
    if not len(known):  # no row was held out by all kinds
        return prior, np.nan
    index = known[:: -(-len(known) // tuning.STACKED_ROWS)]
    values, y, w = left_out[..., index], rows.y[:, index], _weights(rows)[index]
    w = w / w.sum()
    values = _within_range(values, rows)

    def loss_of(weights: Array) -> tuple[float, Array]:
        raw = torch.einsum("k,kon->on", to_tensor(weights, values.device), values)
        scale = rows.loss.scale(raw, y, w)
        value = _mean_loss(rows.loss, raw, y, w, scale)
        residual, curvature = rows.loss.working(raw, y, scale)
        slope = 2 * residual * curvature / rows.loss.unit(raw) / len(y) * w
        return value, to_numpy(torch.einsum("on,kon->k", slope, values))

    lowest = min(loss_of(one)[0] for one in np.eye(len(values)))
    # The prior counts as so many rows. Costs are of unit size, as the tolerance of the solver is.
    unit = max(loss_of(prior)[0], SMALLEST)
    strength = lowest / unit * tuning.PRIOR_ROWS / len(index)

    def cost(weights: Array) -> tuple[float, Array]:
        value, slope = loss_of(weights)
        apart = weights - prior
        penalty = strength * float(apart @ apart), 2 * strength * apart
        return value / unit + penalty[0], slope / unit + penalty[1]

    if len(values) == 1:
        return prior, loss_of(prior)[0]
    result = minimize(
        cost,
        prior,
        jac=True,
        method="SLSQP",
        bounds=[(0, 1)] * len(prior),
        constraints={"type": "eq", "fun": lambda v: v.sum() - 1, "jac": np.ones_like},
    )
    found = np.clip(result.x, 0, None)
    found[found < tuning.LEAST_WEIGHT] = 0
    found = found / found.sum()
    return found, loss_of(found)[0]


def _mean_loss(loss: Loss, raw: Tensor, y: Tensor, weights: Tensor, scale: Tensor) -> float:
    return float((loss.values(raw, y, scale) / loss.unit(raw)).mean(0) @ weights)


def _weights(rows: Rows) -> Tensor:
    """Return the weights of all rows; validation rows have those of validation."""
    weights = base_weights(rows)
    if rows.n_samples > rows.n_trained:
        assert rows.validation is not None
        weights = torch.cat([weights, rows.validation[0, rows.n_trained :]])
    return weights


def _within_range(raw: Tensor, rows: Rows) -> Tensor:
    """Clip raw values to the range of targets, if they have one."""
    if rows.loss.log_link or rows.loss.classes:
        return raw
    y = rows.y[:, : rows.n_trained]
    return raw.clamp(y.amin(1, keepdim=True), y.amax(1, keepdim=True))


def _centring(fitted: Fitted, job: Job, rows: Rows) -> Tensor:
    """Return shifts after which the mean of predictions is that of the targets."""
    part = slice(0, rows.n_trained, -(-rows.n_trained // tuning.SHIFT_ROWS))
    X, y, weights = job.features(part), rows.y[:, part], base_weights(rows)[part]
    some = replace(rows, X=X, y=y)
    assert fitted.encoded is not None
    shares = fitted.members.starts.shares.to(X)
    raw = raw_values(fitted.plan.relu, to_tensor(fitted.relu, X.device), some)
    raw = torch.einsum("so,son->on", shares, raw)
    size = 4096
    raw += torch.cat([fitted.encoded.forward(x) for x in X.split(size, 1)], -1)
    return rows.loss.shift(raw, y, weights / weights.sum())
