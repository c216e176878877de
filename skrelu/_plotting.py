"""Axes of pictures, with matplotlib, which is optional."""

from __future__ import annotations

import numpy as np


def import_pyplot():
    """Return matplotlib.pyplot, or raise an error that says how to install it."""
    try:
        from matplotlib import pyplot
    except ImportError as cause:
        raise ImportError(
            "Pictures need matplotlib: pip install matplotlib, or skrelu[plot]."
        ) from cause
    return pyplot


def one_axes(ax, **figure):
    """Return given axes; if there are none, those of a new figure with these arguments.

    Raises
    ------
    TypeError
        If they are not matplotlib Axes.
    """
    pyplot = import_pyplot()
    if ax is None:
        return pyplot.subplots(**figure)[1]
    if not isinstance(ax, pyplot.Axes):
        raise TypeError(f"ax is a {type(ax).__name__}, but has to be a matplotlib Axes or None.")
    return ax


def panels(axes, n: int, what: str, fewer: str):
    """Return at least ``n`` axes in one array; without given ones, of a new figure.

    Further axes are hidden.

    Parameters
    ----------
    axes : array-like of matplotlib Axes, or None
    n : int
    what : str
        What a panel draws, for messages.
    fewer : str
        The parameter of ``from_estimator`` that gives fewer of these.

    Raises
    ------
    TypeError
        If axes are not matplotlib Axes.
    ValueError
        If there are fewer axes than panels.
    """
    pyplot = import_pyplot()
    if axes is None:
        n_columns = min(3, n)
        n_rows = -(-n // n_columns)
        _, axes = pyplot.subplots(
            n_rows,
            n_columns,
            figsize=(3.2 * n_columns, 2.6 * n_rows),
            sharey=True,
            squeeze=False,
            layout="constrained",
        )
    given = np.ravel(axes)
    if not all(isinstance(ax, pyplot.Axes) for ax in given):
        raise TypeError(f"axes has to be of matplotlib Axes, one a {what}.")
    if len(given) < n:
        raise ValueError(
            f"There are {len(given)} axes, but {n} {what}s to draw; give as many axes, or "
            f"from_estimator a smaller {fewer}."
        )
    for ax in given[n:]:
        ax.set_visible(False)
    return given
