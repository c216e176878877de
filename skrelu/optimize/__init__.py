"""Certified optima of ReLU networks by mixed-integer programming."""

from skrelu.optimize._minimize import Optimum, minimize
from skrelu.optimize._radius import Robustness, robust_radius
from skrelu.optimize._slope import LargestSlope, largest_slope

__all__ = [
    "LargestSlope",
    "Optimum",
    "Robustness",
    "largest_slope",
    "minimize",
    "robust_radius",
]
