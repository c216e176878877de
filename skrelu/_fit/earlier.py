"""An earlier fit as arrays and plain values, for a warm start on data in other units."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from skrelu._data.scaling import Scaling, quotients
from skrelu._data.table import Array
from skrelu._data.torch_interop import to_tensor
from skrelu._fit.fitted import Fitted
from skrelu._networks.composed_network import ComposedNetwork
from skrelu._networks.relu_network import ReLUNetwork
from skrelu._networks.shapes import Shape
from skrelu._networks.triangle_model import TriangleModel
from skrelu._networks.triangle_network import TriangleNetwork


@dataclass(frozen=True)
class Earlier:
    """The earlier fit that a warm start continues.

    Parameters
    ----------
    X_scaling, y_scaling : Scaling
    solver, described : str
        Solver of its plan, and `Plan.described`.
    model : TriangleModel or ComposedNetwork
    network : ReLUNetwork
    pretrained, relu, penalty, shares, kinds
        As in `Fitted`; shares sum to 1.
    """

    X_scaling: Scaling
    y_scaling: Scaling
    solver: str
    described: str
    model: TriangleModel | ComposedNetwork
    network: ReLUNetwork
    pretrained: Array
    relu: Array
    penalty: Array
    shares: Array
    kinds: dict[str, float | Array] = field(default_factory=dict)

    def pretrained_in(self, X_scaling: Scaling, y_scaling: Scaling, device: torch.device) -> Tensor:
        """Return the pretrained parameters for another standardization."""
        return self._in(self.model, self.pretrained, X_scaling, y_scaling, device)

    def relu_in(self, X_scaling: Scaling, y_scaling: Scaling, device: torch.device) -> Tensor:
        """Return the refined parameters for another standardization."""
        return self._in(self.network, self.relu, X_scaling, y_scaling, device)

    def _in(
        self,
        network: TriangleModel | ComposedNetwork | ReLUNetwork,
        theta: Array,
        X_scaling: Scaling,
        y_scaling: Scaling,
        device: torch.device,
    ) -> Tensor:
        factor, shift = (to_tensor(a, device) for a in _moved(self.X_scaling, X_scaling))
        gain, lift = (to_tensor(a, device) for a in _moved(y_scaling, self.y_scaling))
        line = torch.cat([lift[None], lift.new_zeros(len(factor), len(lift))])
        return network.affine(network.moved(to_tensor(theta, device), factor, shift), gain, line)


def stored(fitted: Fitted) -> dict[str, Any]:
    """Return what a warm start needs of a fit, except its standardization, as plain values."""
    plan = fitted.plan
    return {
        "solver": plan.solver,
        "described": plan.described(),
        "model": asdict(plan.network),
        "network": asdict(plan.relu),
        "pretrained": fitted.pretrained,
        "relu": fitted.relu,
        "penalty": fitted.penalty,
        "shares": fitted.shares,
        "kinds": fitted.kinds,
    }


def read(kept: dict[str, Any], X_scaling: Scaling, y_scaling: Scaling) -> Earlier:
    """Return an earlier fit, given the result of `stored` and the standardization."""
    parts = {"model": model_of(kept["model"]), "network": ReLUNetwork(**kept["network"])}
    return Earlier(X_scaling, y_scaling, **{**kept, **parts})


def model_of(kept: dict[str, Any]) -> TriangleModel | ComposedNetwork:
    """Return a network, given its fields as plain values."""
    model: dict[str, Any] = dict(kept)
    model["shape"] = None if model["shape"] is None else Shape(**model["shape"])
    kind: type[TriangleModel | ComposedNetwork] = ComposedNetwork
    if "triangles" in model:
        kind, model["triangles"] = TriangleModel, TriangleNetwork(**model["triangles"])
    return kind(**model)


def _moved(old: Scaling, new: Scaling) -> tuple[Array, Array]:
    """Return factor and shift from newly standardized values to the old ones."""
    return quotients(new.scale, 1.0, old.scale), old.apply(new.mean)
