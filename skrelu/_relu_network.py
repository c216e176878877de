"""Sums of narrow ReLU networks: weights in one vector, values and derivatives.

A `ReLUNetwork` is the function

    f(x) = intercept + x . linear + sum_k output_k . h_k(x)

where h_k is the last hidden layer of sub-network k: `depth` layers of 4 ReLU neurons on
the inputs x. It is one block-diagonal ReLU network with a linear skip connection. The
class knows shapes only; the weights travel as one tensor (..., n_parameters) so that
solvers see a vector and many starts run in one batch.

Samples are the last dimension everywhere: X is (n_features, n_samples).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

WIDTH = 4


class ReLUWeights(NamedTuple):
    """The weights of a `ReLUNetwork`, by layer; leading dimensions are batches."""

    hidden: list[Tensor]  # (..., n_subnetworks, 4, n_features or 4), one a layer
    biases: list[Tensor]  # (..., n_subnetworks, 4), one a layer
    output: Tensor  # (..., n_subnetworks, 4, n_outputs)
    linear: Tensor  # (..., n_features, n_outputs)
    intercept: Tensor  # (..., n_outputs)


@dataclass(frozen=True)
class ReLUNetwork:
    """The shape of a sum of 4-wide ReLU sub-networks with a linear part.

    Parameters
    ----------
    n_features, n_subnetworks, depth, n_outputs : int
        ``depth`` is the number of hidden layers of a sub-network.
    """

    n_features: int
    n_subnetworks: int
    depth: int
    n_outputs: int

    @property
    def n_hidden_parameters(self) -> int:
        """Number of weights and biases of the hidden layers of one sub-network."""
        return WIDTH * (self.n_features + 1) + WIDTH * (WIDTH + 1) * (self.depth - 1)

    @property
    def n_parameters(self) -> int:
        """Length of the vector of all weights."""
        block = self.n_hidden_parameters + WIDTH * self.n_outputs
        return self.n_subnetworks * block + (self.n_features + 1) * self.n_outputs

    def pack(self, weights: ReLUWeights) -> Tensor:
        """Write weights into one vector, shape (..., n_parameters)."""
        parts = []
        for matrix, bias in zip(weights.hidden, weights.biases, strict=True):
            parts += [matrix.flatten(-2), bias]
        blocks = torch.cat([*parts, weights.output.flatten(-2)], -1).flatten(-2)
        return torch.cat([blocks, weights.linear.flatten(-2), weights.intercept], -1)

    def unpack(self, theta: Tensor) -> ReLUWeights:
        """Read the vector back: the inverse of `pack`, as views."""
        n_linear = self.n_features * self.n_outputs
        n_blocks = self.n_parameters - n_linear - self.n_outputs
        blocks, linear, intercept = theta.split([n_blocks, n_linear, self.n_outputs], -1)
        blocks = blocks.unflatten(-1, (self.n_subnetworks, -1))
        sizes = []
        for layer in range(self.depth):
            sizes += [WIDTH * (WIDTH if layer else self.n_features), WIDTH]
        *parts, output = blocks.split([*sizes, WIDTH * self.n_outputs], -1)
        return ReLUWeights(
            hidden=[part.unflatten(-1, (WIDTH, -1)) for part in parts[::2]],
            biases=list(parts[1::2]),
            output=output.unflatten(-1, (WIDTH, self.n_outputs)),
            linear=linear.unflatten(-1, (self.n_features, self.n_outputs)),
            intercept=intercept,
        )

    def forward(self, theta: Tensor, X: Tensor) -> Tensor:
        """Return f(X), shape (..., n_outputs, n_samples)."""
        weights = self.unpack(theta)
        return self.read_out(weights, self.hidden_layers(weights, X)[-1], X)

    def jacobian(self, theta: Tensor, X: Tensor, output: int) -> Tensor:
        """Return the derivative of one output by all weights.

        Backpropagation by hand: each weight's derivative is the product of a layer's
        input and of g, the derivative of the output by the neuron it feeds.

        Returns
        -------
        Tensor of shape (..., n_parameters, n_samples)
        """
        weights = self.unpack(theta)
        layers = self.hidden_layers(weights, X)
        return self.backpropagate(weights, layers, X, output, weights.output[..., output, None])

    def backpropagate(
        self, weights: ReLUWeights, layers: list[Tensor], X: Tensor, output: int, g: Tensor
    ) -> Tensor:
        """Return the derivative of one output by all weights, given that by the last layer.

        Parameters
        ----------
        weights, layers
            From `unpack` and `hidden_layers`.
        g : Tensor of shape (..., n_subnetworks, 4, n_samples or 1)
            Derivative of the output by the neurons of the last hidden layers.

        Returns
        -------
        Tensor of shape (..., n_parameters, n_samples)
        """
        g = g * (layers[-1] > 0)
        parts = []
        for layer in reversed(range(self.depth)):
            below = layers[layer - 1] if layer else X
            by_matrix = g[..., :, None, :] * below[..., None, :, :]
            parts += [g, by_matrix.flatten(-3, -2)]
            if layer:
                g = weights.hidden[layer].transpose(-1, -2) @ g * (below > 0)
        # (..., n_subnetworks, 4, n_outputs, n_samples): zero for the other outputs
        batch = layers[-1].shape[:-3]
        by_output = X.new_zeros(*layers[-1].shape[:-1], self.n_outputs, X.shape[-1])
        by_output[..., output, :] = layers[-1]
        blocks = torch.cat([*parts[::-1], by_output.flatten(-3, -2)], -2).flatten(-3, -2)
        by_linear = X.new_zeros(*batch, self.n_features, self.n_outputs, X.shape[-1])
        by_linear[..., output, :] = X
        by_intercept = X.new_zeros(*batch, self.n_outputs, X.shape[-1])
        by_intercept[..., output, :] = 1
        return torch.cat([blocks, by_linear.flatten(-3, -2), by_intercept], -2)

    def hidden_layers(self, weights: ReLUWeights, X: Tensor) -> list[Tensor]:
        """Return the values of each hidden layer, (..., n_subnetworks, 4, n_samples)."""
        layers, h = [], X
        for matrix, bias in zip(weights.hidden, weights.biases, strict=True):
            h = (matrix @ h + bias[..., None]).relu()
            layers.append(h)
        return layers

    def read_out(self, weights: ReLUWeights, last: Tensor, X: Tensor) -> Tensor:
        """Return f(X), shape (..., n_outputs, n_samples), from the last hidden layers."""
        output = weights.output.flatten(-3, -2).transpose(-1, -2)
        linear = weights.linear.transpose(-1, -2)
        return output @ last.flatten(-3, -2) + linear @ X + weights.intercept[..., None]


def average(network: ReLUNetwork, theta: Tensor, shares: Tensor) -> tuple[ReLUNetwork, Tensor]:
    """Return the one network that is a weighted average of a batch of networks.

    Parameters
    ----------
    theta : Tensor of shape (n_networks, n_parameters)
    shares : Tensor of shape (n_networks,)
        Weights that sum to 1.

    Returns
    -------
    network : ReLUNetwork
        With ``n_networks`` times as many sub-networks.
    theta : Tensor of shape (network.n_parameters,)
    """
    weights = network.unpack(theta)
    n_networks = theta.shape[0]
    whole = ReLUNetwork(
        network.n_features,
        network.n_subnetworks * n_networks,
        network.depth,
        network.n_outputs,
    )
    merged = ReLUWeights(
        hidden=[matrix.flatten(0, 1) for matrix in weights.hidden],
        biases=[bias.flatten(0, 1) for bias in weights.biases],
        output=(weights.output * shares[:, None, None, None]).flatten(0, 1),
        linear=(weights.linear * shares[:, None, None]).sum(0),
        intercept=(weights.intercept * shares[:, None]).sum(0),
    )
    return whole, whole.pack(merged)


def dense_layers(weights: ReLUWeights) -> list[tuple[Tensor, Tensor]]:
    """Write one network as plain dense layers (matrix, bias) with ReLU in between.

    The blocks stand on the diagonal of each hidden matrix. The linear part rides along
    in two more neurons an output, as max(v, 0) - max(-v, 0), which ReLU leaves alone.
    """
    linear = torch.cat([weights.linear.T, -weights.linear.T])  # (2 n_outputs, n_features)
    n_skip = linear.shape[0]
    layers = []
    for i, (matrix, bias) in enumerate(zip(weights.hidden, weights.biases, strict=True)):
        if i == 0:
            dense = torch.cat([matrix.flatten(0, 1), linear])
        else:
            skip = torch.eye(n_skip, dtype=matrix.dtype, device=matrix.device)
            dense = torch.block_diag(*matrix, skip)
        layers.append((dense, torch.cat([bias.flatten(), bias.new_zeros(n_skip)])))
    eye = torch.eye(n_skip // 2, dtype=linear.dtype, device=linear.device)
    read_out = torch.cat([weights.output.flatten(0, 1).T, eye, -eye], -1)
    return [*layers, (read_out, weights.intercept)]
