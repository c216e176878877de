"""Import of matplotlib, which is optional."""

from __future__ import annotations


def import_pyplot():
    """Return matplotlib.pyplot, or raise an error that says how to install it."""
    try:
        from matplotlib import pyplot
    except ImportError as cause:
        raise ImportError(
            "Pictures need matplotlib: pip install matplotlib, or skrelu[plot]."
        ) from cause
    return pyplot
