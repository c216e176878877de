"""Axes of displays that draw one panel for each of several things."""

from __future__ import annotations

import numpy as np

from skrelu._plotting import import_pyplot


def panels(axes, n: int, what: str, fewer: str):
    """Return at least ``n`` axes in one array; without given ones, of a new figure.

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
    return given
