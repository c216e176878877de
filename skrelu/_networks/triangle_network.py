"""Sums of triangle-wave sub-networks along ridge directions, and their exact lowering.

    f(x) = b_0 + beta . x + sum_k c_k F_k(w_k . x + o_k)

The *nonlinear* parameters theta are one vector: directions w_k, offsets o_k, and d + 1 peaks with
smooth scales, or d peaks and d - 1 free scales. Given these, f is linear in (b_0, beta, c). A
logistic function keeps the peaks inside of bounds (`bounded_peaks`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from skrelu._networks.lowering import lower_waves
from skrelu._networks.parabolic_network import ParabolicNetwork
from skrelu._networks.relu_network import ReLUNetwork, ReLUWeights
from skrelu._networks.triangle import (
    DifferentiableSum,
    bounded_peaks,
    bounded_peaks_slope,
    outer_slopes,
    outer_slopes_derivatives,
    peak_logits,
    smooth_scales,
    smooth_scales_jacobian,
    triangle_sum,
    triangle_sum_derivatives,
)

# Layers after which further waves are smaller than rounding errors.
DEEP = 54


@dataclass(frozen=True)
class TriangleNetwork:
    """A sum of triangle-wave sub-networks along ridge directions.

    Parameters
    ----------
    n_features, n_subnetworks, depth : int
    smooth : bool
        Whether the scales follow from the peaks (`smooth_scales`) or are free.
    n_free_peaks : int, optional
        Number of free peaks, all by default. Later ones are 1/2, so that the layers approach a
        parabola as the depth grows. Needs ``smooth``.
    """

    n_features: int
    n_subnetworks: int
    depth: int
    smooth: bool = True
    n_free_peaks: int | None = None

    @property
    def n_peaks(self) -> int:
        """Number of free peaks of a sub-network."""
        if self.n_free_peaks is not None:
            return self.n_free_peaks
        return self.depth + 1 if self.smooth else self.depth

    @property
    def n_parameters(self) -> int:
        """Length of theta."""
        n_scales = 0 if self.smooth else self.depth - 1
        return self.n_subnetworks * (self.n_features + 1 + self.n_peaks + n_scales)

    def pack(self, directions: Tensor, offsets: Tensor, peaks: Tensor, scales: Tensor) -> Tensor:
        """Join the nonlinear parameters to one vector, shape (..., n_parameters).

        Parameters
        ----------
        directions : Tensor of shape (..., n_subnetworks, n_features)
        offsets : Tensor of shape (..., n_subnetworks)
        peaks : Tensor of shape (..., n_subnetworks, n_peaks), inside of their bounds
        scales : Tensor of shape (..., n_subnetworks, depth)
            The first is 1. Ignored if they follow from the peaks.
        """
        parts = [directions, offsets[..., None], peak_logits(peaks)]
        if not self.smooth:
            parts.append(scales[..., 1:])
        return torch.cat(parts, -1).flatten(-2)

    def unpack(self, theta: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return directions, offsets, peaks and scales: the inverse of `pack`."""
        blocks = theta.unflatten(-1, (self.n_subnetworks, -1))
        p = self.n_features
        directions, offsets = blocks[..., :p], blocks[..., p]
        peaks = bounded_peaks(blocks[..., p + 1 : p + 1 + self.n_peaks])
        if self.smooth:
            fixed = self.depth + 1 - self.n_peaks
            peaks = torch.nn.functional.pad(peaks, (0, fixed), value=0.5)
            scales = smooth_scales(peaks)
        else:
            free = blocks[..., p + 1 + self.n_peaks :]
            scales = torch.cat([torch.ones_like(peaks[..., :1]), free], -1)
        return directions, offsets, peaks, scales

    def random(
        self,
        n_starts: int,
        X: Tensor,
        generator: torch.Generator,
        readable: Tensor | None = None,
    ) -> Tensor:
        """Draw starting points whose windows [0, 1] are the range of the projected data.

        Each direction is gaussian on a random subset of the features. Peaks are drawn around 1/2.
        Some sub-networks are nearly parabolic and others are far from it, as the best starts for
        different targets are. All is drawn on the CPU, so that results do not depend on the device.

        Parameters
        ----------
        X : Tensor of shape (n_features, n_samples)
        readable : Tensor of bool of shape (n_subnetworks, n_features), optional
            Features from which the subset of a sub-network is drawn.

        Returns
        -------
        Tensor of shape (n_starts, n_parameters)
        """
        p, shape = self.n_features, (n_starts, self.n_subnetworks)
        if readable is None:
            readable = torch.ones(self.n_subnetworks, p, dtype=torch.bool)

        def uniform(*size: int) -> Tensor:
            return torch.rand(*shape, *size, generator=generator, dtype=torch.float64)

        directions = torch.randn(*shape, p, generator=generator, dtype=torch.float64)
        n_used = (uniform(1) * readable.sum(-1, keepdim=True)).floor() + 1
        order = torch.where(readable, uniform(p), 1).argsort(-1).argsort(-1)
        directions = directions * (order < n_used)
        spread = uniform(1) * 0.8  # peaks within 1/2 +- 0.4 at most
        peaks = (0.5 + spread * (uniform(self.n_peaks) - 0.5)).to(X)
        return self.windowed(directions.to(X), peaks, X)

    def windowed(
        self, directions: Tensor, peaks: Tensor, X: Tensor, reach: Tensor | float = 1.0
    ) -> Tensor:
        """Pack directions and peaks, with offsets for which z is in [0, reach] on the rows."""
        z = directions @ X  # (n_starts, n_subnetworks, n_samples)
        low, width = z.amin(-1), z.amax(-1) - z.amin(-1)
        width = torch.where(width > 0, width, 1) / reach
        padding = (0, self.depth + 1 - self.n_peaks)
        scales = smooth_scales(torch.nn.functional.pad(peaks, padding, value=0.5))
        return self.pack(directions / width[..., None], -low / width, peaks, scales)

    def basis(self, theta: Tensor, X: Tensor) -> Tensor:
        """Return F_k(w_k . x + o_k), shape (..., n_subnetworks, n_samples)."""
        directions, offsets, peaks, scales = self.unpack(theta)
        z = directions @ X + offsets[..., None]
        wave = DifferentiableSum.apply if torch.is_grad_enabled() else triangle_sum
        return wave(z, peaks[..., : self.depth], scales)

    def outer_slopes(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return the slopes of each F_k left and right of [0, 1], (..., n_subnetworks)."""
        _, _, peaks, scales = self.unpack(theta)
        return outer_slopes(peaks[..., : self.depth], scales)

    def basis_derivatives(self, theta: Tensor, X: Tensor) -> Tensor:
        """Return the derivative of each F_k by its own parameters.

        Returns
        -------
        Tensor of shape (..., n_parameters, n_samples)
        """
        directions, offsets, peaks, scales = self.unpack(theta)
        z = directions @ X + offsets[..., None]
        dz, dpeaks, dscales = triangle_sum_derivatives(z, peaks[..., : self.depth], scales)
        parts = [dz[..., None, :] * X, dz[..., None, :], *self._by_shape(peaks, dpeaks, dscales)]
        return torch.cat(parts, -2).flatten(-3, -2)

    def outer_slopes_derivatives(self, theta: Tensor) -> Tensor:
        """Return the derivatives of both `outer_slopes` by each F_k's own parameters.

        Returns
        -------
        Tensor of shape (..., n_subnetworks, n_parameters / n_subnetworks, 2)
            Left, right.
        """
        _, _, peaks, scales = self.unpack(theta)
        dpeaks, dscales = outer_slopes_derivatives(peaks[..., : self.depth], scales)
        by_shape = torch.cat(self._by_shape(peaks, dpeaks, dscales), -2)
        return torch.nn.functional.pad(by_shape, (0, 0, self.n_features + 1, 0))

    def _by_shape(self, peaks: Tensor, dpeaks: Tensor, dscales: Tensor) -> list[Tensor]:
        """Return derivatives by the logits of free peaks and by free scales.

        Parameters
        ----------
        peaks : Tensor of shape (..., depth), or (..., depth + 1) where scales follow from them
        dpeaks, dscales : Tensor of shape (..., depth, n)
            Derivatives by peaks and scales as if they were independent.
        """
        if self.smooth:
            by_scales = smooth_scales_jacobian(peaks).transpose(-1, -2) @ dscales
            dpeaks = by_scales + torch.nn.functional.pad(dpeaks, (0, 0, 0, 1))
        peaks, dpeaks = peaks[..., : self.n_peaks], dpeaks[..., : self.n_peaks, :]
        dlogits = dpeaks * bounded_peaks_slope(peaks)[..., None]
        return [dlogits] if self.smooth else [dlogits, dscales[..., 1:, :]]

    def to_relu(self, theta: Tensor, coef: Tensor) -> tuple[ReLUNetwork, Tensor]:
        """Lower to the plain ReLU network that is the same function everywhere.

        A layer has four neurons: the sum so far, h and (h - a_i)+ for the next wave, and the part
        outside [0, 1] that decreases F. Every carried value is >= 0, so ReLU does not change it. To
        this end the sum includes the outer part that increases F, and a bias for negative scales.

        Parameters
        ----------
        theta : Tensor of shape (..., n_parameters)
        coef : Tensor of shape (..., 1 + n_features + n_subnetworks, n_outputs)
            Intercept, linear part and coefficients of the sub-networks.

        Returns
        -------
        network : ReLUNetwork
        theta : Tensor of shape (..., network.n_parameters)
        """
        directions, offsets, peaks, scales = self.unpack(theta)
        peaks = peaks[..., : self.depth]
        hidden, biases, read_out, _, shift = lower_waves(
            directions, offsets, peaks, scales, outer_slopes(peaks, scales)
        )
        intercept, linear, weights = coef.split([1, self.n_features, self.n_subnetworks], -2)
        network = ReLUNetwork(self.n_features, self.n_subnetworks, self.depth, coef.shape[-1])
        lowered = ReLUWeights(
            hidden=hidden,
            biases=biases,
            output=read_out[..., None] * weights[..., None, :],
            linear=linear,
            intercept=intercept[..., 0, :] - (shift[..., None] * weights).sum(-2),
        )
        return network, network.pack(lowered)

    def to_parabolic(self, theta: Tensor, coef: Tensor) -> tuple[ParabolicNetwork, Tensor]:
        r"""Lower to the limit of infinite depth: a layer for each free peak, then a parabola.

        With peaks of 1/2 from layer m on, :math:`\sum_{i \ge m} s_i h_{i+1}` approaches
        :math:`4 s_m h_m (1 - h_m)`, and the error falls by a factor of 4 with each layer.

        Parameters
        ----------
        theta : Tensor of shape (..., n_parameters)
        coef : Tensor of shape (..., 1 + n_features + n_subnetworks, 1)

        Returns
        -------
        network : ParabolicNetwork
            Of ``n_free_peaks`` hidden layers.
        theta : Tensor of shape (..., network.n_parameters)
        """
        m = self.n_peaks
        limit = replace(self, depth=m + DEEP)
        directions, offsets, peaks, scales = limit.unpack(theta)
        slopes = outer_slopes(peaks[..., : limit.depth], scales)
        hidden, biases, read_out, wave, _ = lower_waves(
            directions, offsets, peaks[..., :m], scales[..., :m], slopes
        )
        intercept, linear, weights = coef.split([1, self.n_features, self.n_subnetworks], -2)
        relu = ReLUNetwork(self.n_features, self.n_subnetworks, m, coef.shape[-1])
        network = ParabolicNetwork(relu)
        height = scales[..., m] * weights[..., 0]  # of the parabola, at h = 1/2
        parts = ReLUWeights(
            hidden=hidden,
            biases=biases,
            output=read_out[..., None] * weights[..., None, :],
            linear=linear,
            intercept=intercept[..., 0, :] + height.sum(-1, keepdim=True),
        )
        vertex = torch.full_like(height, -0.5)
        return network, network.pack(parts, wave, vertex, -4 * height)
