"""Torch layers of triangle waves that replace dense layers."""

from skrelu.nn._layer import ExponentialReLULayer
from skrelu.nn._models import fit_windows, swap_dense
from skrelu.nn._switch import parameter_groups, release
from skrelu.nn._triangle_wave import TriangleWave

__all__ = [
    "ExponentialReLULayer",
    "TriangleWave",
    "fit_windows",
    "parameter_groups",
    "release",
    "swap_dense",
]
