"""An earlier fit as arrays and plain values, and what it is in the units of new data."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skrelu._data.scaling import Scaling, quotients
from skrelu._data.table import Array
from skrelu._data.torch_interop import to_tensor
from skrelu._fit.fitted import Fitted
from skrelu._networks.composed_network import ComposedNetwork, ComposedWeights
from skrelu._networks.relu_network import ReLUNetwork
from skrelu._networks.triangle_network import TriangleNetwork


@dataclass(frozen=True)
class Earlier:
    """What a warm start goes on from.

    Parameters
    ----------
    X_scaling, y_scaling : Scaling
    solver, described : str
        Of its plan.
    n_subnetworks : int
        Of a start; a step counts once, and is two of ``triangles``.
    triangles : TriangleNetwork
    composed : ComposedNetwork or None
    network : ReLUNetwork
    pretrained, coef, relu, penalty, shares : ndarray
        As in `Fitted`.
    """

    X_scaling: Scaling
    y_scaling: Scaling
    solver: str
    described: str
    n_subnetworks: int
    triangles: TriangleNetwork
    composed: ComposedNetwork | None
    network: ReLUNetwork
    pretrained: Array
    coef: Array | None
    relu: Array
    penalty: Array
    shares: Array

    @property
    def n_levels(self) -> int:
        """Number of levels of sub-networks."""
        return 1 if self.composed is None else self.composed.n_levels

    def pretrained_in(self, X_scaling: Scaling, y_scaling: Scaling) -> Array:
        """Return the pretrained parameters in terms of another standardization."""
        if self.composed is None:
            return self._triangles_in(X_scaling)
        factor, shift = map(torch.tensor, _moved(self.X_scaling, X_scaling))
        gain, lift = map(torch.tensor, _moved(y_scaling, self.y_scaling))
        weights = self.composed.unpack(torch.tensor(self.pretrained))
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
        return self.composed.pack(moved).numpy()

    def _triangles_in(self, X_scaling: Scaling) -> Array:
        factor, shift = _moved(self.X_scaling, X_scaling)
        blocks = self.pretrained.reshape(len(self.relu), self.triangles.n_subnetworks, -1).copy()
        p = self.triangles.n_features
        blocks[..., p] += blocks[..., :p] @ shift
        blocks[..., :p] *= factor
        return blocks.reshape(self.pretrained.shape)

    def coefficients_in(self, X_scaling: Scaling, y_scaling: Scaling) -> Array:
        """Return the coefficients of pretraining in terms of another standardization."""
        assert self.coef is not None
        factor, shift = _moved(self.X_scaling, X_scaling)
        gain, lift = _moved(y_scaling, self.y_scaling)
        intercept, linear, weights = np.split(self.coef, [1, 1 + len(factor)], 1)
        intercept = intercept + (shift @ linear)[:, None]
        moved = np.concatenate([intercept, linear * factor[:, None], weights], 1) * gain
        moved[:, 0] += lift
        return moved

    def relu_in(self, X_scaling: Scaling, y_scaling: Scaling, device: torch.device) -> Tensor:
        """Return the refined parameters in terms of another standardization."""
        factor, shift = (to_tensor(a, device) for a in _moved(self.X_scaling, X_scaling))
        gain, lift = (to_tensor(a, device) for a in _moved(y_scaling, self.y_scaling))
        network = self.network
        weights = network.unpack(to_tensor(self.relu, device))
        hidden, biases = list(weights.hidden), list(weights.biases)
        for first in range(0, len(hidden), network.depth):
            hidden[first], biases[first] = _inputs_moved(
                hidden[first], biases[first], factor, shift
            )
        return network.pack(
            weights._replace(
                hidden=hidden,
                biases=biases,
                output=weights.output * gain,
                linear=weights.linear * factor[:, None] * gain,
                intercept=(weights.intercept + shift @ weights.linear) * gain + lift,
            )
        )


def stored(fitted: Fitted) -> dict[str, Any]:
    """Return what to keep of a fit to go on from, but the standardization: no classes of skrelu."""
    plan = fitted.plan
    return {
        "solver": plan.solver,
        "described": plan.described(),
        "n_subnetworks": plan.n_subnetworks,
        "triangles": asdict(plan.triangles),
        "composed": None if plan.composed is None else asdict(plan.composed),
        "network": asdict(plan.relu),
        "pretrained": fitted.pretrained,
        "coef": fitted.coef,
        "relu": fitted.relu,
        "penalty": fitted.penalty,
        "shares": fitted.shares,
    }


def read(kept: dict[str, Any], X_scaling: Scaling, y_scaling: Scaling) -> Earlier:
    """Return an earlier fit from what `stored` gave and its standardization."""
    parts = {
        "triangles": TriangleNetwork(**kept["triangles"]),
        "composed": None if kept["composed"] is None else ComposedNetwork(**kept["composed"]),
        "network": ReLUNetwork(**kept["network"]),
    }
    return Earlier(X_scaling, y_scaling, **{**kept, **parts})


def _inputs_moved(
    matrix: Tensor, bias: Tensor, factor: Tensor, shift: Tensor
) -> tuple[Tensor, Tensor]:
    """Return a layer whose first inputs are the features, in terms of moved features."""
    by_features, others = matrix.tensor_split([len(factor)], -1)
    return torch.cat([by_features * factor, others], -1), bias + by_features @ shift


def _moved(old: Scaling, new: Scaling) -> tuple[Array, Array]:
    """Return factor and shift that turn newly standardized values into the old ones."""
    return quotients(new.scale, 1.0, old.scale), old.apply(new.mean)
