"""Linear regions of ReLU networks, exactly."""

from skrelu.regions._display import LinearRegionsDisplay, RegionCountDisplay, animate
from skrelu.regions._evolution import RegionRecorder
from skrelu.regions._line import LineRegions, as_piecewise_linear, regions_along
from skrelu.regions._piecewise_linear import PiecewiseLinear
from skrelu.regions._plane import PlaneRegions, regions_in_plane

__all__ = [
    "LineRegions",
    "LinearRegionsDisplay",
    "PiecewiseLinear",
    "PlaneRegions",
    "RegionCountDisplay",
    "RegionRecorder",
    "animate",
    "as_piecewise_linear",
    "regions_along",
    "regions_in_plane",
]
