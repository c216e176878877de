r"""Narrow ReLU networks that end in parabolas: the limit of infinite depth.

    f(x) = g(x) + sum_k c_k (w_k . h_k(x) + o_k)^2

where g is a `ReLUNetwork` and h_k is the last hidden layer of its sub-network k. Triangle
waves with peaks of 1/2 add up to a parabola,

.. math::   v (1 - v) = \sum_{j \ge 1} 4^{-j}\, T_{1/2}^{\circ j}(v),

so a deep network tends to such a network if its last peaks are 1/2. A parabola is the same function
as one more layer with a parabola: let v lie in [0, n w], and let Z fold this range into n pieces of
length w. Then

.. math::   v^2 = Z^2 + 4 w (v - w)_+, \qquad Z = v - 2 (v - w)_+ + 2 (v - 2 w)_+,

for n = 3, and without the last term for n = 2. This takes n neurons of the layer. One more carries
the sum so far, which leaves a free neuron for n = 2.

In the limit, the first layers are fitted as a smoother function with fewer weights. Then `unfold`
replaces the parabola by layers.

References
----------
Yarotsky, "Error bounds for approximations with deep ReLU networks", 2017,
https://arxiv.org/abs/1610.01145
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from skrelu._networks.relu_network import WIDTH, ReLUNetwork, ReLUWeights


@dataclass(frozen=True)
class ParabolicNetwork:
    """A sum of ReLU sub-networks that end in parabolas, with one output.

    Parameters
    ----------
    relu : ReLUNetwork
        The network without the parabolas.
    """

    relu: ReLUNetwork

    @property
    def n_outputs(self) -> int:
        """Number of outputs: 1."""
        return self.relu.n_outputs

    @property
    def n_parameters(self) -> int:
        """Length of the vector of all weights."""
        return self.relu.n_parameters + self.relu.n_subnetworks * (WIDTH + 2)

    def pack(
        self, weights: ReLUWeights, directions: Tensor, offsets: Tensor, curvatures: Tensor
    ) -> Tensor:
        """Join all weights to one vector, shape (..., n_parameters).

        Parameters
        ----------
        weights : ReLUWeights
        directions : Tensor of shape (..., n_subnetworks, 4)
        offsets, curvatures : Tensor of shape (..., n_subnetworks)
        """
        parabolas = torch.cat([directions, offsets[..., None], curvatures[..., None]], -1)
        return torch.cat([self.relu.pack(weights), parabolas.flatten(-2)], -1)

    def unpack(self, theta: Tensor) -> tuple[ReLUWeights, Tensor, Tensor, Tensor]:
        """Split the vector into weights: the inverse of `pack`, as views."""
        n = self.relu.n_parameters
        parabolas = theta[..., n:].unflatten(-1, (self.relu.n_subnetworks, -1))
        directions, offsets, curvatures = parabolas.split([WIDTH, 1, 1], -1)
        return self.relu.unpack(theta[..., :n]), directions, offsets[..., 0], curvatures[..., 0]

    def of_output(self, output: int) -> Tensor:
        """Return the indices of the parameters that an output depends on: all."""
        return torch.arange(self.n_parameters)

    def jacobians(self, theta: Tensor, X: Tensor, cotangent: Tensor) -> Iterator[Tensor]:
        """Yield the derivatives of the output."""
        yield self.jacobian(theta, X, cotangent)

    def forward(self, theta: Tensor, X: Tensor) -> Tensor:
        """Return f(X), shape (..., 1, n_samples)."""
        weights, directions, offsets, curvatures = self.unpack(theta)
        last = self.relu.hidden_layers(weights, X)[-1]
        v = _along(directions, last) + offsets[..., None]
        parabolas = (curvatures[..., None] * v.square()).sum(-2, keepdim=True)
        return self.relu.read_out(weights, last, X) + parabolas

    def jacobian(self, theta: Tensor, X: Tensor, cotangent: Tensor) -> Tensor:
        """Return the derivatives by all weights, times the cotangent (..., 1, n_samples).

        Returns
        -------
        Tensor of shape (..., n_parameters, n_samples)
        """
        weights, directions, offsets, curvatures = self.unpack(theta)
        layers = self.relu.hidden_layers(weights, X)
        v = (_along(directions, layers[-1]) + offsets[..., None])[..., None, :]
        by_v = 2 * curvatures[..., None, None] * v  # (..., n_subnetworks, 1, n_samples)
        cotangents = cotangent[..., None, :, :]
        seed = (weights.output + directions[..., None] * by_v) * cotangents
        by_relu = self.relu.backpropagate(weights, layers, X, cotangent, seed)
        by_parabolas = torch.cat([layers[-1] * by_v, by_v, v.square()], -2) * cotangents
        return torch.cat([by_relu, by_parabolas.flatten(-3, -2)], -2)

    def revive(self, theta: Tensor, X: Tensor, generator: torch.Generator) -> Tensor:
        """Replace neurons that are 0 on all rows by random ones with outgoing weights of 0.

        Values on the rows do not change. If a window reaches beyond the data, the neurons for its
        outside would otherwise stay dead during the fit.
        """
        weights, directions, offsets, curvatures = self.unpack(theta)
        hidden, biases = [w.clone() for w in weights.hidden], [b.clone() for b in weights.biases]
        output, below = weights.output, X.expand(*offsets.shape, *X.shape)
        for i in range(self.relu.depth):
            dead = (hidden[i] @ below + biases[i][..., None]).amax(-1) <= 0
            matrix, bias = random_hinges(below, WIDTH, generator)
            hidden[i] = torch.where(dead[..., None], matrix, hidden[i])
            biases[i] = torch.where(dead, bias, biases[i])
            if i + 1 < self.relu.depth:
                hidden[i + 1] = torch.where(dead[..., None, :], 0, hidden[i + 1])
            else:
                output = torch.where(dead[..., None], 0, output)
                directions = torch.where(dead, 0, directions)
            below = (hidden[i] @ below + biases[i][..., None]).relu()
        weights = weights._replace(hidden=hidden, biases=biases, output=output)
        return self.pack(weights, directions, offsets, curvatures)

    def random_neurons(
        self, theta: Tensor, X: Tensor, n_neurons: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Draw neurons that read the last layers, see `random_hinges`."""
        weights, *_ = self.unpack(theta)
        return random_hinges(self.relu.hidden_layers(weights, X)[-1], n_neurons, generator)

    def derivatives_of_neurons(
        self, theta: Tensor, X: Tensor, matrix: Tensor, bias: Tensor
    ) -> Tensor:
        """Return derivatives by the outgoing weights, 0 so far, of neurons that `deepen` may add.

        Parameters
        ----------
        theta : Tensor of shape (..., n_parameters)
        X : Tensor of shape (n_features, n_samples)
        matrix : Tensor of shape (..., n_subnetworks, n_neurons, 4)
        bias : Tensor of shape (..., n_subnetworks, n_neurons)

        Returns
        -------
        Tensor of shape (..., n_subnetworks, n_neurons, 2, n_samples)
            By the weight in the output, and by that in v, folded in two.
        """
        weights, directions, offsets, curvatures = self.unpack(theta)
        last = self.relu.hidden_layers(weights, X)[-1]
        v = _along(directions, last) + offsets[..., None]
        low, high = (end[..., None] for end in _range(v))
        folded = torch.minimum(v - low, high - v)
        values = (matrix @ last + bias[..., None]).relu()
        by_v = 2 * curvatures[..., None] * folded  # (..., n_subnetworks, n_samples)
        return torch.stack([values, values * by_v[..., None, :]], -2)

    def deepen(
        self, theta: Tensor, X: Tensor, neuron: tuple[Tensor, Tensor] | None = None
    ) -> tuple[ParabolicNetwork, Tensor]:
        """Add a layer that folds the parabola and does not change values on the rows.

        Its neurons are the part of the last layer in the output, v, and hinges that fold v.

        Parameters
        ----------
        theta : Tensor of shape (..., n_parameters)
        X : Tensor of shape (n_features, n_samples)
        neuron : tuple of Tensor, optional
            Weights (..., n_subnetworks, 1, 4) and bias (..., n_subnetworks, 1) of the fourth
            neuron, which has outgoing weights of 0. With it, the parabola is folded in two, and
            without it in three.
        """
        weights, directions, offsets, curvatures = self.unpack(theta)
        last = self.relu.hidden_layers(weights, X)[-1]
        low, high = _range(_along(directions, last) + offsets[..., None])
        width = (high - low) / (3 if neuron is None else 2)
        read = weights.output[..., 0]  # (..., n_subnetworks, 4)
        lowest, highest = _range(_along(read, last))
        lift = (highest - lowest) - lowest.clamp_max(0)  # the carried value stays positive
        zero, one = torch.zeros_like(offsets), torch.ones_like(offsets)
        if neuron is None:
            fourth, fourth_bias, folding = directions, offsets - low - 2 * width, 2 * one
        else:
            fourth, fourth_bias, folding = neuron[0][..., 0, :], neuron[1][..., 0], zero
        hidden = torch.stack([read, directions, directions, fourth], -2)
        biases = torch.stack([lift, offsets - low, offsets - low - width, fourth_bias], -1)
        # v^2 = (v - low)^2 + 2 low (v - low) + low^2, where the first term is folded.
        output = torch.stack([one, 2 * low * curvatures, 4 * width * curvatures, zero], -1)
        constant = curvatures * low.square() - lift
        network = ParabolicNetwork(replace(self.relu, depth=self.relu.depth + 1))
        deeper = ReLUWeights(
            hidden=[*weights.hidden, hidden],
            biases=[*weights.biases, biases],
            output=output[..., None],
            linear=weights.linear,
            intercept=weights.intercept + constant.sum(-1, keepdim=True),
        )
        folded = torch.stack([zero, one, -2 * one, folding], -1)
        return network, network.pack(deeper, folded, zero, curvatures)

    def unfold(self, theta: Tensor, X: Tensor, depth: int) -> tuple[ReLUNetwork, Tensor]:
        """Replace the parabolas by layers up to a depth, and then by lines.

        A line is the best one for evenly distributed values. Its error falls by a factor of 9 with
        each layer.

        Returns
        -------
        network : ReLUNetwork
        theta : Tensor of shape (..., network.n_parameters)
        """
        network = self
        while network.relu.depth < depth:
            network, theta = network.deepen(theta, X)
        weights, directions, offsets, curvatures = network.unpack(theta)
        last = network.relu.hidden_layers(weights, X)[-1]
        low, high = _range(_along(directions, last) + offsets[..., None])
        # v^2 is (low + high) v - low high - (high - low)^2 / 6 on average.
        slope = curvatures * (low + high)
        constant = slope * offsets - curvatures * (low * high + (high - low) ** 2 / 6)
        weights = weights._replace(
            output=weights.output + (slope[..., None] * directions)[..., None],
            intercept=weights.intercept + constant.sum(-1, keepdim=True),
        )
        return network.relu, network.relu.pack(weights)


