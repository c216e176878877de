r"""Composed networks: sub-networks on levels, in the limit of infinite depth.

Sub-networks of the first level read the inputs x. Those of each later level read x and the outputs
of all earlier levels. The output is linear in x and all of them. A sub-network is
:math:`h(w \cdot s + o)`, where s is what it reads and h is a `Wave`. One level is a sum of ridge
functions. It hardly learns products of three or more inputs; several levels do.

Without a shape all waves are a `Bump`. With a shape they are convex and concave ramps (`Ramp`). An
increasing convex function of increasing convex functions is increasing and convex. So the shape
follows from signs of weights: weights on earlier levels and in the output are not negative, and
weights on features have the signs of their slopes. If a curvature is guaranteed, ramps read only
earlier ramps of the same curvature (Amos, Xu, Kolter 2017).

Samples are the last dimension everywhere: X is (n_features, n_samples).

References
----------
Amos, Xu, Kolter, "Input convex neural networks", 2017, https://arxiv.org/abs/1609.07152
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import NamedTuple

import torch
from torch import Tensor

from skrelu._networks.outputs import jacobians_by_output
from skrelu._networks.plain_layers import Affine
from skrelu._networks.relu_network import WIDTH, ReLUNetwork, ReLUWeights, moved_inputs
from skrelu._networks.shapes import Bounds, Shape
from skrelu._networks.smooth_waves import RIPPLED, Bump, Folded, Ramp, Ripple, Wave

# Standard deviation of w . s for a random sub-network.
SPREAD = 0.4


class ComposedWeights(NamedTuple):
    """The weights of a `ComposedNetwork`; leading dimensions are batches."""

    directions: list[Tensor]  # (..., n, n_features + n * level), one a level of n sub-networks
    offsets: list[Tensor]  # (..., n), one a level
    output: Tensor  # (..., n_features + n_subnetworks, n_outputs)
    intercept: Tensor  # (..., n_outputs)


@dataclass(frozen=True)
class ComposedNetwork:
    """A composed network: its sizes and its shape. Weights are arguments of the methods.

    Parameters
    ----------
    n_features, n_subnetworks, n_levels, n_outputs : int
        ``n_levels`` divides ``n_subnetworks``: levels have the same number of sub-networks.
    shape : Shape, optional
        Guaranteed signs of slopes and curvatures.
    depth : int, optional
        Layers of sub-networks of triangle waves, without a shape. None is their limit.
    ripples : bool, default=False
        Whether waves are periodic, along directions that stay as they are: least squares fit the
        output.
    """

    n_features: int
    n_subnetworks: int
    n_levels: int
    n_outputs: int
    shape: Shape | None = None
    depth: int | None = None
    ripples: bool = False

    @property
    def levels(self) -> list[int]:
        """Number of sub-networks of each level."""
        return [self.n_subnetworks // self.n_levels] * self.n_levels

    @property
    def n_signals(self) -> list[int]:
        """Number of values that each level reads, and last the number that the output reads."""
        counts = [self.n_features]
        for n in self.levels:
            counts.append(counts[-1] + n)
        return counts

    def sizes(self) -> list[int]:
        """Return the number of weights of each part: by level, of the output, of the intercept."""
        pairs = zip(self.levels, self.n_signals, strict=False)
        hidden = [size for n, n_read in pairs for size in (n * n_read, n)]
        return [*hidden, self.n_signals[-1] * self.n_outputs, self.n_outputs]

    def resized(self, n_levels: int, most: int, n_parameters: int) -> ComposedNetwork:
        """Return at most ``most`` sub-networks on each level with so many parameters at most."""
        for size in range(most, 0, -1):
            other = replace(self, n_levels=n_levels, n_subnetworks=n_levels * size)
            if other.n_parameters <= n_parameters:
                return other
        return self

    @property
    def n_parameters(self) -> int:
        """Length of the vector of all weights."""
        return sum(self.sizes())

    def groups(self, by_feature: bool) -> Tensor:
        """Return the group of each parameter, -1 of the intercepts, which have none.

        Directions and offsets of each level are groups, and the output is one. If ``by_feature``,
        all directions along a feature are a group, so that a feature can lose all of its weights
        (automatic relevance determination). Directions that read earlier levels are a group a level
        then, and the linear and the other part of the output are groups.
        """
        d = self.n_features
        features = torch.arange(d) if by_feature else torch.zeros(d, dtype=torch.int64)
        next_group, directions, offsets = d, [], []
        for n, n_read in zip(self.levels, self.n_signals, strict=False):
            first = features if by_feature else features + next_group
            reads = torch.cat([first, torch.full((n_read - d,), next_group)])
            directions.append(reads.expand(n, n_read))
            offsets.append(torch.full((n,), next_group + 1))
            next_group += 2
        linear = torch.full((d,), next_group + (1 if by_feature else 0))
        output = torch.cat([linear, torch.full((self.n_subnetworks,), next_group)])
        found = self.pack(
            ComposedWeights(
                directions=directions,
                offsets=offsets,
                output=output[:, None].expand(-1, self.n_outputs),
                intercept=torch.full((self.n_outputs,), -1),
            )
        )
        return found.unique(return_inverse=True)[1] - 1

    def pack(self, weights: ComposedWeights) -> Tensor:
        """Join weights to one vector, shape (..., n_parameters)."""
        pairs = zip(weights.directions, weights.offsets, strict=True)
        parts = [part for matrix, bias in pairs for part in (matrix.flatten(-2), bias)]
        return torch.cat([*parts, weights.output.flatten(-2), weights.intercept], -1)

    def unpack(self, theta: Tensor) -> ComposedWeights:
        """Split the vector into weights: the inverse of `pack`, as views."""
        *hidden, output, intercept = theta.split(self.sizes(), -1)
        pairs = zip(hidden[::2], self.levels, strict=True)
        return ComposedWeights(
            directions=[part.unflatten(-1, (n, -1)) for part, n in pairs],
            offsets=list(hidden[1::2]),
            output=output.unflatten(-1, (-1, self.n_outputs)),
            intercept=intercept,
        )

    @property
    def waves(self) -> list[Wave]:
        """The wave of each sub-network of a level."""
        if self.ripples:
            return [Ripple()] * self.levels[0]
        if self.shape is None:
            return [Bump() if self.depth is None else Folded(self.depth)] * self.levels[0]
        found = [s for s in (1, -1) if any(s * bend >= 0 for bend in self.shape.convexity)]
        return [Ramp(found[k % len(found)]) for k in range(self.levels[0])]

    def bounds(self, like: Tensor) -> Bounds | None:
        """Return lower and upper bounds of the parameters, None without a shape."""
        if self.shape is None:
            return None
        shape = self.shape
        signs = torch.tensor([wave.sign for wave in self.waves if isinstance(wave, Ramp)])[:, None]
        rise, bend = torch.tensor(shape.monotonic), torch.tensor(shape.convexity)
        own = (signs == signs.T) | torch.tensor(not any(shape.convexity))
        low, high = [], []
        for level, n in enumerate(self.levels):
            reads = torch.cat([signs * bend >= 0, own.repeat(1, level)], -1)  # (n, n_read)
            positive = torch.cat([rise > 0, rise.new_ones(n * level) > 0])
            negative = torch.nn.functional.pad(rise < 0, (0, n * level))
            low += [torch.where(~reads | positive, 0, -torch.inf), torch.full((n,), -torch.inf)]
            high += [torch.where(~reads | negative, 0, torch.inf), torch.full((n,), torch.inf)]
        parts = []
        for sides, free, zero in ((low, -torch.inf, rise > 0), (high, torch.inf, rise < 0)):
            linear = torch.where(zero, 0, free)
            least = 0.0 if free < 0 else free
            output = torch.cat([linear, linear.new_full((self.n_subnetworks,), least)])
            parts.append(
                self.pack(
                    ComposedWeights(
                        directions=sides[::2],
                        offsets=sides[1::2],
                        output=output[:, None].expand(-1, self.n_outputs),
                        intercept=output.new_full((self.n_outputs,), free),
                    )
                ).to(like)
            )
        return parts[0], parts[1]

    def random(self, n_starts: int, generator: torch.Generator) -> Tensor:
        """Draw starting points for standardized inputs, (n_starts, n_parameters), on the CPU."""

        def normal(*size: int) -> Tensor:
            return torch.randn(n_starts, *size, generator=generator, dtype=torch.float64)

        pairs = list(zip(self.levels, self.n_signals, strict=False))
        theta = self.pack(
            ComposedWeights(
                directions=[normal(n, n_read) * SPREAD * n_read**-0.5 for n, n_read in pairs],
                offsets=[normal(n) * SPREAD for n in self.levels],
                output=normal(self.n_signals[-1], self.n_outputs) * self.n_signals[-1] ** -0.5,
                intercept=normal(self.n_outputs) * 0,
            )
        )
        bounds = self.bounds(theta)
        if bounds is None:
            return theta
        low, high = bounds  # reflected at 0 where only one sign is allowed
        theta = torch.where((low == 0) & (high > 0), theta.abs(), theta)
        return torch.where((high == 0) & (low < 0), -theta.abs(), theta).clamp(low, high)

    def widened(
        self, theta: Tensor, n_more: int, generator: torch.Generator
    ) -> tuple[ComposedNetwork, Tensor]:
        """Return a network with more sub-networks on each level, and parameters of the same f.

        New sub-networks are random, and only new ones read them.

        Parameters
        ----------
        theta : Tensor of shape (n_starts, n_parameters)
        n_more : int
            Sub-networks that each level gets.

        Returns
        -------
        network : ComposedNetwork
        theta : Tensor of shape (n_starts, network.n_parameters)
        """
        n, d = self.levels[0], self.n_features
        size = n + n_more
        network = replace(self, n_subnetworks=size * self.n_levels)
        before = self.unpack(theta)
        after = network.unpack(network.random(len(theta), generator).to(theta))
        first = [0, *(d + size * level for level in range(self.n_levels))]
        counts = [d, *self.levels]
        # Positions of the signals before among those after.
        kept = torch.cat([torch.arange(i, i + k) for i, k in zip(first, counts, strict=True)])
        kept = kept.to(theta.device)
        for level in range(self.n_levels):
            after.directions[level][:, :n] = 0
            after.directions[level][:, :n, kept[: self.n_signals[level]]] = before.directions[level]
            after.offsets[level][:, :n] = before.offsets[level]
        output = torch.zeros_like(after.output)
        output[:, kept] = before.output
        return network, network.pack(after._replace(output=output, intercept=before.intercept))

    def moved(self, theta: Tensor, factor: Tensor, shift: Tensor) -> Tensor:
        """Return the parameters of f(factor * x + shift), both of shape (n_features,)."""
        weights = self.unpack(theta)
        linear, others = weights.output.tensor_split([self.n_features], -2)
        levels = [
            moved_inputs(directions, offsets, factor, shift)
            for directions, offsets in zip(weights.directions, weights.offsets, strict=True)
        ]
        return self.pack(
            ComposedWeights(
                directions=[directions for directions, _ in levels],
                offsets=[offsets for _, offsets in levels],
                output=torch.cat([linear * factor[:, None], others], -2),
                intercept=weights.intercept + shift @ linear,
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
        n_others = weights.output.shape[-2] - self.n_features
        output = gain * weights.output + torch.nn.functional.pad(line[1:], (0, 0, 0, n_others))
        return self.pack(
            weights._replace(output=output, intercept=gain * weights.intercept + line[0])
        )

    def of_output(self, output: int) -> Tensor:
        """Return the indices of the parameters that an output depends on."""
        mask = torch.ones(self.n_parameters, dtype=torch.bool)
        weights = self.unpack(mask)
        for part in (weights.output, weights.intercept):
            part[:], part[..., output] = False, True
        return mask.nonzero()[:, 0]

    def jacobians(self, theta: Tensor, X: Tensor, cotangent: Tensor) -> Iterator[Tensor]:
        """Yield the derivatives of each output, see `jacobians_by_output`."""
        return jacobians_by_output(self, theta, X, cotangent)

    def forward(self, theta: Tensor, X: Tensor) -> Tensor:
        """Return f(X), shape (..., n_outputs, n_samples)."""
        weights = self.unpack(theta)
        signals, _ = self._signals(weights, X)
        return weights.output.mT @ signals + weights.intercept[..., None]

    def columns(self, theta: Tensor, X: Tensor) -> Tensor:
        """Return what the output reads, and 1: shape (..., n_columns, n_samples)."""
        signals, _ = self._signals(self.unpack(theta), X)
        return torch.cat([signals, torch.ones_like(signals[..., :1, :])], -2)

    def with_more(self, theta: Tensor, step: Tensor) -> Tensor:
        """Return parameters after a step of the coefficients of `columns`, by output."""
        weights = self.unpack(theta)
        return self.pack(
            weights._replace(
                output=weights.output + step[..., :-1, :],
                intercept=weights.intercept + step[..., -1, :],
            )
        )

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
        weights = self.unpack(theta)
        signals, slopes = self._signals(weights, X)
        by_signals = weights.output @ cotangent
        parts: list[Tensor] = []
        for level in reversed(range(self.n_levels)):
            n_read, n_all = self.n_signals[level : level + 2]
            by_z = by_signals[..., n_read:n_all, :] * slopes[level]
            by_directions = by_z[..., :, None, :] * signals[..., None, :n_read, :]
            parts = [by_directions.flatten(-3, -2), by_z, *parts]
            by_signals[..., :n_read, :] += weights.directions[level].mT @ by_z
        by_output = signals[..., None, :] * cotangent[..., None, :, :]
        return torch.cat([*parts, by_output.flatten(-3, -2), cotangent], -2)

    def _pullback(
        self, weights: ComposedWeights, signals: Tensor, slopes: list[Tensor], by_outputs: Tensor
    ) -> Tensor:
        """Return the derivatives of sum(by_outputs * f(X)), shape (..., n_parameters)."""
        by_signals = weights.output @ by_outputs
        directions: list[Tensor] = []
        offsets: list[Tensor] = []
        for level in reversed(range(self.n_levels)):
            n_read, n_all = self.n_signals[level : level + 2]
            by_z = by_signals[..., n_read:n_all, :] * slopes[level]
            directions.insert(0, by_z @ signals[..., :n_read, :].mT)
            offsets.insert(0, by_z.sum(-1))
            by_signals[..., :n_read, :] += weights.directions[level].mT @ by_z
        return self.pack(
            ComposedWeights(directions, offsets, signals @ by_outputs.mT, by_outputs.sum(-1))
        )

    def curvature(
        self, theta: Tensor, step: Tensor, X: Tensor
    ) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """Return the second derivative of f(X) along a step, and the pullback at this point.

        The first has shape (..., n_outputs, n_samples). The second takes an array of this shape,
        and returns the derivatives of sum(array * f(X)), of shape (..., n_parameters).
        """
        weights, moved = self.unpack(theta), self.unpack(step)
        signals, slopes = X.expand(*weights.intercept.shape[:-1], *X.shape), []
        first = second = torch.zeros_like(signals)  # derivatives of the signals
        pairs = zip(weights.directions, weights.offsets, strict=True)
        for (directions, offsets), (by, shift) in zip(
            pairs, zip(moved.directions, moved.offsets, strict=True), strict=True
        ):
            z = directions @ signals + offsets[..., None]
            z_first = directions @ first + by @ signals + shift[..., None]
            z_second = directions @ second + 2 * (by @ first)
            h, slope, bend = self._wave(z, 2)
            slopes.append(slope)
            second = torch.cat([second, slope * z_second + bend * z_first.square()], -2)
            first = torch.cat([first, slope * z_first], -2)
            signals = torch.cat([signals, h], -2)
        bent = weights.output.mT @ second + 2 * (moved.output.mT @ first)
        return bent, partial(self._pullback, weights, signals, slopes)

    def _signals(self, weights: ComposedWeights, X: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return x and the values of all sub-networks, and the slopes of their waves by level."""
        signals, slopes = X.expand(*weights.intercept.shape[:-1], *X.shape), []
        for directions, offsets in zip(weights.directions, weights.offsets, strict=True):
            z = directions @ signals + offsets[..., None]
            h, slope = self._wave(z, 1)
            slopes.append(slope)
            signals = torch.cat([signals, h], -2)
        return signals, slopes

    def windows(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Return w and o with w . x + o in [0, 1] where a sub-network bends.

        Inputs from earlier levels are left out.
        """
        weights = self.unpack(theta)
        directions = torch.cat([part[..., : self.n_features] for part in weights.directions], -2)
        half = RIPPLED if self.ripples else 1.0
        return directions / (2 * half), (torch.cat(weights.offsets, -1) / half + 1) / 2

    def to_relu(self, theta: Tensor, depth: int) -> tuple[ReLUNetwork, Tensor]:
        """Lower to a plain ReLU network, see `Wave`.

        Parameters
        ----------
        theta : Tensor of shape (..., n_parameters)
        depth : int
            Half the number of hidden layers of a sub-network, unless it is made of triangle waves.

        Returns
        -------
        network : ReLUNetwork
        theta : Tensor of shape (..., network.n_parameters)
        """
        weights = self.unpack(theta)
        (factors, shifts), later, read_out, constant = self._lowered(depth, theta)
        hidden, biases = [], []
        for directions, offsets in zip(weights.directions, weights.offsets, strict=True):
            by_features, by_others = directions.tensor_split([self.n_features], -1)
            n_others = by_others.shape[-1]
            by_neurons = (by_others[..., None] * read_out[:n_others]).flatten(-2)
            first = torch.cat([by_features, by_neurons], -1)[..., None, :]
            z = offsets + by_others @ constant[:n_others]
            hidden.append(first * factors[:, None])
            biases.append(z[..., None] * factors + shifts)
            for matrix, bias in later:
                hidden.append(matrix.expand(*offsets.shape, WIDTH, WIDTH))
                biases.append(bias.expand(*offsets.shape, WIDTH))
        linear, of_waves = weights.output.tensor_split([self.n_features], -2)
        network = ReLUNetwork(
            self.n_features, self.n_subnetworks, len(later) + 1, self.n_outputs, self.n_levels
        )
        lowered = ReLUWeights(
            hidden=hidden,
            biases=biases,
            output=read_out[..., None] * of_waves[..., None, :],
            linear=linear,
            intercept=weights.intercept + (constant[:, None] * of_waves).sum(-2),
        )
        return network, network.pack(lowered)

    def _lowered(
        self, depth: int, like: Tensor
    ) -> tuple[tuple[Tensor, Tensor], list[Affine], Tensor, Tensor]:
        """Return the layers of a level after the first one, and the read-out of all sub-networks.

        Returns
        -------
        first : tuple of Tensor of shape (4,)
            Factors and shifts of z.
        layers : list of tuple of Tensor
            Of shapes (level_size or 1, 4, 4) and (level_size or 1, 4).
        read_out : Tensor of shape (n_subnetworks, 4)
        constant : Tensor of shape (n_subnetworks,)
        """
        each = {wave: wave.lowered(depth) for wave in set(self.waves)}
        lowered = [each[wave] for wave in self.waves]
        layers = []
        for pairs in zip(*(wave.layers for wave in lowered), strict=True):
            matrix, bias = (torch.stack(parts).to(like) for parts in zip(*pairs, strict=True))
            layers.append((matrix, bias))
        read_out = torch.stack([wave.read_out for wave in lowered]).to(like)
        constant = like.new_tensor([wave.constant for wave in lowered])
        first = lowered[0].first[0].to(like), lowered[0].first[1].to(like)
        return first, layers, read_out.repeat(self.n_levels, 1), constant.repeat(self.n_levels)

    def _wave(self, z: Tensor, order: int) -> tuple[Tensor, ...]:
        """Return values and derivatives up to an order of the waves of a level at z."""
        if len(self._kinds) == 1:
            return self._kinds[0][0].derivatives(z, order)
        found = tuple(torch.empty_like(z) for _ in range(1 + order))
        for wave, where in self._kinds:
            for whole, part in zip(found, wave.derivatives(z[..., where, :], order), strict=True):
                whole[..., where, :] = part
        return found

    @cached_property
    def _kinds(self) -> list[tuple[Wave, list[int]]]:
        """The kinds of waves of a level, and which sub-networks have them."""
        waves = self.waves
        return [
            (kind, [k for k, wave in enumerate(waves) if wave == kind])
            for kind in dict.fromkeys(waves)
        ]
