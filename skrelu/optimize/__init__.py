"""Certified optima of ReLU networks by mixed-integer programming."""

from skrelu.optimize._minimize import minimize
from skrelu.optimize._radius import robust_radius
from skrelu.optimize._results import LargestSlope, Optimum, Robustness
from skrelu.optimize._slope import largest_slope

__all__ = [
    "LargestSlope",
    "Optimum",
    "Robustness",
    "largest_slope",
    "minimize",
    "robust_radius",
]
