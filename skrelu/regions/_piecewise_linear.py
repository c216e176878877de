"""Continuous piecewise-linear functions of one variable."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from skrelu._data.torch_interop import isolated
from skrelu.regions._checks import Array, as_floats


@dataclass(frozen=True, eq=False, repr=False)
class PiecewiseLinear:
    """A continuous piecewise-linear function on the whole line.

    Attributes
    ----------
    points : array-like of shape (n_points,)
        Increasing points, at least one. The function is linear between them.
    values : array-like of shape (n_points,) or (n_points, n_outputs)
        Values of the function at the points.
    left, right : array-like of shape () or (n_outputs,)
        Slopes before the first point and after the last.

    Raises
    ------
    ValueError
        If points do not increase, shapes do not match, or a number, a slope between points or a
        change of slope is not finite or not real.

    Examples
    --------
    >>> from skrelu.regions import PiecewiseLinear
    >>> hat = PiecewiseLinear([0.0, 1.0, 2.0], [0.0, 1.0, 0.0], left=0.0, right=0.0)
    >>> hat([-3.0, 0.5, 1.5, 9.0])
    array([0. , 0.5, 0.5, 0. ])
    >>> hat.n_linear_regions, hat.slopes
    (4, array([ 0.,  1., -1.,  0.]))
    """

    points: Array
    values: Array
    left: Array
    right: Array

    @isolated()
    def __post_init__(self) -> None:
        for name in ("points", "values", "left", "right"):
            value = as_floats(getattr(self, name), name)
            object.__setattr__(self, name, value)
        points, shape = self.points, self.values.shape
        if points.ndim != 1 or not len(points) or (points[1:] <= points[:-1]).any():
            raise ValueError("points has to increase and to be of shape (n_points,), one or more.")
        if shape[:1] != points.shape or len(shape) > 2:
            raise ValueError(
                f"values has shape {shape}, but has to be ({len(points)},) or "
                f"({len(points)}, n_outputs), as there are {len(points)} points."
            )
        if self.left.shape != shape[1:] or self.right.shape != shape[1:]:
            raise ValueError(f"left and right need the shape of one value, {shape[1:]}.")
        if not (np.isfinite(np.diff(points)).all() and np.isfinite(self.bends).all()):
            raise ValueError(
                "Slopes between points, and their changes, have to be finite; take points further "
                "apart, or scale points and values."
            )

    def __repr__(self) -> str:
        outputs = f", n_outputs={self.values.shape[1]}" if self.values.ndim == 2 else ""
        return (
            f"PiecewiseLinear(n_points={len(self.points)}, "
            f"n_linear_regions={self.n_linear_regions}{outputs})"
        )

    @property
    @isolated()
    def slopes(self) -> Array:
        """Slopes from left to right, (n_points + 1,) or (n_points + 1, n_outputs)."""
        rise, run = np.diff(self.values, axis=0), np.diff(self.points)
        inner = rise / run.reshape(-1, *[1] * (rise.ndim - 1))
        return np.concatenate([self.left[None], inner, self.right[None]])

    @property
    @isolated()
    def bends(self) -> Array:
        """Changes of the slope at the points, (n_points,) or (n_points, n_outputs)."""
        return np.diff(self.slopes, axis=0)

    @property
    def breakpoints(self) -> Array:
        """Points at which the slope changes, (n_linear_regions - 1,)."""
        return self.points[self.bends.reshape(len(self.points), -1).any(1)]

    @property
    def n_linear_regions(self) -> int:
        """Number of linear regions."""
        return 1 + len(self.breakpoints)

    @isolated()
    def __call__(self, x: ArrayLike) -> Array:
        """Evaluate the function.

        Parameters
        ----------
        x : array-like of any shape
            Inputs.

        Returns
        -------
        ndarray of shape (...) or (..., n_outputs)
            Values of the function, with the shape of ``x`` first.

        Raises
        ------
        ValueError
            If x has values that are not finite numbers.
        """
        x = as_floats(x, "x")
        before, after = np.minimum(x - self.points[0], 0), np.maximum(x - self.points[-1], 0)
        columns = self.values.reshape(len(self.points), -1).T
        ends = zip(self.left.reshape(-1), self.right.reshape(-1), strict=True)
        y = np.stack(
            [
                np.interp(x, self.points, column) + left * before + right * after
                for column, (left, right) in zip(columns, ends, strict=True)
            ],
            -1,
        )
        return y if self.values.ndim == 2 else y[..., 0]
