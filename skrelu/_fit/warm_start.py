"""Going on from an earlier fit, in the units of new data."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from skrelu._data.scaling import Scaling, quotients
from skrelu._data.table import Array
from skrelu._data.torch_interop import threads, to_tensor
from skrelu._fit.blend import average_loss, raw_values
from skrelu._fit.fitted import Fitted
from skrelu._fit.job import Job
from skrelu._networks.composed_network import ComposedWeights


def pretrained_moved(fitted: Fitted, X_scaling: Scaling, y_scaling: Scaling) -> Array:
    """Return the pretrained parameters of a fit in terms of another standardization."""
    network = fitted.plan.composed
    if network is None:
        return _triangles_moved(fitted, X_scaling)
    factor, shift = map(torch.tensor, _moved(fitted.X_scaling, X_scaling))
    gain, lift = map(torch.tensor, _moved(y_scaling, fitted.y_scaling))
    weights = network.unpack(torch.tensor(fitted.pretrained))
    linear, others = weights.output.tensor_split([len(factor)], -2)
    levels = [
        _inputs_moved(directions, offsets, factor, shift)
        for directions, offsets in zip(weights.directions, weights.offsets, strict=True)
    ]
    moved = ComposedWeights(
        directions=[directions for directions, _ in levels],
        offsets=[offsets for _, offsets in levels],
        output=torch.cat([linear * factor[:, None], others], -2) * gain,
        intercept=(weights.intercept + shift @ linear) * gain + lift,
    )
    return network.pack(moved).numpy()


def _triangles_moved(fitted: Fitted, X_scaling: Scaling) -> Array:
    factor, shift = _moved(fitted.X_scaling, X_scaling)
    network = fitted.plan.triangles
    blocks = fitted.pretrained.reshape(len(fitted.pretrained), network.n_subnetworks, -1).copy()
    p = network.n_features
    blocks[..., p] += blocks[..., :p] @ shift
    blocks[..., :p] *= factor
    return blocks.reshape(fitted.pretrained.shape)


def coefficients_moved(fitted: Fitted, X_scaling: Scaling, y_scaling: Scaling) -> Array:
    """Return the coefficients of pretraining in terms of another standardization."""
    assert fitted.coef is not None
    factor, shift = _moved(fitted.X_scaling, X_scaling)
    gain, lift = _moved(y_scaling, fitted.y_scaling)
    intercept, linear, weights = np.split(fitted.coef, [1, 1 + len(factor)], 1)
    intercept = intercept + (shift @ linear)[:, None]
    moved = np.concatenate([intercept, linear * factor[:, None], weights], 1) * gain
    moved[:, 0] += lift
    return moved


def relu_moved(
    fitted: Fitted, X_scaling: Scaling, y_scaling: Scaling, device: torch.device
) -> Tensor:
    """Return the refined parameters of a fit in terms of another standardization."""
    factor, shift = (to_tensor(a, device) for a in _moved(fitted.X_scaling, X_scaling))
    gain, lift = (to_tensor(a, device) for a in _moved(y_scaling, fitted.y_scaling))
    network = fitted.plan.relu
    weights = network.unpack(to_tensor(fitted.relu, device))
    hidden, biases = list(weights.hidden), list(weights.biases)
    for first in range(0, len(hidden), network.depth):
        hidden[first], biases[first] = _inputs_moved(hidden[first], biases[first], factor, shift)
    return network.pack(
        weights._replace(
            hidden=hidden,
            biases=biases,
            output=weights.output * gain,
            linear=weights.linear * factor[:, None] * gain,
            intercept=(weights.intercept + shift @ weights.linear) * gain + lift,
        )
    )


def _inputs_moved(
    matrix: Tensor, bias: Tensor, factor: Tensor, shift: Tensor
) -> tuple[Tensor, Tensor]:
    """Return a layer whose first inputs are the features, in terms of moved features."""
    by_features, others = matrix.tensor_split([len(factor)], -1)
    return torch.cat([by_features * factor, others], -1), bias + by_features @ shift


def _moved(old: Scaling, new: Scaling) -> tuple[Array, Array]:
    """Return factor and shift that turn newly standardized values into the old ones."""
    return quotients(new.scale, 1.0, old.scale), old.apply(new.mean)


# Rows that tell how well a warm start fits.
WARM_ROWS = 5000


def start_from(job: Job, warm: Fitted) -> Fitted | None:
    """Return the networks to go on from, None to start anew.

    They are the same function as before, or where units have changed the same function of
    standardized values, whichever fits better: neither, if both are worse than the best constant.
    """
    rows = job.rows(1, False, WARM_ROWS)
    with threads(0.0):
        moved = relu_moved(warm, *job.scalings, job.device)
        losses = [
            average_loss(warm, rows, raw_values(warm.plan.relu, theta, rows))
            for theta in (moved, to_tensor(warm.relu, job.device))
        ]
    if min(losses) > 1:
        return None
    if losses[1] < losses[0]:
        X_scaling, y_scaling = job.scalings
        return replace(warm, X_scaling=X_scaling, y_scaling=y_scaling)
    return warm
