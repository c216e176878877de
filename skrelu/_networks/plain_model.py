"""A plain network as a part of a fitted model: values, slopes and layers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from skrelu._networks.plain_layers import Affine
from skrelu._networks.plain_network import outputs_of, slopes_of


@dataclass(frozen=True)
class PlainModel:
    """Layers of neurons with ReLU, and outputs that are linear in the last one.

    Parameters
    ----------
    matrices : tuple of Tensor of shape (n_out, n_in + 1)
        Weights of each layer, and its biases in the last column.
    """

    matrices: tuple[Tensor, ...]

    @property
    def n_parameters(self) -> int:
        """Number of weights and biases that are not 0."""
        return sum(int(matrix.count_nonzero()) for matrix in self.matrices)

    @property
    def width(self) -> int:
        """Largest number of neurons in a layer."""
        return max(len(matrix) for matrix in self.matrices)

    def _like(self, X: Tensor) -> list[Tensor]:
        return [matrix.to(X) for matrix in self.matrices]

    def forward(self, X: Tensor) -> Tensor:
        """Return the outputs, (n_outputs, n_samples), for X of shape (n_features, n_samples)."""
        return outputs_of(self._like(X), X)

    def slopes(self, X: Tensor) -> Tensor:
        """Return the derivatives by the features, (n_outputs, n_features, n_samples)."""
        return slopes_of(self._like(X), X)

    def layers(self) -> list[Affine]:
        """Return dense layers with ReLU in between."""
        return [(matrix[:, :-1], matrix[:, -1]) for matrix in self.matrices]

    def arrays(self) -> dict[str, Any]:
        """Return the model as arrays, see `of_arrays`."""
        return {"matrices": [matrix.numpy() for matrix in self.matrices]}

    @classmethod
    def of_arrays(cls, kept: dict[str, Any]) -> PlainModel:
        """Return the model that `arrays` has described."""
        return cls(tuple(torch.from_numpy(matrix) for matrix in kept["matrices"]))
