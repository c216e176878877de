"""Derivatives of each output of a network, by the parameters that it depends on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor


class Network(Protocol):
    """A network with several outputs, of which each depends on some of the parameters."""

    @property
    def n_outputs(self) -> int:
        """Number of outputs."""

    def jacobian(self, theta: Tensor, X: Tensor, cotangent: Tensor) -> Tensor:
        """Return derivatives (..., n_parameters, n_samples) of a combination of outputs."""

    def of_output(self, output: int) -> Tensor:
        """Return the indices of the parameters that an output depends on."""


def jacobians_by_output(
    network: Network, theta: Tensor, X: Tensor, cotangent: Tensor
) -> Iterator[Tensor]:
    """Yield the derivatives of each output, by the parameters that it depends on.

    Parameters
    ----------
    cotangent : Tensor of shape (..., n_outputs, n_samples)
        Factor on the derivatives of each output, row by row.
    """
    for output in range(network.n_outputs):
        alone = torch.zeros_like(cotangent)
        alone[..., output, :] = cotangent[..., output, :]
        yield network.jacobian(theta, X, alone)[..., network.of_output(output), :]
