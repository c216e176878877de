"""What a fit takes and what it ends with, and how to go on from there."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skrelu._data.scaling import Scaling, quotients
from skrelu._data.torch_interop import to_tensor
from skrelu._fit.plan import Plan
from skrelu._networks.composed_network import ComposedWeights
from skrelu._solvers.progress import Result, Status

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Table:
    """Rows of a fit in their own units: X (n, p), y (n, q), weights (n,) summing to 1.

    ``total`` is the sum of the weights as they were given: the number of rows.
    """

    X: Array
    y: Array
    weights: Array
    total: float


@dataclass(frozen=True)
class Fitted:
    """The networks that a fit ended with; their weighted average, blended, is the model.

    Parameters of both stages are kept, on standardized data, to go on from.
    """

    X_scaling: Scaling
    y_scaling: Scaling
    pretrained: Array  # (n_starts, n_parameters) of plan.composed or plan.triangles
    coef: Array | None  # (n_starts, 1 + n_features + n_subnetworks, n_outputs), of plan.triangles
    relu: Array  # (n_starts, plan.relu.n_parameters), refined
    penalty: Array  # (n_starts, plan.relu.n_parameters)
    shares: Array  # (n_starts,), in the average
    error: float  # loss left on other rows, relative to the best constant's; NaN if unknown
    plan: Plan
    pretraining: Result | None  # None where a warm start skips it
    refinement: Result | None

    @property
    def interrupted(self) -> bool:
        """Whether the user ended the fit."""
        stages = self.pretraining, self.refinement
        return any(stage is not None and stage.interrupted for stage in stages)

    def with_status(self, status: Status) -> Fitted:
        """Return the same with another reason for the end of pretraining."""
        assert self.pretraining is not None
        return replace(self, pretraining=replace(self.pretraining, status=status))


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
