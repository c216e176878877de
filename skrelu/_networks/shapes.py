"""Shapes that can be guaranteed, and the kinds of sub-networks that have them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

Bounds = tuple[Tensor, Tensor]
"""What every parameter must not be below and above, each (n_parameters,)."""


@dataclass(frozen=True)
class Shape:
    """Signs of slopes and of curvatures, one a feature; 0 leaves it open.

    Parameters
    ----------
    monotonic : tuple of int
        1 where f rises with a feature, -1 where it falls.
    convexity : tuple of int
        1 where f is convex in a feature, -1 where it is concave. Features with the same
        sign are so jointly.
    """

    monotonic: tuple[int, ...]
    convexity: tuple[int, ...]

    def kinds(self) -> list[Kind]:
        """Return the kinds of sub-networks that it takes."""
        pairs = list(zip(self.monotonic, self.convexity, strict=True))
        # A ramp that reads nothing that rises is a wave and a part of the linear function; waves
        # beside ramps, which read less, predicted worse (concrete, boston, diabetes).
        names = ("step", "ramp") if any(self.monotonic) else ("wave",)
        return [
            kind
            for kind in KINDS
            if kind.name in names and any(kind.reads(*pair) for pair in pairs)
        ]


@dataclass(frozen=True)
class Kind:
    """What a sub-network is made of, and the sign of its coefficient."""

    name: str
    sign: int  # of the coefficient; of the curvature, but for a step

    def reads(self, rise: int, bend: int) -> bool:
        """Tell whether it may read a feature."""
        if self.name == "step":
            return bend == 0
        return -self.sign * bend >= 0 and (self.name == "ramp" or rise == 0)


KINDS = [Kind("wave", -1), Kind("wave", 1), Kind("step", 1), Kind("ramp", -1), Kind("ramp", 1)]
