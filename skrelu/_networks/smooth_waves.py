r"""Waves of composed sub-networks: functions of one variable in the limit of infinite depth.

Triangle waves with peaks of 1/2 add up to a parabola,
:math:`1 - (2 t - 1)^2 = \sum_{j \ge 1} 4^{1-j}\, T_{1/2}^{\circ j}(t)`. The waves
here are made of a parabola with straight ends,

.. math::   v(z) = z^2 \text{ for } |z| \le 1, \text{ else } 2 |z| - 1.

A `Wave` has values, derivatives, and layers of four neurons that it is lowered to. All lowerings
begin with the neurons :math:`(z)_+, (-z)_+, (z - 1)_+, (-z - 1)_+`. They fold z to
:math:`t = \min(|z|, 1)`. Three neurons of a further layer fold t in three, with

.. math::   t^2 = Z^2 + 4 w (t - w)_+, \qquad Z = t - 2 (t - w)_+ + 2 (t - 2 w)_+

for t in [0, 3 w], and the next layer folds Z likewise. The fourth neuron carries the sum so far.
The last :math:`Z^2` is replaced by a line, whose error falls by a factor of nine with each layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from skrelu._networks.lowering import lower_waves
from skrelu._networks.triangle import outer_slopes

# Positions of the hinges of the first three neurons, for t in [0, 1].
FOLDS = torch.tensor([0, 1, 2, 0], dtype=torch.float64) / 3
# Selects the fourth neuron, which carries the sum so far.
CARRIED = torch.tensor([0, 0, 0, 1], dtype=torch.float64)
# A `Ripple` is constant beyond RIPPLED; mean and standard deviation of one before it is scaled.
RIPPLED, MEAN, SIZE = 16.0, 61 / 7875, 0.7067260163356216
# The factors and shifts that follow each of its squares.
SQUARES = ((-1 / 3, 1.0), (1.8, -0.8), (2.0, -1.0))
# The neurons (z)+, (-z)+, (z - 1)+, (-z - 1)+ as factors and shifts of z.
BOTH_SIDES = (
    torch.tensor([1, -1, 1, -1], dtype=torch.float64),
    torch.tensor([0, 0, -1, -1], dtype=torch.float64),
)


class Lowered(NamedTuple):
    """The layers of a wave: neurons of the first one, those after it, and the read-out."""

    first: tuple[Tensor, Tensor]  # (4,) each: factors and shifts of z
    layers: list[tuple[Tensor, Tensor]]  # matrices (4, 4) and biases (4,)
    read_out: Tensor  # (4,)
    constant: float


class Wave(Protocol):
    """A function of one variable that is lowered to layers of four neurons."""

    def derivatives(self, z: Tensor, order: int = 2) -> tuple[Tensor, ...]:
        """Return values and derivatives up to an order, 1 or 2, each of the shape of z."""

    def lowered(self, depth: int) -> Lowered:
        """Lower to layers, the more of them the closer."""


@dataclass(frozen=True)
class Bump:
    r"""A wave with a continuous second derivative: a parabola of a parabola.

    .. math::   h = v + \tfrac{1}{4} - \tfrac{1}{4} (1 - v)_+^2
                  = \tfrac{3}{2} z^2 - \tfrac{1}{4} z^4 \text{ for } |z| \le 1
    """

    def derivatives(self, z: Tensor, order: int = 2) -> tuple[Tensor, ...]:
        """Return values and derivatives up to an order."""
        # Fits spend a tenth of their time here. rsub(x, c) is c - x without a detour in Python.
        inside = z.clamp(-1, 1)
        square = inside.square()
        outside = (z - inside).mul_(2).mul_(inside)
        h = torch.rsub(square / 4, 1.5).mul_(square).add_(outside)
        slope = torch.rsub(square, 3.0).mul_(inside)
        return (h, slope) if order == 1 else (h, slope, torch.rsub(3 * square, 3.0))

    def lowered(self, depth: int) -> Lowered:
        """Lower to layers that fold v, and then layers that fold (1 - v)+."""
        first = min(depth + 1, 2 * depth - 1)  # so that the errors of both parabolas are alike
        second = 2 * depth - first
        layers = []
        for layer in range(1, first):
            folded, added_up = _rows(layer - 1)
            layers.append(
                (torch.stack([folded, folded, folded, added_up]), -FOLDS * 3 ** (1.0 - layer))
            )
        # Z^2 is replaced by the best line for Z in [0, w], w Z - w^2 / 6.
        folded, added_up = _rows(first - 1)
        width = 3.0 ** (1 - first)
        v = added_up + width * folded
        constant = -(width**2) / 6
        # This layer folds (1 - v)+ already; 1/2 is added to the fourth neuron to keep it positive.
        signs = torch.tensor([-1, -1, -1, 1], dtype=torch.float64)
        layers.append((signs[:, None] * v, (1 - constant) * (1 - CARRIED) - FOLDS + CARRIED / 2))
        for layer in range(1, second):
            folded, added_up = _rows(layer)
            total = CARRIED - (added_up - CARRIED) / 4
            layers.append((torch.stack([folded, folded, folded, total]), -FOLDS * 3.0**-layer))
        folded, added_up = _rows(second)
        width = 3.0**-second
        read_out = CARRIED - (added_up - CARRIED + width * folded) / 4
        return Lowered(BOTH_SIDES, layers, read_out, constant - 0.25 + width**2 / 24)


@dataclass(frozen=True)
class Ramp:
    """An increasing wave, convex or concave: sign * v(z) + 2 z.

    Its lowering interpolates the parabola, so it is also increasing and convex or concave.

    Parameters
    ----------
    sign : {-1, 1}
        Sign of the curvature.
    """

    sign: int

    def derivatives(self, z: Tensor, order: int = 2) -> tuple[Tensor, ...]:
        """Return values and derivatives up to an order."""
        inside = z.clamp(-1, 1)
        v = inside.square() + 2 * (z - inside) * inside
        bend = 2 * self.sign * (inside == z).to(z)
        return (self.sign * v + 2 * z, 2 * (self.sign * inside + 1), bend)[: 1 + order]

    def lowered(self, depth: int) -> Lowered:
        """Lower to layers that fold v and carry the linear part."""
        line = 2.0 * self.sign * torch.tensor([1, -1, 0, 0], dtype=torch.float64)
        n_layers, layers = 2 * depth, []
        for layer in range(1, n_layers):
            folded, added_up = _rows(layer - 1)
            bias = -FOLDS * 3 ** (1.0 - layer)
            if layer == 1:  # v + 2 sign z is not below -2
                added_up, bias = added_up + line, bias + 2 * CARRIED
            layers.append((torch.stack([folded, folded, folded, added_up]), bias))
        folded, added_up = _rows(n_layers - 1)
        width = 3.0 ** (1 - n_layers)
        read_out = self.sign * (added_up + width * folded)
        return Lowered(BOTH_SIDES, layers, read_out, -self.sign * (width**2 / 6 + 2))


@dataclass(frozen=True)
class Ripple:
    r"""A periodic wave with four continuous derivatives, close to a cosine of period 2.

    With the distance s of z to the nearest even number,

    .. math::   r = 2 q^2 - 1, \qquad q = \tfrac{9}{5} (1 - s^2 / 3)^2 - \tfrac{4}{5}

    for |z| up to 16, and constant beyond. q is nearly a cosine of half the angle, and r differs
    from :math:`\cos \pi z` by at most 0.016. Shift and scale give a mean of 0 and a mean square
    of 1.
    """

    def derivatives(self, z: Tensor, order: int = 2) -> tuple[Tensor, ...]:
        """Return values and derivatives up to an order."""
        s = z - 2 * (z / 2).round()
        inside = z.abs() < RIPPLED
        s = torch.where(inside, s, 0.0)
        square = s.square()
        q = 1 - 1.2 * square + 0.2 * square.square()
        slope = (0.8 * square - 2.4) * s
        value = (2 * q.square() - (1 + MEAN)) / SIZE
        if order == 1:
            return value, q * slope * (4 / SIZE)
        bend = slope.square() + q * (2.4 * square - 2.4)
        return value, q * slope * (4 / SIZE), torch.where(inside, bend, 0.0) * (4 / SIZE)

    def lowered(self, depth: int) -> Lowered:
        """Lower to layers that fold z to s, and layers that square three times."""
        signs = torch.tensor([1, -1, 1, -1], dtype=torch.float64)
        shifts = RIPPLED * torch.tensor([0, 0, -1, -1], dtype=torch.float64)
        # Each layer halves the range: it folds t to |t - half|, and the last one to 1 - |t - 1|.
        reads, constant = torch.tensor([1.0, 1, -1, -1], dtype=torch.float64), 0.0
        both = torch.tensor([1.0, -1, 0, 0], dtype=torch.float64)
        half, layers = RIPPLED / 2, []
        while half >= 1:
            layers.append((both[:, None] * reads, (constant - half) * both))
            reads, half = both.abs(), half / 2
        reads, constant = -reads, 1.0
        squared = 1 - CARRIED
        for factor, shift in SQUARES:
            layers.append((squared[:, None] * reads, squared * constant - FOLDS * squared))
            for layer in range(1, depth):
                folded, added_up = _rows(layer)
                bias = -FOLDS * 3.0**-layer
                layers.append((torch.stack([folded, folded, folded, added_up]), bias))
            # The last Z^2 is replaced by the best line for Z in [0, w], w Z - w^2 / 6.
            folded, added_up = _rows(depth)
            width = 3.0**-depth
            square, less = added_up + width * folded, -(width**2) / 6
            reads, constant = factor * square, shift + factor * less
        return Lowered((signs, shifts), layers, reads / SIZE, (constant - MEAN) / SIZE)


@dataclass(frozen=True)
class Folded:
    """The sum of triangle waves with peaks of 1/2: v in 2**depth linear pieces.

    Parameters
    ----------
    depth : int
        Number of layers.
    """

    depth: int

    def derivatives(self, z: Tensor, order: int = 2) -> tuple[Tensor, ...]:
        """Return values, slopes, and 0 for second derivatives.

        Each piece joins two points of v; the first and the last go on outside.
        """
        n = 2**self.depth
        middle = ((z + 1) * (n / 2)).floor_().clamp_(0, n - 1).add_(0.5).mul_(2 / n).sub_(1)
        # The chord between middle +- 1 / n has the slope of the tangent at the middle.
        value = middle.square() + 2 * middle * (z - middle) + n**-2.0
        return (value, 2 * middle, torch.zeros_like(z))[: 1 + order]

    def lowered(self, depth: int) -> Lowered:
        """Lower exactly."""
        one = torch.ones(1, dtype=torch.float64)
        peaks = torch.full((1, self.depth), 0.5, dtype=torch.float64)
        scales = 4.0 ** -torch.arange(self.depth, dtype=torch.float64)[None]
        hidden, biases, read_out, _, floor = lower_waves(
            one[:, None] / 2, one / 2, peaks, scales, outer_slopes(peaks, scales)
        )
        layers = [(matrix[0], bias[0]) for matrix, bias in zip(hidden, biases, strict=True)]
        (factors, shifts), later = layers[0], layers[1:]
        # F is read from the last layer minus a constant; v = 1 - F.
        return Lowered((factors[:, 0], shifts), later, -read_out[0], 1 + float(floor[0]))


def _rows(layer: int) -> tuple[Tensor, Tensor]:
    """Return the weights that read Z, and the sum so far, from the neurons of a layer."""
    if layer == 0:  # (z)+, (-z)+, (z - 1)+, (-z - 1)+
        rows = [[1.0, 1.0, -1.0, -1.0], [0.0, 0.0, 2.0, 2.0]]
    else:  # (Z)+, (Z - w)+, (Z - 2 w)+, the sum
        rows = [[1.0, -2.0, 2.0, 0.0], [0.0, 4 * 3.0**-layer, 0.0, 1.0]]
    folded, added_up = torch.tensor(rows, dtype=torch.float64)
    return folded, added_up
