"""Plain ReLU networks: layers of any sizes, some of whose weights are zero and stay so."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from skrelu._networks.outputs import jacobians_by_output
from skrelu._networks.plain_layers import Affine


@dataclass(frozen=True)
class PlainNetwork:
    """Layers of neurons with ReLU, and outputs that are linear in the last one.

    A layer is a matrix whose last column holds the biases.

    Parameters
    ----------
    masks : tuple of Tensor of bool of shape (n_out, n_in + 1)
        Which weights and biases of each layer are parameters; the others are 0.
    """

    masks: tuple[Tensor, ...]

    @classmethod
    def of_layers(cls, layers: Sequence[Affine]) -> tuple[PlainNetwork, Tensor]:
        """Return the network of layers, all of whose weights are parameters, and these."""
        network = cls(
            tuple(torch.ones(len(bias), matrix.shape[1] + 1).bool() for matrix, bias in layers)
        )
        return network, network.pack([torch.cat([m, b[:, None]], 1) for m, b in layers])

    @cached_property
    def places(self) -> list[tuple[Tensor, Tensor]]:
        """Rows and columns of the parameters of each layer."""
        pairs = [mask.nonzero().T for mask in self.masks]
        return [(row, column) for row, column in pairs]

    @cached_property
    def _sizes(self) -> list[int]:
        return [len(row) for row, _ in self.places]

    @property
    def n_parameters(self) -> int:
        """Number of parameters."""
        return sum(self._sizes)

    @property
    def n_outputs(self) -> int:
        """Number of outputs."""
        return len(self.masks[-1])

    def pack(self, matrices: Sequence[Tensor]) -> Tensor:
        """Join matrices (..., n_out, n_in + 1) to one vector, (..., n_parameters)."""
        pairs = zip(matrices, self.places, strict=True)
        return torch.cat([matrix[..., row, column] for matrix, (row, column) in pairs], -1)

    def unpack(self, theta: Tensor) -> list[Tensor]:
        """Return the matrices: the inverse of `pack`."""
        matrices = []
        parts = theta.split(self._sizes, -1)
        for mask, (row, column), part in zip(self.masks, self.places, parts, strict=True):
            if len(row) == mask.numel():
                matrices.append(part.unflatten(-1, tuple(mask.shape)))
            else:
                matrix = theta.new_zeros(*theta.shape[:-1], *mask.shape)
                matrix[..., row, column] = part
                matrices.append(matrix)
        return matrices

    def layers(self, theta: Tensor) -> list[Affine]:
        """Return matrices without biases, and biases."""
        return [(matrix[..., :-1], matrix[..., -1]) for matrix in self.unpack(theta)]

    def of_output(self, output: int) -> Tensor:
        """Return the indices of the parameters that an output depends on."""
        index = torch.ones(self.n_parameters, dtype=torch.bool)
        index[len(index) - self._sizes[-1] :] = self.places[-1][0] == output
        return index.nonzero()[:, 0]

    def forward(self, theta: Tensor, X: Tensor) -> Tensor:
        """Return f(X), shape (..., n_outputs, n_samples)."""
        return outputs_of(self.unpack(theta), X)

    def jacobian(self, theta: Tensor, X: Tensor, cotangent: Tensor) -> Tensor:
        """Return the derivatives of a linear combination of the outputs by all parameters.

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
        matrices = self.unpack(theta)
        values = hidden(matrices, X)
        found = X.new_empty(*theta.shape, X.shape[-1])
        parts, g = found.split(self._sizes, -2), cotangent
        one = X.new_ones(1, X.shape[-1])
        for k in reversed(range(len(matrices))):
            row, column = self.places[k]
            read = torch.cat([values[k], one.expand(*values[k].shape[:-2], *one.shape)], -2)
            torch.mul(g[..., row, :], read[..., column, :], out=parts[k])
            if k:
                g = (matrices[k][..., :-1].mT @ g) * values[k].sign()  # 1 where it is active
        return found

    def jacobians(self, theta: Tensor, X: Tensor, cotangent: Tensor) -> Iterator[Tensor]:
        """Yield the derivatives of each output, see `jacobians_by_output`."""
        return jacobians_by_output(self, theta, X, cotangent)

    def without(self, theta: Tensor, dropped: Tensor) -> tuple[PlainNetwork, Tensor]:
        """Return the network without some parameters and what then has no effect.

        Parameters
        ----------
        theta : Tensor of shape (n_parameters,)
        dropped : Tensor of int
            Indices of parameters, which are taken to be 0.
        """
        free = torch.ones_like(theta)
        free[dropped] = 0
        matrices, masks = self.unpack(theta * free), [m > 0 for m in self.unpack(free)]
        while True:
            for k in range(len(masks) - 1):
                # What reads nothing is constant, and what nothing reads goes.
                constant = ~masks[k][:, :-1].any(1)
                value = matrices[k][:, -1].relu() * constant
                after = matrices[k + 1]
                after[:, -1] += after[:, :-1] @ value
                masks[k + 1][:, -1] |= (masks[k + 1][:, :-1] & (value > 0)).any(1)
                kept = masks[k + 1][:, :-1].any(0) & ~constant
                kept[kept.new_zeros(1).long()] |= not kept.any()  # a layer has a neuron
                columns = torch.cat([kept, kept.new_ones(1)])
                if not kept.all():
                    matrices[k], masks[k] = matrices[k][kept], masks[k][kept]
                    matrices[k + 1], masks[k + 1] = after[:, columns], masks[k + 1][:, columns]
                    break
            else:
                break
        network = PlainNetwork(tuple(masks))
        return network, network.pack(matrices)


def hidden(matrices: Sequence[Tensor], X: Tensor) -> list[Tensor]:
    """Return x and the values of each hidden layer, (..., n, n_samples)."""
    values = [X]
    for matrix in matrices[:-1]:
        values.append(_applied(matrix, values[-1]).relu_())
    return values


def outputs_of(matrices: Sequence[Tensor], X: Tensor) -> Tensor:
    """Return the outputs of layers, (..., n_outputs, n_samples)."""
    for matrix in matrices[:-1]:
        X = _applied(matrix, X).relu_()
    return _applied(matrices[-1], X)


def slopes_of(matrices: Sequence[Tensor], X: Tensor) -> Tensor:
    """Return the derivatives of the outputs by x, (n_outputs, n_features, n_samples)."""
    values = hidden(matrices, X)
    g = matrices[-1][:, :-1, None]  # (n_outputs, n, n_samples or 1)
    for matrix, value in zip(matrices[-2::-1], values[:0:-1], strict=True):
        g = matrix[:, :-1].mT @ (g * value.sign())
    return g.expand(*g.shape[:2], X.shape[-1])


def _applied(matrix: Tensor, values: Tensor) -> Tensor:
    return (matrix[..., :-1] @ values).add_(matrix[..., -1:])
