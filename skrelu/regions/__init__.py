"""Linear regions of ReLU networks, exactly."""

from skrelu.regions._line import LineRegions, regions_along

__all__ = ["LineRegions", "regions_along"]
