r"""Sums of triangle-wave sub-networks with coefficients, and with a guaranteed shape.

    f(x) = b_0 + beta . x + sum_k c_k B_k(w_k . x + o_k)

B_k is made of one triangle wave F_k, which is concave for all peaks. There are three kinds:

- *wave*: F. With c <= 0 it adds a convex function of the features that it reads, with c >= 0 a
  concave one.
- *step*: F(z - delta) - F(z). It increases, because the slope of F decreases, and is constant at
  both ends.
- *ramp*: F minus its first slope times z (decreasing, concave), with c <= 0, or F minus its last
  slope times z (increasing, concave), with c >= 0. So it adds an increasing function, convex or
  concave.

The shape then follows from bounds on single parameters: signs of coefficients, signs in the
directions of steps and ramps, and zeros for features that a sub-network must not read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from skrelu._networks.outputs import jacobians_by_output
from skrelu._networks.relu_network import ReLUNetwork
from skrelu._networks.shapes import Bounds, Kind, Shape
from skrelu._networks.triangle_network import TriangleNetwork

# Smallest and largest shift of a step, in widths of its window.
LEAST_SHIFT, LARGEST_SHIFT = 0.05, 10.0


@dataclass(frozen=True)
class TriangleModel:
    """A sum of triangle-wave sub-networks with coefficients.

    Parameters
    ----------
    triangles : TriangleNetwork
    n_outputs : int
    shape : Shape, optional
        Guaranteed signs of slopes and curvatures. Needs smooth scales.
    """

    triangles: TriangleNetwork
    n_outputs: int
    shape: Shape | None = None

    @property
    def n_subnetworks(self) -> int:
        """Number of sub-networks; a step counts once, but has two waves."""
        return self.triangles.n_subnetworks

    @property
    def n_levels(self) -> int:
        """Number of levels: 1."""
        return 1

    @property
    def kinds(self) -> list[Kind]:
        """The kind of each sub-network."""
        if self.shape is None:
            return [Kind("wave", 0)] * self.triangles.n_subnetworks
        found = self.shape.kinds()
        return [found[k % len(found)] for k in range(self.triangles.n_subnetworks)]

    def _of(self, name: str) -> list[int]:
        return [k for k, kind in enumerate(self.kinds) if kind.name == name]

    @property
    def wave_network(self) -> TriangleNetwork:
        """The network of all waves, two for each step."""
        n_subnetworks = self.triangles.n_subnetworks + len(self._of("step"))
        return replace(self.triangles, n_subnetworks=n_subnetworks)

    @property
    def sizes(self) -> list[int]:
        """Number of nonlinear parameters, of coefficients and of shifts."""
        n_coef = 1 + self.triangles.n_features + self.triangles.n_subnetworks
        return [self.triangles.n_parameters, n_coef * self.n_outputs, len(self._of("step"))]

    @property
    def n_parameters(self) -> int:
        """Length of the vector of all parameters."""
        return sum(self.sizes)

    def pack(self, inner: Tensor, coef: Tensor, shifts: Tensor) -> Tensor:
        """Join all parameters to one vector, (..., n_parameters)."""
        return torch.cat([inner, coef.flatten(-2), shifts], -1)

    def unpack(self, theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return nonlinear parameters, coefficients and shifts."""
        inner, coef, shifts = theta.split(self.sizes, -1)
        return inner, coef.unflatten(-1, (-1, self.n_outputs)), shifts

    def of_output(self, output: int) -> Tensor:
        """Return the indices of the parameters that an output depends on."""
        mask = torch.ones(self.n_parameters, dtype=torch.bool)
        _, coef, _ = self.unpack(mask)
        coef[:], coef[:, output] = False, True
        return mask.nonzero()[:, 0]

    def jacobians(self, theta: Tensor, X: Tensor, cotangent: Tensor) -> Iterator[Tensor]:
        """Yield the derivatives of each output, see `jacobians_by_output`."""
        if self.shape is None:  # the waves are the same for all outputs
            inner, coef, _ = self.unpack(theta)
            blocks = self.triangles.basis_derivatives(inner, X).unflatten(-2, (-1, self._n_each))
            columns = self.columns(theta, X)
            for output in range(self.n_outputs):
                row = cotangent[..., output, None, :]
                weights = coef[..., 1 + self.triangles.n_features :, output]
                own = (blocks * weights[..., None, None]).flatten(-3, -2)
                yield torch.cat([own, columns], -2) * row
            return
        yield from jacobians_by_output(self, theta, X, cotangent)

    def bounds(self, like: Tensor) -> Bounds | None:
        """Return lower and upper bounds of the parameters, None without a shape."""
        if self.shape is None:
            return None
        n_features, n_each = self.triangles.n_features, self._n_each
        low = like.new_full((self.triangles.n_subnetworks, n_each), -torch.inf)
        high = -low
        linear = like.new_full((n_features,), -torch.inf), like.new_full((n_features,), torch.inf)
        sign, free = like.new_tensor([kind.sign for kind in self.kinds]), like.new_tensor(torch.inf)
        pairs = zip(self.shape.monotonic, self.shape.convexity, strict=True)
        for j, (rise, bend) in enumerate(pairs):
            for k, kind in enumerate(self.kinds):
                read = kind.reads(rise, bend)
                low[k, j] = 0 if rise > 0 or not read else -torch.inf
                high[k, j] = 0 if rise < 0 or not read else torch.inf
            linear[0][j] = 0 if rise > 0 else -torch.inf
            linear[1][j] = 0 if rise < 0 else torch.inf
        signed = torch.where(sign > 0, 0, -free), torch.where(sign < 0, 0, free)
        first = like.new_tensor([-torch.inf]), like.new_tensor([torch.inf])
        shift = LEAST_SHIFT, LARGEST_SHIFT
        whole = []
        for i, block in enumerate((low, high)):
            coef = torch.cat([first[i], linear[i], signed[i]])[:, None].expand(-1, self.n_outputs)
            shifts = like.new_full((self.sizes[2],), shift[i])
            whole.append(self.pack(block.flatten(), coef, shifts))
        return whole[0], whole[1]

    @property
    def _n_each(self) -> int:
        return self.triangles.n_parameters // self.triangles.n_subnetworks

    def random(self, n_starts: int, X: Tensor, generator: torch.Generator) -> Tensor:
        """Draw starting points within the bounds, with coefficients of 0.

        Parameters
        ----------
        X : Tensor of shape (n_features, n_samples)

        Returns
        -------
        Tensor of shape (n_starts, n_parameters)
        """
        triangles, shape = self.triangles, self.shape
        assert shape is not None
        pairs = list(zip(shape.monotonic, shape.convexity, strict=True))
        readable = torch.tensor([[kind.reads(*pair) for pair in pairs] for kind in self.kinds])
        directions, _, peaks, _ = triangles.unpack(
            triangles.random(n_starts, X, generator, readable)
        )
        rise = torch.tensor(shape.monotonic).to(X)
        directions = torch.where(rise != 0, directions.abs() * rise, directions)
        shifts = torch.rand(n_starts, self.sizes[2], generator=generator, dtype=torch.float64)
        width = torch.ones_like(peaks[..., 0])
        width[..., self._of("step")] += shifts.to(X)  # steps have two windows side by side
        inner = triangles.windowed(directions, peaks[..., : triangles.n_peaks], X, width)
        n_coef = self.sizes[1] // self.n_outputs
        coef = X.new_zeros(n_starts, n_coef, self.n_outputs)
        return self.pack(inner, coef, shifts.to(X).clamp_min(LEAST_SHIFT))

    def to_waves(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return the parameters of `wave_network`, and coefficients, of the same function."""
        inner, coef, shifts = self.unpack(theta)
        if self.shape is None:
            return inner, coef
        steps, ramps = self._of("step"), self._of("ramp")
        n_features = self.triangles.n_features
        blocks = inner.unflatten(-1, (-1, self._n_each))
        intercept, linear, weights = self._split(coef)
        shifted = blocks[..., steps, :].clone()
        shifted[..., n_features] -= shifts
        sloped = weights[..., ramps, :] * self._ramp_slopes(inner)[..., None]
        directions, offsets = blocks[..., ramps, :n_features], blocks[..., ramps, n_features]
        intercept = intercept - offsets[..., None, :] @ sloped
        linear = linear - directions.mT @ sloped
        own = weights.clone()
        own[..., steps, :] *= -1
        coef = torch.cat([intercept, linear, own, weights[..., steps, :]], -2)
        return torch.cat([blocks, shifted], -2).flatten(-2), coef

    def _split(self, coef: Tensor) -> tuple[Tensor, ...]:
        n_features = self.triangles.n_features
        return coef.tensor_split([1, 1 + n_features], -2)

    def _ramp_slopes(self, inner: Tensor) -> Tensor:
        """Return the slope that is subtracted in each ramp."""
        left, right = self.triangles.outer_slopes(inner)
        ramps = self._of("ramp")
        sign = inner.new_tensor([self.kinds[k].sign for k in ramps])
        return torch.where(sign < 0, left[..., ramps], right[..., ramps])

    def moved(self, theta: Tensor, factor: Tensor, shift: Tensor) -> Tensor:
        """Return the parameters of f(factor * x + shift), both of shape (n_features,)."""
        inner, coef, shifts = self.unpack(theta)
        n_features = self.triangles.n_features
        blocks = inner.unflatten(-1, (-1, self._n_each)).clone()
        blocks[..., n_features] += blocks[..., :n_features] @ shift
        blocks[..., :n_features] *= factor
        intercept, linear, weights = self._split(coef)
        intercept = intercept + (shift @ linear)[..., None, :]
        coef = torch.cat([intercept, linear * factor[:, None], weights], -2)
        return self.pack(blocks.flatten(-2), coef, shifts)

    def affine(self, theta: Tensor, gain: Tensor, line: Tensor) -> Tensor:
        """Return the parameters of gain * f plus a linear function of [1, x].

        Parameters
        ----------
        gain : Tensor of shape (n_outputs,)
        line : Tensor of shape (1 + n_features, n_outputs)
        """
        inner, coef, shifts = self.unpack(theta)
        coef = coef * gain
        coef[..., : len(line), :] += line
        return self.pack(inner, coef, shifts)

    def forward(self, theta: Tensor, X: Tensor) -> Tensor:
        """Return f(X), shape (..., n_outputs, n_samples)."""
        inner, coef = self.to_waves(theta)
        intercept, linear, weights = self._split(coef)
        return weights.mT @ self.wave_network.basis(inner, X) + linear.mT @ X + intercept.mT

    def columns(self, theta: Tensor, X: Tensor) -> Tensor:
        """Return [1, x, B], (..., 1 + n_features + n_subnetworks, n_samples)."""
        inner, _ = self.to_waves(theta)
        basis = self._combined(theta, self.wave_network.basis(inner, X), X)
        known = torch.cat([torch.ones_like(X[:1]), X])
        return torch.cat([known.expand(*theta.shape[:-1], *known.shape), basis], -2)

    def _combined(self, theta: Tensor, waves: Tensor, X: Tensor) -> Tensor:
        """Return B, given the values of the waves."""
        steps, ramps = self._of("step"), self._of("ramp")
        if not steps and not ramps:
            return waves
        inner, _, _ = self.unpack(theta)
        basis, later = waves.tensor_split([self.triangles.n_subnetworks], -2)
        basis = basis.clone()
        basis[..., steps, :] = later - basis[..., steps, :]
        slopes = self._ramp_slopes(inner)[..., None]
        basis[..., ramps, :] -= slopes * self._reach(inner, X)
        return basis

    def _reach(self, inner: Tensor, X: Tensor) -> Tensor:
        """Return z = w . x + o of the ramps."""
        blocks = inner.unflatten(-1, (-1, self._n_each))[..., self._of("ramp"), :]
        n_features = self.triangles.n_features
        return blocks[..., :n_features] @ X + blocks[..., n_features, None]

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
        inner, _, _ = self.unpack(theta)
        nonlinear, coef = self.to_waves(theta)
        combined = coef @ cotangent  # (..., n_coef, n_samples)
        n, n_features = self.triangles.n_subnetworks, self.triangles.n_features
        steps, ramps = self._of("step"), self._of("ramp")
        blocks = self.wave_network.basis_derivatives(nonlinear, X).unflatten(-2, (-1, self._n_each))
        blocks = blocks * combined[..., 1 + n_features :, None, :]
        own, later = blocks.tensor_split([n], -3)
        if steps:
            own[..., steps, :, :] += later
        if ramps:
            own[..., ramps, :, :] -= self._by_ramp_slopes(inner, combined, X)
        basis = self._combined(theta, self.wave_network.basis(nonlinear, X), X)
        cotangents = cotangent[..., None, :, :]
        by_linear, by_weights = X[:, None] * cotangents, basis[..., None, :] * cotangents
        by_coef = torch.cat([cotangents, by_linear, by_weights], -3).flatten(-3, -2)
        return torch.cat([own.flatten(-3, -2), by_coef, -later[..., n_features, :]], -2)

    def _by_ramp_slopes(self, inner: Tensor, combined: Tensor, X: Tensor) -> Tensor:
        """Return the derivatives of what is subtracted in ramps, (..., n_ramps, n_each, n)."""
        ramps, n_features = self._of("ramp"), self.triangles.n_features
        by_left, by_right = self.triangles.outer_slopes_derivatives(inner).unbind(-1)
        falls = inner.new_tensor([self.kinds[k].sign for k in ramps])[:, None] < 0
        by_blocks = torch.where(falls, by_left[..., ramps, :], by_right[..., ramps, :])
        total = by_blocks[..., None] * self._reach(inner, X)[..., None, :]
        slopes = self._ramp_slopes(inner)[..., None]
        total[..., :n_features, :] += slopes[..., None] * X
        total[..., n_features, :] += slopes
        return total * combined[..., 1 + n_features :, :][..., ramps, None, :]

    def to_relu(self, theta: Tensor) -> tuple[ReLUNetwork, Tensor]:
        """Lower to the plain ReLU network that is the same function everywhere."""
        inner, coef = self.to_waves(theta)
        return self.wave_network.to_relu(inner, coef)
