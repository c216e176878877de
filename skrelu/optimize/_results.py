"""Results with certificates."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from skrelu.optimize._program import Array

FOUND, OUT_OF_TIME, EMPTY, WIDE = 0, 1, 2, 3
MESSAGES = {
    FOUND: "The optimum is certified up to the gap.",
    OUT_OF_TIME: "The time limit was reached: x is the best point so far, and bound holds.",
    EMPTY: "No x within bounds meets the constraints.",
    WIDE: "The gap is larger than asked for, as HiGHS's tolerances allow it.",
}
CLIPPED = (
    "It is where predictions are clipped, so other points have it, too: fit with "
    "extrapolation='linear' for a model without limits."
)


class Certified:
    """The common part of results, which have a status and a message."""

    status: int
    message: str

    @property
    def success(self) -> bool:
        """Whether the result is certified up to the gap that was asked for."""
        return self.status == FOUND

    def __repr__(self) -> str:
        values = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
        values = {"message": values.pop("message"), "success": self.success, **values}
        width = max(map(len, values))
        return "\n".join(f"{name:>{width}}: {_shown(value)}" for name, value in values.items())


def _shown(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return np.array2string(value, precision=6, max_line_width=80, threshold=24)
    return f"{value:.8g}" if isinstance(value, float) else str(value)


@dataclass(frozen=True, eq=False, repr=False)
class Optimum(Certified):
    """The result of `minimize`.

    Attributes
    ----------
    x : ndarray of shape (n_features,) or None
        The best point. None if there is none.
    fun : float
        The prediction there; NaN if there is no point.
    bound : float
        No prediction is better: a lower bound of the minimum, or an upper bound of the maximum.
    gap : float
        Distance of ``fun`` and ``bound``, relative to the spread of predictions: the largest less
        the smallest of some thousand points. With a log link it is that of the logarithms.
    status : int
        0 if the gap is as small as asked for, 1 if time was up, 2 if no point meets the
        constraints, 3 if the gap is larger for numerical reasons.
    message : str
        The status in words.
    n_binaries : int
        Number of binary variables for neurons in the program that HiGHS solved, 0 if its linear
        relaxation was exact.
    seconds : float
        Wall time.
    """

    x: Array | None
    fun: float
    bound: float
    gap: float
    status: int
    message: str
    n_binaries: int
    seconds: float


@dataclass(frozen=True, eq=False, repr=False)
class LargestSlope(Certified):
    """The result of `largest_slope`.

    Attributes
    ----------
    x : ndarray of shape (n_features,)
        A point inside of the steepest linear region that was found.
    gradient : ndarray of shape (n_features,)
        The derivatives of the output in that region.
    fun : float
        Norm of the gradient: the Lipschitz constant is at least this.
    bound : float
        The Lipschitz constant is at most this.
    gap : float
        ``bound`` less ``fun``, relative to ``fun``.
    status : int
        0 if the gap is as small as asked for, 1 if time was up, 3 if the gap is larger for
        numerical reasons.
    message : str
        The status in words.
    n_binaries : int
        Number of binary variables.
    seconds : float
        Wall time.
    """

    x: Array
    gradient: Array
    fun: float
    bound: float
    gap: float
    status: int
    message: str
    n_binaries: int
    seconds: float


@dataclass(frozen=True, eq=False, repr=False)
class Robustness(Certified):
    """The result of `robust_radius`.

    Attributes
    ----------
    radius : float
        Distance of ``x``: infinity if no point within bounds has another class.
    bound : float
        All points that are nearer, within bounds, have the same class.
    x : ndarray of shape (n_features,) or None
        The nearest point of another class.
    label : object
        The class there, None if there is none.
    gap : float
        ``radius`` less ``bound``, relative to ``radius``.
    status : int
        0 if the gap is as small as asked for, 1 if time was up, 2 if all points within bounds have
        the same class, 3 if the gap is larger for numerical reasons.
    message : str
        The status in words.
    n_binaries : int
        Number of binary variables, in all programs.
    seconds : float
        Wall time.
    """

    radius: float
    bound: float
    x: Array | None
    label: Any
    gap: float
    status: int
    message: str
    n_binaries: int
    seconds: float

    @property
    def success(self) -> bool:
        """Whether the radius is certified up to the gap that was asked for."""
        return self.status in (FOUND, EMPTY)
