"""Certified optima of ReLU networks by mixed-integer programming."""

from skrelu.optimize._minimize import Optimum, minimize

__all__ = ["Optimum", "minimize"]
