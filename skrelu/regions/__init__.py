"""Exact linear regions of ReLU networks."""

from skrelu.regions._box import BoxRegions, regions_in_box
from skrelu.regions._display import LinearRegionsDisplay, RegionCountDisplay, animate
from skrelu.regions._estimate import RegionEstimate, estimate_regions
from skrelu.regions._evolution import RegionRecorder
from skrelu.regions._express import express, fewest_neurons
from skrelu.regions._line import LineRegions, as_piecewise_linear, regions_along
from skrelu.regions._piecewise_linear import PiecewiseLinear
from skrelu.regions._plane import PlaneRegions, regions_in_plane
from skrelu.regions._theory import (
    ExpectedRegions,
    expected_regions,
    fewest_neurons_for,
    max_regions,
)

__all__ = [
    "BoxRegions",
    "ExpectedRegions",
    "LineRegions",
    "LinearRegionsDisplay",
    "PiecewiseLinear",
    "PlaneRegions",
    "RegionCountDisplay",
    "RegionEstimate",
    "RegionRecorder",
    "animate",
    "as_piecewise_linear",
    "estimate_regions",
    "expected_regions",
    "express",
    "fewest_neurons",
    "fewest_neurons_for",
    "max_regions",
    "regions_along",
    "regions_in_box",
    "regions_in_plane",
]
