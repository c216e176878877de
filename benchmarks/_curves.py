"""Functions of one variable, and how well piecewise-linear functions can meet them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmarks._data import Array


@dataclass(frozen=True)
class Curve:
    """A function on [0, 1] with its second derivative."""

    name: str
    value: Callable[[Array], Array]
    second: Callable[[Array], Array]

    def spline_mse(self, n_pieces: int) -> float:
        r"""Return the MSE of the best linear spline with free breakpoints.

        :math:`N^{-4} / 720 \, (\int |f''|^{2/5})^5`, its limit for many pieces N. For a
        curve whose second derivative is unbounded at a point, the integral is still finite.
        """
        edges = np.linspace(0, 1, 200_001)
        middle = (edges[1:] + edges[:-1]) / 2
        integral = np.mean(np.abs(self.second(middle)) ** 0.4)
        return float(integral**5 / 720 / n_pieces**4)


# The four of the paper.
PAPER_CURVES = [
    Curve("x^3", lambda x: x**3, lambda x: 6 * x),
    Curve("x^11", lambda x: x**11, lambda x: 110 * x**9),
    Curve(
        "sin(pi x/2)",
        lambda x: np.sin(np.pi * x / 2),
        lambda x: -((np.pi / 2) ** 2) * np.sin(np.pi * x / 2),
    ),
    Curve(
        "tanh(3x)", lambda x: np.tanh(3 * x), lambda x: -18 * np.tanh(3 * x) / np.cosh(3 * x) ** 2
    ),
]
# Those of the study of depth: smooth and convex, smooth with an inflection, not smooth.
DEPTH_CURVES = [
    Curve("x^2", lambda x: x**2, lambda x: np.full_like(x, 2.0)),
    PAPER_CURVES[0],
    Curve("exp(x)", np.exp, np.exp),
    PAPER_CURVES[3],
    Curve(
        "1/(1+25x^2)",
        lambda x: 1 / (1 + 25 * x**2),
        lambda x: 50 * (75 * x**2 - 1) / (1 + 25 * x**2) ** 3,
    ),
    Curve(
        "|x-1/3|^1.5",
        lambda x: np.abs(x - 1 / 3) ** 1.5,
        lambda x: 0.75 / np.sqrt(np.abs(x - 1 / 3)),
    ),
]
