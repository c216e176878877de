"""Sums of narrow ReLU networks: values and derivatives by one vector of weights.

A `ReLUNetwork` is the function

    f(x) = intercept + x . linear + sum_k output_k . h_k(x)

where h_k is the last hidden layer of sub-network k: `depth` layers of 4 ReLU neurons. On
one level all sub-networks read the inputs x, and the whole is one block-diagonal ReLU
network with a linear skip connection. On several levels each sub-network reads x and the
last hidden layers of all earlier levels. The class has sizes only. The weights are one tensor
(..., n_parameters), so that solvers see a vector and many starts run in one batch.

Samples are the last dimension everywhere: X is (n_features, n_samples).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from skrelu._networks.outputs import jacobians_by_output

# Neurons in each layer of a sub-network.
WIDTH = 4


class ReLUWeights(NamedTuple):
    """The weights of a `ReLUNetwork`; leading dimensions are batches.

    Hidden layers are in the order of evaluation: first those of the first level.
    """

    hidden: list[Tensor]  # (..., n_subnetworks / n_levels, 4, n_inputs), one a layer
    biases: list[Tensor]  # (..., n_subnetworks / n_levels, 4), one a layer
    output: Tensor  # (..., n_subnetworks, 4, n_outputs)
    linear: Tensor  # (..., n_features, n_outputs)
    intercept: Tensor  # (..., n_outputs)


@dataclass(frozen=True)
class ReLUNetwork:
    """A sum of ReLU sub-networks of width 4 and a linear part.

    Parameters
    ----------
    n_features, n_subnetworks, depth, n_outputs : int
        ``depth`` is the number of hidden layers of a sub-network.
    n_levels : int, default=1
        Divides ``n_subnetworks``: levels have the same number of sub-networks.
    """

    n_features: int
    n_subnetworks: int
    depth: int
    n_outputs: int
    n_levels: int = 1

    @property
    def level_size(self) -> int:
        """Number of sub-networks of a level."""
        return self.n_subnetworks // self.n_levels

    @property
    def n_inputs(self) -> list[int]:
        """Number of inputs of a sub-network, by level."""
        return [self.n_features + level * WIDTH * self.level_size for level in range(self.n_levels)]

    def _layer_sizes(self, level: int) -> list[int]:
        """Return the numbers of weights and biases of the hidden layers, alternating."""
        sizes = []
        for layer in range(self.depth):
            sizes += [WIDTH * (WIDTH if layer else self.n_inputs[level]), WIDTH]
        return sizes

    @property
    def _block_sizes(self) -> list[int]:
        """Number of weights of one sub-network, by level."""
        n_output = WIDTH * self.n_outputs
        return [sum(self._layer_sizes(level)) + n_output for level in range(self.n_levels)]

    @property
    def n_parameters(self) -> int:
        """Length of the vector of all weights."""
        return self.level_size * sum(self._block_sizes) + (self.n_features + 1) * self.n_outputs

    def pack(self, weights: ReLUWeights) -> Tensor:
        """Join weights to one vector, shape (..., n_parameters)."""
        outputs = weights.output.split(self.level_size, -3)
        blocks: list[Tensor] = []
        for level, output in enumerate(outputs):
            layers = slice(level * self.depth, (level + 1) * self.depth)
            pairs = zip(weights.hidden[layers], weights.biases[layers], strict=True)
            parts = [part for matrix, bias in pairs for part in (matrix.flatten(-2), bias)]
            blocks.append(torch.cat([*parts, output.flatten(-2)], -1).flatten(-2))
        return torch.cat([*blocks, weights.linear.flatten(-2), weights.intercept], -1)

    def unpack(self, theta: Tensor) -> ReLUWeights:
        """Split the vector into weights: the inverse of `pack`."""
        sizes = [self.level_size * size for size in self._block_sizes]
        sizes += [self.n_features * self.n_outputs, self.n_outputs]
        *blocks, linear, intercept = theta.split(sizes, -1)
        hidden, biases, outputs = [], [], []
        for level, block in enumerate(blocks):
            sizes = [*self._layer_sizes(level), WIDTH * self.n_outputs]
            *parts, output = block.unflatten(-1, (self.level_size, -1)).split(sizes, -1)
            hidden += [part.unflatten(-1, (WIDTH, -1)) for part in parts[::2]]
            biases += parts[1::2]
            outputs.append(output.unflatten(-1, (WIDTH, self.n_outputs)))
        return ReLUWeights(
            hidden=hidden,
            biases=biases,
            output=torch.cat(outputs, -3),
            linear=linear.unflatten(-1, (self.n_features, self.n_outputs)),
            intercept=intercept,
        )

    def moved(self, theta: Tensor, factor: Tensor, shift: Tensor) -> Tensor:
        """Return the parameters of f(factor * x + shift), both of shape (n_features,)."""
        weights = self.unpack(theta)
        hidden, biases = list(weights.hidden), list(weights.biases)
        for first in range(0, len(hidden), self.depth):
            hidden[first], biases[first] = moved_inputs(hidden[first], biases[first], factor, shift)
        return self.pack(
            weights._replace(
                hidden=hidden,
                biases=biases,
                linear=weights.linear * factor[:, None],
                intercept=weights.intercept + shift @ weights.linear,
            )
        )

    def affine(self, theta: Tensor, gain: Tensor, line: Tensor) -> Tensor:
        """Return the parameters of gain * f plus a linear function of [1, x].

        Parameters
        ----------
        gain : Tensor of shape (n_outputs,)
        line : Tensor of shape (1 + n_features, n_outputs)
        """
        weights = self.unpack(theta)
        return self.pack(
            weights._replace(
                output=gain * weights.output,
                linear=gain * weights.linear + line[1:],
                intercept=gain * weights.intercept + line[0],
            )
        )

    def deepened(self, theta: Tensor, depth: int) -> tuple[ReLUNetwork, Tensor]:
        """Append layers that copy the last one, so that the function stays the same exactly.

        Parameters
        ----------
        theta : Tensor of shape (..., n_parameters)
            Of a network on one level.
        depth : int
            Number of hidden layers to end with.
        """
        weights, n_more = self.unpack(theta), depth - self.depth
        copied = torch.eye(WIDTH).to(theta).expand(*weights.biases[0].shape, WIDTH)
        hidden = [*weights.hidden, *[copied] * n_more]
        biases = [*weights.biases, *[torch.zeros_like(weights.biases[0])] * n_more]
        network = replace(self, depth=depth)
        return network, network.pack(weights._replace(hidden=hidden, biases=biases))

    def of_output(self, output: int) -> Tensor:
        """Return the indices of the parameters that an output depends on."""
        mask = torch.ones(self.n_parameters, dtype=torch.bool)
        weights = self.unpack(mask)
        for part in (weights.output, weights.linear, weights.intercept):
            part[:], part[..., output] = False, True
        return mask.nonzero()[:, 0]

    def jacobians(self, theta: Tensor, X: Tensor, cotangent: Tensor) -> Iterator[Tensor]:
        """Yield the derivatives of each output, see `jacobians_by_output`."""
        return jacobians_by_output(self, theta, X, cotangent)

    def forward(self, theta: Tensor, X: Tensor) -> Tensor:
        """Return f(X), shape (..., n_outputs, n_samples)."""
        weights = self.unpack(theta)
        return self.read_out(weights, self.last(self.hidden_layers(weights, X)), X)

    def jacobian(self, theta: Tensor, X: Tensor, cotangent: Tensor) -> Tensor:
        """Return the derivatives of a linear combination of the outputs by all weights.

        Backpropagation by hand: the derivative by a weight is its input times g, the derivative of
        the combination by its neuron.

        Parameters
        ----------
        theta : Tensor of shape (..., n_parameters)
        X : Tensor of shape (n_features, n_samples)
        cotangent : Tensor of shape (..., n_outputs, n_samples)
            Weight of each output in the combination, row by row.

        Returns
        -------
        Tensor of shape (..., n_parameters, n_samples)
        """
        weights = self.unpack(theta)
        layers = self.hidden_layers(weights, X)
        g = weights.output.flatten(-3, -2) @ cotangent
        g = g.unflatten(-2, (self.n_subnetworks, WIDTH))
        return self.backpropagate(weights, layers, X, cotangent, g)

    def backpropagate(
        self, weights: ReLUWeights, layers: list[Tensor], X: Tensor, cotangent: Tensor, g: Tensor
    ) -> Tensor:
        """Return the derivatives of a combination by all weights, given those by the last layers.

        Parameters
        ----------
        weights, layers
            From `unpack` and `hidden_layers`.
        cotangent : Tensor of shape (..., n_outputs, n_samples)
        g : Tensor of shape (..., n_subnetworks, 4, n_samples)
            Derivative of the combination by the neurons of the last hidden layers.

        Returns
        -------
        Tensor of shape (..., n_parameters, n_samples)
        """
        last = self.last(layers)
        # (..., n_subnetworks, 4, n_outputs, n_samples)
        by_output = last[..., None, :] * cotangent[..., None, None, :, :]
        blocks: list[Tensor] = []
        by_last = list(g.split(self.level_size, -3))
        for level in reversed(range(self.n_levels)):
            first = level * self.depth
            subnetworks = slice(level * self.level_size, (level + 1) * self.level_size)
            parts = [by_output[..., subnetworks, :, :, :].flatten(-3, -2)]
            g = by_last[level]
            for layer in reversed(range(first, first + self.depth)):
                g = g * layers[layer].sign()  # 1 where it is active
                below = layers[layer - 1] if layer > first else self.inputs(layers, X, level)
                by_matrix = g[..., :, None, :] * below[..., None, :, :]
                parts[:0] = [by_matrix.flatten(-3, -2), g]
                if layer:
                    g = weights.hidden[layer].mT @ g
            blocks.insert(0, torch.cat(parts, -2).flatten(-3, -2))
            if level:  # g is the derivative by what this level's sub-networks read
                earlier = g.sum(-3)[..., self.n_features :, :].unflatten(-2, (-1, WIDTH))
                read = earlier.split(self.level_size, -3)
                by_last[:level] = [a + b for a, b in zip(by_last[:level], read, strict=True)]
        by_linear = X[:, None] * cotangent[..., None, :, :]
        return torch.cat([*blocks, by_linear.flatten(-3, -2), cotangent], -2)

    def slopes(self, weights: ReLUWeights, layers: list[Tensor]) -> Tensor:
        """Return the derivatives of all outputs by the inputs: products of the active weights.

        Parameters
        ----------
        weights, layers
            From `unpack` and `hidden_layers`.

        Returns
        -------
        Tensor of shape (..., n_outputs, n_features, n_samples)
        """
        # By the last layers of each level, (..., n_outputs, level_size, 4, n_samples or 1).
        by_last = list(weights.output.movedim(-1, -3)[..., None].split(self.level_size, -3))
        total = weights.linear.mT[..., None]  # (..., n_outputs, n_features, 1)
        for level in reversed(range(self.n_levels)):
            first, g = level * self.depth, by_last[level]
            for layer in reversed(range(first, first + self.depth)):
                g = g * layers[layer].sign()[..., None, :, :, :]  # 1 where it is active
                if layer > first:
                    g = weights.hidden[layer][..., None, :, :, :].mT @ g
            matrix = weights.hidden[first].flatten(-3, -2)  # (..., 4 level_size, n_inputs)
            by_inputs = matrix[..., None, :, :].mT @ g.flatten(-3, -2)
            total = total + by_inputs[..., : self.n_features, :]
            if level:
                earlier = by_inputs[..., self.n_features :, :].unflatten(-2, (-1, WIDTH))
                read = earlier.split(self.level_size, -3)
                by_last[:level] = [a + b for a, b in zip(by_last[:level], read, strict=True)]
        return total

    def hidden_layers(self, weights: ReLUWeights, X: Tensor) -> list[Tensor]:
        """Return the values of each hidden layer, (..., level_size, 4, n_samples)."""
        layers: list[Tensor] = []
        h = X
        for layer, (matrix, bias) in enumerate(zip(weights.hidden, weights.biases, strict=True)):
            if layer % self.depth == 0:
                h = self.inputs(layers, X, layer // self.depth)
            if matrix.dim() == 3 and layer % self.depth:  # a third faster for one network
                h = torch.baddbmm(bias[..., None], matrix, h).relu_()
            else:
                h = (matrix @ h).add_(bias[..., None]).relu_()
            layers.append(h)
        return layers

    def inputs(self, layers: list[Tensor], X: Tensor, level: int) -> Tensor:
        """Return the inputs of a level, (..., 1, n_inputs, n_samples), or X on the first one."""
        if level == 0:
            return X
        last = self.last(layers[: level * self.depth]).flatten(-3, -2)
        return torch.cat([X.expand(*last.shape[:-2], *X.shape), last], -2)[..., None, :, :]

    def last(self, layers: list[Tensor]) -> Tensor:
        """Return the last hidden layers of all sub-networks, (..., n, 4, n_samples)."""
        ends = layers[self.depth - 1 :: self.depth]
        return ends[0] if len(ends) == 1 else torch.cat(ends, -3)

    def read_out(self, weights: ReLUWeights, last: Tensor, X: Tensor) -> Tensor:
        """Return f(X), shape (..., n_outputs, n_samples), from the last hidden layers."""
        output = weights.output.flatten(-3, -2).transpose(-1, -2)
        linear = weights.linear.transpose(-1, -2)
        return output @ last.flatten(-3, -2) + linear @ X + weights.intercept[..., None]


def moved_inputs(
    matrix: Tensor, bias: Tensor, factor: Tensor, shift: Tensor
) -> tuple[Tensor, Tensor]:
    """Return a layer for features x that is the given one for features factor * x + shift."""
    by_features, others = matrix.tensor_split([len(factor)], -1)
    return torch.cat([by_features * factor, others], -1), bias + by_features @ shift


def average(network: ReLUNetwork, theta: Tensor, shares: Tensor) -> tuple[ReLUNetwork, Tensor]:
    """Return the network that is the weighted average of a batch of networks.

    Parameters
    ----------
    theta : Tensor of shape (n_networks, n_parameters)
    shares : Tensor of shape (n_networks, n_outputs)
        Weights of the networks in the average.

    Returns
    -------
    network : ReLUNetwork
        With ``n_networks`` times as many sub-networks.
    theta : Tensor of shape (network.n_parameters,)
    """
    weights = network.unpack(theta)
    n_networks, size = theta.shape[0], network.level_size
    whole = replace(network, n_subnetworks=network.n_subnetworks * n_networks)
    hidden = list(weights.hidden)
    for level in range(1, network.n_levels):
        # Each network reads its own earlier levels only.
        matrix = hidden[level * network.depth]  # (n_networks, size, 4, n_inputs)
        by_features, by_levels = matrix.split([network.n_features, level * size * WIDTH], -1)
        by_levels = by_levels.unflatten(-1, (level, 1, size * WIDTH))
        own = torch.eye(n_networks, dtype=matrix.dtype, device=matrix.device)
        own = own[:, None, None, None, :, None]
        hidden[level * network.depth] = torch.cat([by_features, (by_levels * own).flatten(-3)], -1)
    levels = (weights.output * shares[:, None, None]).split(size, 1)
    merged = ReLUWeights(
        hidden=[matrix.flatten(0, 1) for matrix in hidden],
        biases=[bias.flatten(0, 1) for bias in weights.biases],
        output=torch.cat([level.flatten(0, 1) for level in levels]),
        linear=(weights.linear * shares[:, None]).sum(0),
        intercept=(weights.intercept * shares).sum(0),
    )
    return whole, whole.pack(merged)
