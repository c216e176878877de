r"""Networks on encoded columns: triangle waves on ramps and curves, then a ReLU layer.

A member is the function

    f = b + C relu(B F(A [u, g] + o) + e)

of the encoded columns u, which all members read, and of its own curves g. F are triangle waves, as
in `skrelu._networks.triangle`, with ``n_peaks`` free peaks and all others 1/2. All members are one
batch. Their weights are views of one vector, and so are the derivatives, which are written by hand:
a step takes few large products.

Samples are the last dimension, except in u, which is (n_samples, n_columns) because rows are drawn
from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from skrelu._networks.triangle import (
    bounded_peaks,
    bounded_peaks_slope,
    smooth_scales,
    smooth_scales_jacobian,
)

# Factor on random coefficients of the outputs: a fit begins near 0.
SMALL = 0.1


class EncodedWeights(NamedTuple):
    """The weights of all members; the first dimension is the member."""

    directions: Tensor  # (n_members, n_waves, n_columns)
    of_curves: Tensor  # (n_members, n_waves, n_curves)
    offsets: Tensor  # (n_members, n_waves)
    peaks: Tensor  # (n_members, n_waves, n_peaks), logits
    hidden: Tensor  # (n_members, n_units, n_waves)
    biases: Tensor  # (n_members, n_units)
    output: Tensor  # (n_members, n_outputs, n_units)
    intercept: Tensor  # (n_members, n_outputs)


@dataclass(frozen=True)
class EncodedNetwork:
    """Triangle waves on encoded columns, and a layer of ReLU units on the waves.

    Parameters
    ----------
    n_columns, n_curves : int
        Encoded columns that all members read, and curves of each member.
    n_waves, depth, n_peaks : int
        Sub-networks of a member, and their layers and free peaks.
    n_units, n_outputs : int
    """

    n_columns: int
    n_curves: int
    n_waves: int
    depth: int
    n_peaks: int
    n_units: int
    n_outputs: int

    def shapes(self, n_members: int) -> EncodedWeights:
        """Return the shapes of the weights."""
        waves, units = (n_members, self.n_waves), (n_members, self.n_units)
        shapes = (
            (*waves, self.n_columns),
            (*waves, self.n_curves),
            waves,
            (*waves, self.n_peaks),
            (*units, self.n_waves),
            units,
            (n_members, self.n_outputs, self.n_units),
            (n_members, self.n_outputs),
        )
        return EncodedWeights(*shapes)  # type: ignore[arg-type]

    @property
    def n_parameters(self) -> int:
        """Number of weights of a member."""
        return sum(torch.Size(shape).numel() for shape in self.shapes(1))

    def unpack(self, theta: Tensor) -> EncodedWeights:
        """Return views of a vector that has one kind of weights of all members after the other."""
        shapes = self.shapes(theta.numel() // self.n_parameters)
        sizes = [torch.Size(shape).numel() for shape in shapes]
        parts = theta.split(sizes)
        return EncodedWeights(*(a.view(s) for a, s in zip(parts, shapes, strict=True)))

    def by_member(self, theta: Tensor) -> Tensor:
        """Return the weights of each member as a vector, (n_members, n_parameters)."""
        return torch.cat([part.flatten(1) for part in self.unpack(theta)], 1)

    def of_members(self, theta: Tensor) -> Tensor:
        """Return one vector of all members: the inverse of `by_member`."""
        sizes = [torch.Size(shape).numel() for shape in self.shapes(1)]
        return torch.cat([part.flatten() for part in theta.split(sizes, 1)])

    def random(self, n_members: int, generator: torch.Generator) -> Tensor:
        """Draw weights whose sums keep the size of their summands; peaks are 1/2."""
        theta = torch.zeros(n_members * self.n_parameters, dtype=torch.float32)
        weights = self.unpack(theta)
        n_inputs = self.n_columns + self.n_curves
        for part, size in (
            (weights.directions, n_inputs),
            (weights.of_curves, n_inputs),
            (weights.hidden, self.n_waves),
            (weights.biases, self.n_waves),
            (weights.output, self.n_units),
        ):
            part.uniform_(-1, 1, generator=generator).mul_(size**-0.5)
        weights.offsets.uniform_(0, 1, generator=generator)
        weights.output.mul_(SMALL)
        return theta

    def peaks_and_scales(self, weights: EncodedWeights) -> tuple[Tensor, Tensor]:
        """Return all peaks, (n_members, n_waves, depth + 1), and scales, (..., depth)."""
        peaks = bounded_peaks(weights.peaks)
        fixed = self.depth + 1 - self.n_peaks
        peaks = torch.nn.functional.pad(peaks, (0, fixed), value=0.5)
        return peaks, smooth_scales(peaks)

    def forward(self, weights: EncodedWeights, columns: Tensor, curves: Tensor) -> Tensor:
        """Return raw outputs, (n_members, n_outputs, n_samples).

        Parameters
        ----------
        weights : EncodedWeights
        columns : Tensor of shape (n_samples, n_columns) or (n_members, n_samples, n_columns)
        curves : Tensor of shape (n_members or 1, n_samples, n_curves)
        """
        _, units = self.hidden(weights, columns, curves)
        return torch.baddbmm(weights.intercept[..., None], weights.output, units)

    def hidden(
        self, weights: EncodedWeights, columns: Tensor, curves: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return what the waves are functions of, and the units, (n_members, ..., n_samples)."""
        waves, _, units = self._layers(weights, columns, curves)
        return waves.inner, units

    def _inner(self, weights: EncodedWeights, columns: Tensor, curves: Tensor) -> Tensor:
        """Return what the waves are functions of, (n_members, n_waves, n_samples)."""
        directions = weights.directions
        if len(curves) == 1:  # one product for all members
            z = weights.of_curves.flatten(0, 1) @ curves[0].mT
            z = z.view(*weights.offsets.shape, -1).add_(weights.offsets[..., None])
        else:
            z = torch.baddbmm(weights.offsets[..., None], weights.of_curves, curves.mT)
        if columns.dim() == 2:
            return z.flatten(0, 1).addmm_(directions.flatten(0, 1), columns.mT).view_as(z)
        return z.baddbmm_(directions, columns.mT)

    def _layers(
        self, weights: EncodedWeights, columns: Tensor, curves: Tensor
    ) -> tuple[_Waves, Tensor, Tensor]:
        peaks, scales = self.peaks_and_scales(weights)
        z = self._inner(weights, columns, curves)
        waves = _Waves(z, peaks, scales)
        units = torch.baddbmm(weights.biases[..., None], weights.hidden, waves.total).relu_()
        return waves, peaks, units

    def differentiate(
        self,
        weights: EncodedWeights,
        into: EncodedWeights,
        columns: Tensor,
        curves: Tensor,
        slopes,
    ) -> None:
        """Write the derivatives of a sum over outputs and samples.

        Parameters
        ----------
        weights, into : EncodedWeights
            The point, and where the derivatives are written.
        columns : Tensor of shape (n_samples, n_columns)
        curves : Tensor of shape (n_members or 1, n_samples, n_curves)
        slopes : callable
            Function of raw outputs that returns the derivatives of the sum by these.
        """
        waves, peaks, units = self._layers(weights, columns, curves)
        g = slopes(torch.baddbmm(weights.intercept[..., None], weights.output, units))
        torch.bmm(g, units.mT, out=into.output)
        torch.sum(g, -1, out=into.intercept)
        g = torch.ops.aten.threshold_backward(torch.bmm(weights.output.mT, g), units, 0)
        torch.bmm(g, waves.total.mT, out=into.hidden)
        torch.sum(g, -1, out=into.biases)
        g, by_peaks, by_scales = waves.backward(torch.bmm(weights.hidden.mT, g))
        jacobian = smooth_scales_jacobian(peaks)
        by_peaks = (
            torch.nn.functional.pad(by_peaks, (0, 1))
            + (by_scales[..., None, :] @ jacobian)[..., 0, :]
        )
        by_peaks = by_peaks[..., : self.n_peaks]
        torch.mul(by_peaks, bounded_peaks_slope(peaks[..., : self.n_peaks]), out=into.peaks)
        torch.sum(g, -1, out=into.offsets)
        if len(curves) == 1:
            torch.mm(g.flatten(0, 1), curves[0], out=into.of_curves.flatten(0, 1))
        else:
            torch.bmm(g, curves, out=into.of_curves)
        torch.mm(g.flatten(0, 1), columns, out=into.directions.flatten(0, 1))


