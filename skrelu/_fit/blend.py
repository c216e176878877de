"""The blend of the networks with a linear model and the best constant, at the end of a fit.

Held-out rows choose the weights of the blend, so the simplest model that fits wins. Predictions are
then shifted so that their mean is right.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import numpy as np
import torch
from torch import Tensor

from skrelu._data.scaling import weighted_quantiles
from skrelu._data.table import Array
from skrelu._data.torch_interop import threads, to_numpy, to_tensor
from skrelu._fit import tuning
from skrelu._fit.fitted import Fitted
from skrelu._fit.job import Job
from skrelu._networks.relu_network import WIDTH, ReLUNetwork
from skrelu._solvers.losses import Pinball, SquaredError
from skrelu._solvers.progress import chunk_size
from skrelu._solvers.ridge import RidgeFit, fit_ridge, mean_loss, predicted
from skrelu._solvers.rows import Rows

# Loss up to which a linear model is exact, except for rounding errors.
EXACT_LINE = 1e-18
# Relative ridge of linear models with many rows a column, for squared errors.
NO_RIDGE = (1e-15,)
# The same for other losses.
LITTLE_RIDGE = (1e-08,)


def blended(
    job: Job, fitted: Fitted, rows: Rows, raw: Tensor, left_out: Tensor | None = None
) -> Fitted:
    """Return a fit whose networks are blended with a linear model, and shifted.

    Parameters
    ----------
    job : Job
    fitted : Fitted
    rows : Rows
        Rows of the starts that ``fitted`` averages.
    raw : Tensor of shape (n_starts, n_outputs, n_samples)
        Raw values of these starts, see `raw_values`.
    left_out : Tensor of shape (n_outputs, n_trained), optional
        What the networks predict of each training row if it is left out; without held-out rows.
    """
    with threads(0.0):
        fitted, rows, raw = _steady(fitted, rows, raw)
        shaped = fitted.plan.model.shape is not None
        linear = None if shaped else _linear(rows, job.ridge_factor)
        gain, line_gain, error = _weights(fitted, rows, raw, linear)
        added = _added(fitted, rows, raw, linear, gain, line_gain)
        models = gain[:, None] * raw + predicted(added, rows.X)
        if not average_loss(fitted.shares, rows, models) <= 1:  # few held-out rows chose by chance
            error = 1.0 if linear is None else min(1.0, linear.loss)
            gain, line_gain = torch.zeros_like(gain), torch.full_like(line_gain, float(error < 1))
            added = _added(fitted, rows, raw, linear, gain, line_gain)
        models = gain[:, None] * raw + predicted(added, rows.X)
        if rows.validation is not None:
            left_out = _held_out(fitted.shares, rows, models)
        elif left_out is not None or not gain.any():
            left_out = _each_left_out(left_out, linear, gain, line_gain, added)
    fitted = _with(fitted, to_numpy(gain), to_numpy(added))
    if left_out is None:
        return replace(fitted, error=error)
    return replace(fitted, error=error, left_out=to_numpy(left_out), rows=rows)


def _each_left_out(
    networks: Tensor | None, linear: RidgeFit | None, gain: Tensor, line_gain: Tensor, added: Tensor
) -> Tensor | None:
    """Return what the blend predicts of each training row if it is left out."""
    shift, total = added[0], None if networks is None else gain[:, None] * networks
    if linear is not None:
        shift = shift - line_gain * linear.coef[0]
        # One row does not tell what a line predicts without it: NaN, but a weight of 0 takes none.
        gains = line_gain[:, None]
        line = torch.where(gains > 0, gains * linear.left_out, 0.0)
        total = line if total is None else total + line
    return None if total is None else total + shift[:, None]


def _held_out(shares: Array, rows: Rows, models: Tensor) -> Tensor:
    """Return the average of the starts that hold a row out, NaN of rows that none holds out."""
    assert rows.validation is not None
    held = (rows.validation > 0) * to_tensor(shares, models.device)[:, None]
    return torch.einsum("sn,son->on", held, models) / held.sum(0)


def _added(
    fitted: Fitted,
    rows: Rows,
    raw: Tensor,
    linear: RidgeFit | None,
    gain: Tensor,
    line_gain: Tensor,
) -> Tensor:
    """Return the linear function that is added to networks, with the shift of the mean."""
    line = raw.new_zeros(1 + len(rows.X), len(rows.y)) if linear is None else linear.coef
    added = line * line_gain
    models = gain[:, None] * raw + predicted(added, rows.X)
    if isinstance(rows.loss, Pinball):
        shift = _held_out_shift(fitted, rows, models)
    else:
        average = _average(fitted.shares, models)[..., : rows.n_trained]
        shift = rows.loss.shift(average, rows.y[:, : rows.n_trained], base_weights(rows))
    return torch.cat([added[:1] + shift, added[1:]])


def _steady(fitted: Fitted, rows: Rows, raw: Tensor) -> tuple[Fitted, Rows, Tensor]:
    """Leave out starts whose values are not finite or mostly rounding errors.

    If all are left out, the first is kept as a network that is 0 everywhere.
    """
    network, theta = fitted.plan.relu, to_tensor(fitted.relu, raw.device)
    part = slice(0, rows.n_trained, -(-rows.n_trained // tuning.STEADY_ROWS))
    weights = base_weights(rows)[: part.stop][:: part.step]
    nudge = 4 * torch.finfo(raw.dtype).eps
    moved = network.forward(theta, rows.X[:, part] * (1 + nudge)) - raw[..., part]
    error = (moved.square() @ weights / weights.sum()).mean(-1).sqrt()
    steady = (error <= tuning.UNSTEADY) & raw.isfinite().flatten(1).all(1)  # not if it is NaN
    if bool(steady.all()):
        return fitted, rows, raw
    kept = steady.nonzero()[:, 0]
    if not len(kept):
        kept, raw = kept.new_zeros(1), torch.zeros_like(raw)
        fitted = _without_output(fitted)
    index = kept.cpu().numpy()
    shares = fitted.shares[index]
    fitted = replace(
        fitted,
        pretrained=fitted.pretrained[index],
        relu=fitted.relu[index],
        penalty=fitted.penalty[index],
        shares=shares / shares.sum(),
    )
    return fitted, rows.of(kept), raw[kept]


def _without_output(fitted: Fitted) -> Fitted:
    """Return networks that are 0 everywhere, with the finite weights of their hidden layers."""
    relu = fitted.plan.relu
    weights = relu.unpack(torch.tensor(fitted.relu).nan_to_num(0, 0, 0))
    for part in (weights.output, weights.linear, weights.intercept):
        part[:] = 0
    return replace(
        fitted,
        pretrained=np.nan_to_num(fitted.pretrained, posinf=0, neginf=0),
        relu=relu.pack(weights).numpy(),
        penalty=np.nan_to_num(fitted.penalty, posinf=0, neginf=0),
        error=np.nan,
    )


def _with(fitted: Fitted, gain: Array, added: Array) -> Fitted:
    """Return networks times a gain, plus a linear function of [1, x], (1 + n_features, n_outputs).

    All starts are changed alike, so their average is, too, and a warm start can continue them.
    """
    plan, parts = fitted.plan, (torch.tensor(gain), torch.tensor(added))
    return replace(
        fitted,
        pretrained=plan.network.affine(torch.tensor(fitted.pretrained), *parts).numpy(),
        relu=plan.relu.affine(torch.tensor(fitted.relu), *parts).numpy(),
    )


def raw_values(network: ReLUNetwork, theta: Tensor, rows: Rows) -> Tensor:
    """Return the raw values of each network for all rows, (n_starts, n_outputs, n_samples)."""
    size = chunk_size(2 * len(theta) * network.n_subnetworks * WIDTH, theta.dtype)
    return torch.cat([network.forward(theta, rows.X[:, chunk]) for chunk in rows.chunks(size)], -1)


def average_loss(shares: Array, rows: Rows, raw: Tensor) -> float:
    """Return the loss of the average on training rows, relative to that of the best constant.

    Parameters
    ----------
    shares : ndarray of shape (n_starts,)
        Weights of the starts in the average.
    rows : Rows
    raw : Tensor of shape (n_starts, n_outputs, n_samples)
    """
    trained = slice(rows.n_trained)
    average = _average(shares, raw)[:, trained]
    return mean_loss(rows.loss, average, rows.y[:, trained], base_weights(rows))


def _average(shares: Array, raw: Tensor) -> Tensor:
    return torch.einsum("s,son->on", to_tensor(shares, raw.device), raw)


def base_weights(rows: Rows) -> Tensor:
    """Return the weights of the training rows in the table, (n_trained,)."""
    assert rows.base is not None  # every job sets them
    return rows.base


def _linear(rows: Rows, factor: float) -> RidgeFit:
    """Fit a linear model, whose ``left_out`` predicts all rows."""
    n = rows.n_trained
    n_fitted = min(n, max(1000, int(tuning.LINEAR_VALUES / (len(rows.X) + 1))))
    part = slice(n_fitted)  # rows are in random order
    weights = base_weights(rows)[part]
    weights = weights / weights.sum()
    X, y = rows.X[:, part], rows.y[:, part]
    if n_fitted > tuning.ROWS_A_COLUMN * len(X):  # a row hardly affects its own prediction
        ridges = NO_RIDGE if isinstance(rows.loss, SquaredError) else LITTLE_RIDGE
        found = fit_ridge(X, y, weights, rows.loss, (X, y, weights), ridges, factor)
    else:
        found = fit_ridge(X, y, weights, rows.loss, factor=factor)
    rest = predicted(found.coef, rows.X[:, n_fitted:])
    return found._replace(left_out=torch.cat([found.left_out, rest], -1))


def _weights(
    fitted: Fitted, rows: Rows, raw: Tensor, linear: RidgeFit | None
) -> tuple[Tensor, Tensor, float]:
    """Return weights of networks and linear model, (n_outputs,), and the loss of the blend."""
    one, zero = torch.ones_like(rows.y[:, 0]), torch.zeros_like(rows.y[:, 0])
    if linear is not None and linear.loss <= EXACT_LINE:
        return zero, one, linear.loss
    if rows.validation is None:
        error = fitted.error
        if fitted.interrupted or not np.isfinite(error):  # unknown, so that of training rows
            error = average_loss(fitted.shares, rows, raw)
        if linear is not None and linear.loss <= min(error, 1.0):
            return zero, one, linear.loss
        return (one, zero, fitted.error) if error <= 1 else (zero, zero, 1.0)
    pooled = to_tensor(fitted.shares, raw.device)[:, None] * rows.validation
    starts, samples = pooled.nonzero(as_tuple=True)
    every = -(-len(starts) // tuning.BLENDED_ROWS)
    starts, samples = starts[::every], samples[::every]
    weights = pooled[starts, samples]
    weights = weights / weights.sum()
    y, network = rows.y[:, samples], raw[starts, :, samples].mT
    line = torch.zeros_like(y) if linear is None else linear.left_out[:, samples]

    def losses(gain: Tensor, line_gain: Tensor) -> Tensor:
        blend = gain[:, None] * network + line_gain[:, None] * line
        scale = rows.loss.scale(blend, y, weights)
        values = rows.loss.values(blend, y, scale) / rows.loss.unit(blend)
        return values.mean(0).expand(values.shape) if rows.loss.coupled else values

    # Held-out rows chose the best iteration: their loss is optimistic by about a standard error.
    alone = losses(one, zero)
    spread = alone - (alone @ weights)[:, None]
    standard_error = (spread.square() @ weights.square()).sqrt()
    fewest = float((rows.validation > 0).sum(1).amin())
    optimism = standard_error * (1 + tuning.FLATTERING_ROWS / max(1.0, fewest))

    # The loss of the average is lower than that of its networks, by their variance: the credit.
    variance = raw[..., samples].var(0) if len(raw) > 1 else torch.zeros_like(y)
    scale = rows.loss.scale(network, y, weights)
    _, curvature = rows.loss.working(network, y, scale)
    credit = (1 - 1 / len(raw)) * variance * curvature / rows.loss.unit(y)
    credit = credit.mean(0).expand(credit.shape) if rows.loss.coupled else credit
    credit = torch.minimum(credit, alone / 2)  # the loss may be far from a parabola

    def cost(gain: Tensor, line_gain: Tensor) -> Tensor:
        found = losses(gain, line_gain) - gain.square()[:, None] * credit
        found = found @ weights + gain * optimism
        return torch.where(gain + line_gain <= 1 + 1e-9, found, torch.inf).nan_to_num(torch.inf)

    gains = _cheapest(cost, one, linear is not None)
    return *gains, float((losses(*gains) @ weights).mean())


def _cheapest(
    cost: Callable[[Tensor, Tensor], Tensor], one: Tensor, with_line: bool
) -> tuple[Tensor, Tensor]:
    """Return weights of networks and linear model; 1 and 0 if others gain too little."""
    zero = torch.zeros_like(one)
    best, center = (one, zero), (one / 2, one / 2)
    lowest = first = cost(*best)
    for step_size, n_steps in tuning.BLEND_STEPS:
        offsets = [step_size * i for i in range(-n_steps, n_steps + 1)]
        for by_gain, by_line_gain in product(offsets, offsets if with_line else [0.0]):
            gain = (center[0] + by_gain).clamp(0, 1)
            line_gain = (center[1] + by_line_gain).clamp(0, 1) if with_line else zero
            found = cost(gain, line_gain)
            better = found < lowest
            lowest = torch.where(better, found, lowest)
            best = torch.where(better, gain, best[0]), torch.where(better, line_gain, best[1])
        center = best
    kept = lowest > (1 - tuning.BLEND_GAIN) * first
    return torch.where(kept, one, best[0]), torch.where(kept, zero, best[1])


def _held_out_shift(fitted: Fitted, rows: Rows, raw: Tensor) -> Tensor:
    """Return the shifts that calibrate quantiles on the held-out rows of each start."""
    assert isinstance(rows.loss, Pinball)
    if rows.validation is None:
        return torch.zeros_like(raw[0, :, 0])
    pooled = to_tensor(fitted.shares, raw.device)[:, None] * rows.validation
    starts, samples = pooled.nonzero(as_tuple=True)
    residual = rows.y[:, samples] - raw[starts, :, samples].mT
    return quantile_shift(rows.loss, residual, pooled[starts, samples])


def quantile_shift(loss: Pinball, residual: Tensor, weights: Tensor) -> Tensor:
    """Return shifts after which the right fraction of rows is below each quantile.

    Parameters
    ----------
    residual : Tensor of shape (n_outputs, n_rows)
    weights : Tensor of shape (n_rows,)

    Returns
    -------
    Tensor of shape (n_outputs,)
        0 if too few rows are beyond the quantile.
    """
    levels: Array = np.broadcast_to(loss.quantiles, len(residual))
    shift = weighted_quantiles(to_numpy(residual).T, to_numpy(weights), levels)
    shift[len(weights) * np.minimum(levels, 1 - levels) < tuning.FEWEST_BEYOND] = 0
    return to_tensor(shift, residual.device)
