"""The fitted attributes of an estimator, by name."""

from __future__ import annotations

import numpy as np
import torch

from skrelu._data.scaling import Scaling, quotients
from skrelu._data.table import Array, Table
from skrelu._fit import tuning
from skrelu._fit.earlier import stored
from skrelu._fit.fitted import Fitted
from skrelu._fit.stacking import left_out_losses
from skrelu._networks.members import Members
from skrelu._networks.relu_network import average
from skrelu._networks.triangle_model import TriangleModel
from skrelu._solvers.losses import SquaredError
from skrelu._solvers.progress import Result

# Version of the attributes below, the versions that can be read, and those that warm starts go on
# from. Models of format 1 hold other parameters; those of format 2 have no encoded columns, those
# of format 3 no plain layers.
FORMAT, READABLE, CONTINUED = 4, (1, 2, 3, 4), (2, 3, 4)


def attributes_of(fitted: Fitted) -> dict:
    """Return networks, standardization and curves as arrays and numbers."""
    plan, members = fitted.plan, fitted.members
    X_mean, X_scale = fitted.X_scaling
    y_mean, y_scale = fitted.y_scaling
    stages = [stage for stage in (fitted.pretraining, fitted.refinement) if stage is not None]
    scores, best = _validation_scores(stages)
    return {
        "_format": FORMAT,
        "_earlier": stored(fitted),  # for warm_start
        **network_attributes(members, fitted.X_scaling),
        "_error_bars": None if fitted.error_bars is None else fitted.error_bars.arrays(),
        **({} if plan.loss.classes else {"noise_": _noise_of(fitted)}),
        "kinds_": fitted.kinds,
        "_log_link": plan.loss.log_link,
        "X_mean_": X_mean,
        "X_scale_": X_scale,
        "y_mean_": y_mean,
        "y_scale_": y_scale,
        "n_parameters_pretrain_": len(fitted.relu) * plan.network.n_parameters,
        "solver_": plan.solver,
        "n_iter_": sum(stage.n_iter for stage in stages),
        "n_iter_pretrain_": 0 if fitted.pretraining is None else fitted.pretraining.n_iter,
        "loss_curve_": [loss for stage in stages for loss in stage.loss_curve],
        "validation_score_": scores or None,
        "best_validation_score_": best,
    }


def _validation_scores(stages: list[Result]) -> tuple[list[float], float | None]:
    """Return the scores on held-out rows of all iterations and of the best one."""
    scores = [score for stage in stages for score in stage.score_curve]
    if scores:
        return scores, -float(stages[-1].error.mean())
    scores = [1 - loss for stage in stages for loss in stage.validation_curve]
    return scores, 1 - float(stages[-1].validation_loss.mean()) if scores else None


def _noise_of(fitted: Fitted) -> Array | None:
    """Return the standard deviation of the noise of each output, in the units of y."""
    bars = fitted.error_bars
    if bars is None or not isinstance(fitted.plan.loss, SquaredError):
        return None
    return np.sqrt(bars.noise * bars.factor) * fitted.y_scaling.scale


def network_attributes(members: Members, X_scaling: Scaling) -> dict:
    """Return the average of some networks, and its sub-networks in the units of X."""
    starts, encoded = members.starts, members.encoded
    mean, scale = X_scaling
    peaks = scales = None
    if isinstance(starts.model, TriangleModel):
        waves, _ = starts.model.to_waves(starts.pretrained)
        parameters = starts.model.wave_network.unpack(waves)
        directions, offsets, peaks, scales = (part.flatten(0, 1).numpy() for part in parameters)
    else:
        windows = starts.model.windows(starts.pretrained)
        directions, offsets = (part.flatten(0, 1).numpy() for part in windows)
    network, theta = average(starts.network, starts.relu, starts.shares)
    weights = network.unpack(theta)
    return {
        "_encoded": None if encoded is None else encoded.arrays(),
        "peaks_": peaks,
        "scales_": scales,
        "directions_": quotients(directions, 1.0, scale),
        "offsets_": offsets - directions @ quotients(mean, 1.0, scale),
        "hidden_weights_": [matrix.numpy().copy() for matrix in weights.hidden],
        "hidden_biases_": [bias.numpy().copy() for bias in weights.biases],
        "output_weights_": weights.output.numpy().copy(),
        "linear_weights_": weights.linear.numpy().copy(),
        "intercept_": weights.intercept.numpy().copy(),
        "n_outputs_": network.n_outputs,
        "n_subnetworks_": network.n_subnetworks,
        "n_levels_": network.n_levels,
        "n_starts_": len(starts.shares),
        "n_parameters_": network.n_parameters + (0 if encoded is None else encoded.n_parameters),
    }


def limits_of(fitted: Fitted, training: Table, extrapolation: str) -> dict:
    """Return the ranges that features and raw outputs are clipped to, None for no clipping."""
    shape, log_link = fitted.plan.model.shape, fitted.plan.loss.log_link
    convex = shape is not None and any(shape.convexity)
    # Exponentials are also clipped if the error is unknown.
    classes = fitted.plan.loss.classes
    limit = tuning.BOUNDED_NOISE_OF_CLASSES if classes else tuning.BOUNDED_NOISE
    errors = left_out_losses(fitted) if len(fitted.kinds) > 1 and not classes else fitted.error
    large = (errors > limit) | (log_link & np.isnan(errors))  # of each output, or of all
    # Linear models are not clipped, whether or not there is noise.
    bends = log_link or fitted.encoded is not None
    bends = bends or bool(fitted.plan.relu.unpack(torch.tensor(fitted.relu)).output.any())
    noisy = extrapolation == "auto" and np.any(large) and bends and not convex
    if extrapolation != "constant" and not noisy:
        return {"X_limits_": None, "y_limits_": None}
    X_limits, y_limits = (np.array([a.min(0), a.max(0)]) for a in (training.X, training.y))
    if classes:  # logits have no range
        return {"X_limits_": X_limits, "y_limits_": None}
    if log_link:
        with np.errstate(divide="ignore"):
            y_limits = np.log(y_limits)
    if extrapolation != "constant" and not np.all(large):  # others go on, by as much as their range
        beyond = np.where(large, 0, y_limits[1] - y_limits[0])
        return {"X_limits_": None, "y_limits_": y_limits + np.array([[-1], [1]]) * beyond}
    return {"X_limits_": X_limits, "y_limits_": y_limits}
