"""Plain 4-wide ReLU networks and the random weights that they start from elsewhere."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from skrelu._networks.relu_network import WIDTH, ReLUNetwork, ReLUWeights

Draw = Callable[[int, int, int, torch.Generator], Tensor]  # see `torch_default`


class PlainNetwork(ReLUNetwork):
    """A `ReLUNetwork` whose linear part stays zero: ``depth`` dense layers and a read-out."""

    def unpack(self, theta: Tensor) -> ReLUWeights:
        """Read the vector, with zeros for the linear part."""
        weights = super().unpack(theta)
        return weights._replace(linear=torch.zeros_like(weights.linear))

    def jacobian(self, theta: Tensor, X: Tensor, cotangent: Tensor) -> Tensor:
        """Return the derivatives (..., n_parameters, n_samples), zero for the linear part."""
        jacobian = super().jacobian(theta, X, cotangent)
        n_linear = self.n_features * self.n_outputs
        jacobian[..., -n_linear - self.n_outputs : -self.n_outputs, :] = 0
        return jacobian

    def random(self, draw: Draw, n_starts: int, generator: torch.Generator) -> Tensor:
        """Return starting points (n_starts, n_parameters) with every layer drawn alike."""
        inputs = [self.n_features, *[WIDTH] * (self.depth - 1)]
        layers = [draw(n_starts, WIDTH, n, generator)[:, None] for n in inputs]
        read_out = draw(n_starts, self.n_outputs, WIDTH, generator)
        return self.pack(
            ReLUWeights(
                hidden=[layer[..., :-1] for layer in layers],
                biases=[layer[..., -1] for layer in layers],
                output=read_out[..., :-1].mT[:, None],
                linear=read_out.new_zeros(n_starts, self.n_features, self.n_outputs),
                intercept=read_out[..., -1],
            )
        )


def torch_default(n_starts: int, fan_out: int, fan_in: int, generator: torch.Generator) -> Tensor:
    """Draw weights and biases as `torch.nn.Linear` does, uniform within 1/sqrt(fan_in).

    Returns
    -------
    Tensor of shape (n_starts, fan_out, fan_in + 1)
        Biases are the last column.
    """
    shape = (n_starts, fan_out, fan_in + 1)
    uniform = torch.rand(shape, generator=generator, dtype=torch.float64)
    return (2 * uniform - 1) / fan_in**0.5


def rai(n_starts: int, fan_out: int, fan_in: int, generator: torch.Generator) -> Tensor:
    """Draw by randomized asymmetric initialization: gaussian, one entry a row Beta(2, 1).

    Shapes are those of `torch_default`.

    References
    ----------
    Lu, Shin, Su, Karniadakis, "Dying ReLU and initialization: theory and numerical
    examples", 2020, https://arxiv.org/abs/1903.06733
    """
    shape = (n_starts, fan_out, fan_in + 1)
    weights = 0.6007 / fan_in**0.5 * torch.randn(shape, generator=generator, dtype=torch.float64)
    chosen = torch.randint(fan_in + 1, shape[:-1], generator=generator)[..., None]
    uniform = torch.rand(chosen.shape, generator=generator, dtype=torch.float64)
    return weights.scatter(-1, chosen, uniform.sqrt())  # Beta(2, 1) by its inverse
