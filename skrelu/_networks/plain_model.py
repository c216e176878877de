"""A plain network as a part of a fitted model: values, slopes and layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from skrelu._networks.plain_layers import Affine
from skrelu._networks.plain_network import PlainNetwork


@dataclass(frozen=True)
class PlainModel:
    """A plain network and its parameters.

    Parameters
    ----------
    network : PlainNetwork
    theta : Tensor of shape (network.n_parameters,)
    """

    network: PlainNetwork
    theta: Tensor

    @property
    def n_parameters(self) -> int:
        """Number of weights and biases that are not 0."""
        return int(self.theta.count_nonzero())

    @property
    def width(self) -> int:
        """Largest number of neurons in a layer."""
        return max(len(mask) for mask in self.network.masks)

    def forward(self, X: Tensor) -> Tensor:
        """Return the outputs, (n_outputs, n_samples), for X of shape (n_features, n_samples)."""
        return self.network.forward(self.theta.to(X), X)

    def slopes(self, X: Tensor) -> Tensor:
        """Return the derivatives by the features, (n_outputs, n_features, n_samples)."""
        return self.network.slopes(self.theta.to(X), X)

    def layers(self) -> list[Affine]:
        """Return dense layers with ReLU in between."""
        return self.network.layers(self.theta)

    def arrays(self) -> dict[str, Any]:
        """Return the model as arrays, see `of_arrays`."""
        return {"matrices": [matrix.numpy() for matrix in self.network.unpack(self.theta)]}

    @classmethod
    def of_arrays(cls, kept: dict[str, Any]) -> PlainModel:
        """Return the model that `arrays` has described."""
        matrices = [torch.from_numpy(matrix.copy()) for matrix in kept["matrices"]]
        network = PlainNetwork(tuple(matrix != 0 for matrix in matrices))
        return cls(network, network.pack(matrices))
