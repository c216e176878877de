"""Guaranteed shapes (monotone, convex, concave), and kinds of sub-networks that have them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

Bounds = tuple[Tensor, Tensor]
"""Lower and upper bounds of the parameters, each (n_parameters,)."""


@dataclass(frozen=True)
class Shape:
    """Guaranteed signs of slopes and curvatures, one for each feature; 0 for no guarantee.

    Parameters
    ----------
    monotonic : tuple of int
        1 if f increases with a feature, -1 if it decreases.
    convexity : tuple of int
        1 if f is convex in a feature, -1 if it is concave; jointly for features with the same sign.
    """

    monotonic: tuple[int, ...]
    convexity: tuple[int, ...]

    def kinds(self) -> list[Kind]:
        """Return the kinds of sub-networks that have this shape."""
        pairs = list(zip(self.monotonic, self.convexity, strict=True))
        # Without monotone features a ramp is a wave plus a linear function. With them, waves read
        # fewer features, and waves beside ramps predicted worse (concrete, boston, diabetes).
        names = ("step", "ramp") if any(self.monotonic) else ("wave",)
        return [
            kind
            for kind in KINDS
            if kind.name in names and any(kind.reads(*pair) for pair in pairs)
        ]


@dataclass(frozen=True)
class Kind:
    """Form of a sub-network, and the sign of its coefficient."""

    name: str
    sign: int  # of the coefficient; opposite to that of the curvature, except for a step

    def reads(self, rise: int, bend: int) -> bool:
        """Return whether it may read a feature with these guaranteed signs."""
        if self.name == "step":
            return bend == 0
        return -self.sign * bend >= 0 and (self.name == "ramp" or rise == 0)


KINDS = [Kind("wave", -1), Kind("wave", 1), Kind("step", 1), Kind("ramp", -1), Kind("ramp", 1)]