class _Waves:
    """F(z) with what its derivatives need; sums over samples are taken at once.

    A wave is T(h) = h / a - bend (h - a)+, with bend = 1 / a + 1 / (1 - a): two fast operations.
    """

    def __init__(self, z: Tensor, peaks: Tensor, scales: Tensor) -> None:
        self.scales, self.inner = scales, z
        self.rise = 1 / peaks[..., None]
        self.bend = -self.rise - 1 / (1 - peaks[..., None])
        self.beyond: list[Tensor] = []
        self.waves: list[Tensor] = []
        h = z
        for i in range(scales.shape[-1]):
            beyond = (h - peaks[..., i, None]).relu_()
            h = (h * self.rise[..., i, :]).addcmul_(beyond, self.bend[..., i, :])
            self.beyond.append(beyond)
            self.waves.append(h)
        self.total = self.waves[0]
        for i, h in enumerate(self.waves[1:], 1):
            self.total = torch.addcmul(self.total, h, scales[..., i, None])

    def backward(self, by_total: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return derivatives by z, by peaks at fixed scales and by scales, summed over samples."""
        depth = self.scales.shape[-1]
        by_scales = [(by_total * h).sum(-1) for h in self.waves[1:]]
        by_scales.insert(0, torch.zeros_like(self.scales[..., 0]))  # the first scale is 1
        by_peaks: list[Tensor] = []
        g = by_total if depth == 1 else by_total * self.scales[..., -1, None]
        for i in reversed(range(depth)):
            falling = torch.ops.aten.threshold_backward(g, self.beyond[i], 0)
            g = (g * self.rise[..., i, :]).addcmul_(falling, self.bend[..., i, :])
            by_peaks.append(-(g * self.waves[i]).sum(-1))
            if i > 1:
                g = g.addcmul_(by_total, self.scales[..., i - 1, None])
            elif i == 1:
                g = g.add_(by_total)
        return g, torch.stack(by_peaks[::-1], -1), torch.stack(by_scales, -1)
