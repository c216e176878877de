"""Linear and mixed-integer programs, solved by HiGHS through scipy."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, OptimizeResult, linprog, milp
from scipy.sparse import csr_array, vstack

Array = NDArray[np.float64]

EPS = float(np.finfo(float).eps)
# Tolerances of linear programs, the smallest that HiGHS takes.
TIGHT = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
# Absolute gap at which HiGHS stops; scipy cannot change it.
ABSOLUTE_GAP = 1e-6
# Codes of `linprog` and `milp`.
OPTIMAL, LIMIT, INFEASIBLE = 0, 1, 2


@dataclass(frozen=True)
class Program:
    """The set of z within bounds with least <= matrix @ z <= most, some z perhaps integers.

    Parameters
    ----------
    low, high : ndarray of shape (n_variables,), finite
    matrix : csr_array of shape (n_rows, n_variables)
    least, most : ndarray of shape (n_rows,)
    integer : ndarray of bool of shape (n_variables,)
    """

    low: Array
    high: Array
    matrix: csr_array
    least: Array
    most: Array
    integer: NDArray[np.bool_]

    @classmethod
    def box(cls, low: Array, high: Array, integer: NDArray[np.bool_] | None = None) -> Program:
        """Return a program without rows."""
        n = len(low)
        integer = np.zeros(n, bool) if integer is None else integer
        return cls(low, high, csr_array((0, n)), np.zeros(0), np.zeros(0), integer)

    @property
    def n_variables(self) -> int:
        """Number of variables."""
        return len(self.low)

    def with_rows(self, matrix, least, most) -> Program:
        """Return the program with further rows; they may leave out the last variables."""
        matrix = csr_array(matrix)
        matrix = widened(matrix, self.n_variables)
        n = matrix.shape[0]
        return replace(
            self,
            matrix=csr_array(vstack([self.matrix, matrix], format="csr")),
            least=np.r_[self.least, np.broadcast_to(least, n)],
            most=np.r_[self.most, np.broadcast_to(most, n)],
        )

    def with_variables(
        self, low: Array, high: Array, integer: NDArray[np.bool_] | bool = False
    ) -> Program:
        """Return the program with further variables, after all others."""
        return replace(
            self,
            low=np.r_[self.low, low],
            high=np.r_[self.high, high],
            integer=np.r_[self.integer, np.broadcast_to(integer, len(low))],
            matrix=widened(self.matrix, self.n_variables + len(low)),
        )

    def relaxation(self) -> Relaxation:
        """Return the linear program without integrality."""
        equal = self.least == self.most
        above = ~equal & np.isfinite(self.most)
        below = ~equal & np.isfinite(self.least)
        upper = vstack([self.matrix[above], -self.matrix[below]], format="csr")
        return Relaxation(
            csr_array(upper),
            np.r_[self.most[above], -self.least[below]],
            self.matrix[equal],
            self.most[equal],
            self.low,
            self.high,
        )

    def solve(self, cost: Array, gap: float, size: float, seconds: float | None) -> OptimizeResult:
        """Minimize cost @ z up to an absolute gap; ``size`` is about the largest |cost @ z|."""
        # HiGHS stops at its own absolute gap, too: units are chosen so that it is no larger.
        unit = max(1.0, ABSOLUTE_GAP / gap)
        options = {"mip_rel_gap": gap / max(size, gap)}
        if seconds is not None:
            options["time_limit"] = max(seconds, 1e-3)
        found = milp(
            cost * unit,
            integrality=self.integer.astype(int),
            bounds=Bounds(self.low, self.high),
            constraints=LinearConstraint(self.matrix, self.least, self.most),
            options=options,
        )
        found.bound = -np.inf if found.mip_dual_bound is None else found.mip_dual_bound / unit
        return found


@dataclass(frozen=True)
class Relaxation:
    """The linear program: upper @ z <= most, equal @ z == values, low <= z <= high."""

    upper: csr_array
    most: Array
    equal: csr_array
    values: Array
    low: Array
    high: Array

    def least(self, cost: Array) -> tuple[float, Array | None]:
        """Return a lower bound of cost @ z and a minimizer; infinity and None if there is none.

        The bound is that of the dual solution y of HiGHS with whatever errors y has: for every y

            min cost @ z >= y @ b + min over the box of (cost - y @ A) @ z,

        so it holds up to rounding, which is subtracted. (Neumaier and Shcherbina, "Safe bounds in
        linear and mixed-integer linear programming", Math. Program. 99, 2004.)
        """
        found = linprog(
            cost,
            A_ub=self.upper,
            b_ub=self.most,
            A_eq=self.equal,
            b_eq=self.values,
            bounds=np.stack([self.low, self.high], 1),
            method="highs",
            options=TIGHT,
        )
        if found.status == INFEASIBLE:
            return np.inf, None
        solved = found.status == OPTIMAL
        zeros = np.zeros(len(self.most)), np.zeros(len(self.values))
        y, w = (found.ineqlin.marginals, found.eqlin.marginals) if solved else zeros
        return self._dual_bound(cost, np.minimum(y, 0), w), found.x if solved else None

    @cached_property
    def _columns(self) -> tuple[csr_array, csr_array]:
        """All rows as columns, and their absolute values."""
        columns = csr_array(vstack([self.upper, self.equal], format="csr").T)
        return columns, abs(columns)

    def _dual_bound(self, cost: Array, y: Array, w: Array) -> float:
        columns, sizes = self._columns
        duals = np.r_[y, w]
        reduced = cost - columns @ duals
        terms = (
            y * self.most,
            w * self.values,
            np.minimum(reduced * self.low, reduced * self.high),
        )
        # Rounding: of sums with a few dozen terms each.
        largest = np.maximum(np.abs(self.low), np.abs(self.high))
        added = np.abs(cost) + sizes @ np.abs(duals)
        room = 16 * EPS * (added @ largest + sum(np.abs(term).sum() for term in terms[:2]))
        return float(sum(term.sum() for term in terms) - room)


class Clock:
    """The time that is left."""

    def __init__(self, seconds: float | None) -> None:
        self.start = time.perf_counter()
        self.limit = seconds

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return time.perf_counter() - self.start

    @property
    def left(self) -> float | None:
        """Seconds left, None without a limit."""
        return None if self.limit is None else max(self.limit - self.seconds, 0.0)

    def over(self, share: float = 1.0) -> bool:
        """Return whether a share of the time has gone."""
        return self.limit is not None and self.seconds > share * self.limit


def widened(matrix: csr_array, n: int) -> csr_array:
    """Return the matrix with columns of zeros at the end, n columns in all."""
    return csr_array((matrix.data, matrix.indices, matrix.indptr), shape=(matrix.shape[0], n))