def random_hinges(
    below: Tensor, n_neurons: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw neurons whose kinks lie within the range of their inputs.

    Parameters
    ----------
    below : Tensor of shape (..., n_inputs, n_samples)

    Returns
    -------
    matrix : Tensor of shape (..., n_neurons, n_inputs)
        They give each neuron unit variance; 0 for constant inputs.
    bias : Tensor of shape (..., n_neurons)
    """
    shape = (*below.shape[:-2], n_neurons)

    def drawn(draw, *size: int) -> Tensor:
        return draw(*shape, *size, generator=generator, dtype=torch.float64).to(below)

    inverse = _inverse(below.std(-1, correction=0))
    matrix = drawn(torch.randn, below.shape[-2]) * inverse[..., None, :]
    matrix = matrix * _inverse((matrix @ below).std(-1, correction=0))[..., None]
    low, high = _range(matrix @ below)
    return matrix, -(low + (high - low) * drawn(torch.rand))


def _along(directions: Tensor, values: Tensor) -> Tensor:
    """Return directions . values: (..., n) and (..., n, n_samples) to (..., n_samples)."""
    return (directions[..., None, :] @ values)[..., 0, :]


def _range(values: Tensor) -> tuple[Tensor, Tensor]:
    return values.amin(-1), values.amax(-1)


def _inverse(values: Tensor) -> Tensor:
    return torch.where(values > 1e-9, 1 / values, 0)
