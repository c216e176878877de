"""The three forms of the sub-networks of a layer: peaks, blocks with free weights, dense matrices.

A form maps inputs (..., in_features) to the last ``width`` values of each sub-network,
(..., n_subnetworks * width).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from skrelu._networks.relu_network import WIDTH
from skrelu.nn._lowering import Affine, lowered
from skrelu.nn._triangle_wave import TriangleWave


class Peaks(nn.Module):
    """Directions and a triangle wave along each."""

    width = 1

    def __init__(self, in_features: int, n_subnetworks: int, depth: int, **factory) -> None:
        super().__init__()
        self.directions = nn.Linear(in_features, n_subnetworks, **factory)
        self.wave = TriangleWave(n_subnetworks, depth, **factory)

    @property
    def first(self) -> nn.Module:
        """The linear layer that reads the inputs."""
        return self.directions

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the waves, (..., n_subnetworks)."""
        return self.wave(self.directions(inputs))

    def layers(self) -> tuple[list[Tensor], list[Tensor], Tensor]:
        """Return the same sub-networks as ReLU layers, see `lowered`."""
        directions = self.directions
        return lowered(directions.weight, directions.bias, self.wave.peak_logits)


class Blocks(nn.Module):
    """ReLU networks 4 neurons wide: later layers store the blocks on the diagonal only."""

    width = WIDTH

    def __init__(self, in_features: int, n_subnetworks: int, depth: int, **factory) -> None:
        super().__init__()
        self.first = nn.Linear(in_features, n_subnetworks * WIDTH, **factory)
        shape = depth - 1, n_subnetworks, WIDTH
        self.weight = nn.Parameter(torch.zeros(*shape, WIDTH, **factory))
        self.bias = nn.Parameter(torch.zeros(shape, **factory))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the last hidden layer, (..., n_subnetworks * 4).

        Samples are the last dimension in between.
        """
        samples = inputs.reshape(-1, inputs.shape[-1]).mT
        h = torch.addmm(self.first.bias[:, None], self.first.weight, samples).relu_()
        h = h.view(self.weight.shape[1], WIDTH, -1)
        for weight, bias in zip(self.weight, self.bias, strict=True):
            h = torch.baddbmm(bias[..., None], weight, h).relu_()
        return h.flatten(0, 1).mT.reshape(*inputs.shape[:-1], self.first.out_features)

    def layers(self) -> tuple[list[Tensor], list[Tensor]]:
        """Return matrices and biases by sub-network, one for each layer."""
        first = self.first.weight.unflatten(0, (-1, WIDTH))
        bias = self.first.bias.unflatten(0, (-1, WIDTH))
        return [first, *self.weight], [bias, *self.bias]

    def copy_(self, matrices: Sequence[Tensor], biases: Sequence[Tensor]) -> None:
        """Copy matrices and biases as `layers` returns them."""
        own_matrices, own_biases = self.layers()
        own = zip([*own_matrices, *own_biases], [*matrices, *biases], strict=True)
        for part, other in own:
            part.copy_(other)


class Dense(nn.Module):
    """A plain ReLU network in which each neuron reads the whole previous layer."""

    width = WIDTH

    def __init__(self, in_features: int, n_subnetworks: int, depth: int, **factory) -> None:
        super().__init__()
        size = n_subnetworks * WIDTH
        self.layers = nn.ModuleList(
            nn.Linear(size if i else in_features, size, **factory) for i in range(depth)
        )

    @property
    def first(self) -> nn.Module:
        """The linear layer that reads the inputs."""
        return self.layers[0]

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the last hidden layer, (..., n_subnetworks * 4)."""
        for layer in self.layers:
            inputs = layer(inputs).relu()
        return inputs

    def affine(self) -> list[Affine]:
        """Return matrices and biases, one for each layer."""
        linears = [layer for layer in self.layers if isinstance(layer, nn.Linear)]
        return [(linear.weight, linear.bias) for linear in linears]

    def copy_(self, layers: Sequence[Affine]) -> None:
        """Copy matrices and biases as `affine` returns them."""
        for own, other in zip(self.affine(), layers, strict=True):
            for own_part, part in zip(own, other, strict=True):
                own_part.copy_(part)
