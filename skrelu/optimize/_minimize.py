"""The certified minimum or maximum of a network over a box with linear constraints."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array

from skrelu._export.graph import ReLUGraph
from skrelu.optimize._descend import FEASIBLE, N_STARTS, NEARLY, descended, sampled, violation
from skrelu.optimize._encode import Bounded
from skrelu.optimize._program import INFEASIBLE, OPTIMAL, Array, Clock, Program
from skrelu.optimize._read import Domain, read, shortest
from skrelu.optimize._results import CLIPPED, EMPTY, FOUND, MESSAGES, OUT_OF_TIME, WIDE, Optimum
from skrelu.optimize._tighten import below_cutoff, bounded_by_intervals, tightened
from skrelu.regions._inside import checked_output

# How far above the value of the best point others may be to be looked at, relative to the spread.
CUTOFF = 1e-7
# Binaries that HiGHS deals with sooner than linear programs tighten them.
FEW = 12


def minimize(
    model,
    bounds: ArrayLike,
    *,
    output: int = 0,
    constraints=(),
    integrality: ArrayLike | None = None,
    maximize: bool = False,
    gap: float = 1e-6,
    time_limit: float | None = None,
) -> Optimum:
    r"""Find the global minimum or maximum of a network over a box, with a certificate.

    .. math:: \min_x f(x) \quad \text{where} \quad l \le x \le u, \quad
        b_1 \le A x \le b_2, \quad x_j \in \mathbb{Z} \text{ for some } j.

    A ReLU network is linear in each of finitely many polytopes, so this is a mixed-integer linear
    program: a neuron that may be on or off takes a binary variable. HiGHS solves it by branch and
    bound, within `scipy.optimize.milp`.

    Parameters
    ----------
    model : estimator or torch.nn.Module
        A fitted `~skrelu.ExponentialReLURegressor` or `~skrelu.ExponentialReLUClassifier` of
        numeric features, a fitted MLPRegressor or MLPClassifier with ``activation="relu"``, or a
        torch module that applies Linear, ReLU, LeakyReLU and BatchNorm1d layers in a row.
    bounds : array-like of shape (n_features, 2) or scipy.optimize.Bounds
        Least and largest value of each feature, finite.
    output : int, default=0
        Index of the output to optimize, if there are several. For a classifier it is the index of
        the class whose logit is optimized; with two classes there is one output, the log-odds of
        the second class.
    constraints : scipy.optimize.LinearConstraint or sequence of these, default=()
        Linear constraints on x.
    integrality : array-like of shape (n_features,) or int, default=None
        1 for features that are integers, 0 for others. None is 0 for all.
    maximize : bool, default=False
        Whether to find the maximum.
    gap : float, default=1e-6
        Largest distance of the result and its bound, relative to the spread of predictions.
    time_limit : float, default=None
        Seconds after which the best point so far is returned, with its bound. None is no limit.

    Returns
    -------
    Optimum
        The point ``x``, the prediction ``fun`` there and the ``bound`` of all predictions. If
        no point meets the constraints, ``x`` is None and ``status`` is 2.

    Raises
    ------
    TypeError
        If the model is of no such type, or a constraint is not a LinearConstraint.
    ValueError
        If the model cannot be read or has categories or missing values among its features, if
        bounds are infinite or in the wrong order, or if another argument is invalid.

    Notes
    -----
    The steps are:

    1. Neurons that nothing reads or that are always on or off in the box go. A fit on one level
       with ``refine=False`` becomes `depth` neurons for each sub-network.
    2. Descent from sampled points, from one linear region to the next, gives a good point.
    3. If the linear relaxation of the whole network has the same value, that point is optimal,
       without binaries. This is so for fits with ``convexity="convex"``.
    4. Linear programs over the relaxation of earlier layers bound each neuron. These bounds
       hold up to rounding, whatever HiGHS's tolerances: they are computed from dual solutions.
    5. Bounds are tightened further among points that are no worse, and HiGHS solves the
       mixed-integer program.
    6. Its solution is made exact: the minimum over the linear region in which it lies.

    ``fun`` is what `predict` returns at ``x``, on the CPU. ``bound`` rests on HiGHS, which
    takes 1e-6 as a feasible error of a constraint, in units in which neurons are about 1.

    References
    ----------
    Tjeng, Xiao, Tedrake, "Evaluating Robustness of Neural Networks with Mixed Integer
    Programming", ICLR 2019, https://arxiv.org/abs/1711.07356

    Examples
    --------
    >>> import numpy as np
    >>> from skrelu import ExponentialReLURegressor
    >>> from skrelu.optimize import minimize
    >>> X = np.random.default_rng(0).uniform(-1, 1, size=(500, 2))
    >>> y = (X[:, 0] - 0.5) ** 2 + X[:, 0] * X[:, 1]
    >>> model = ExponentialReLURegressor(
    ...     depth=3, n_subnetworks=3, n_levels=1, n_init=1, refine=False, random_state=0
    ... ).fit(X, y)
    >>> found = minimize(model, [(-1, 1), (-1, 1)])
    >>> found.x.round(1), round(found.fun, 1)
    (array([ 1., -1.]), -0.8)
    >>> found.success and bool(found.bound <= model.predict(X).min())
    True
    """
    readable = read(model)
    output = checked_output(output, readable.n_outputs)
    check_limits(gap, time_limit)
    domain = Domain.of(readable.n_features, bounds, constraints, integrality)
    clock = Clock(time_limit)
    sign = -1.0 if maximize else 1.0
    if domain.empty:
        return _result(None, np.nan, sign * np.inf, np.inf, EMPTY, 0, clock)
    graphs = shortest(model, readable, domain.low, domain.high)
    graph = single_output(domain.graph(graphs), output)
    graph = graph.affine(np.array([sign]), np.zeros(1))
    found = solve(graph, domain.program(), gap, clock)
    if found.point is None:
        bound = np.inf if found.status == EMPTY else found.bound
        return _result(None, np.nan, sign * bound, np.inf, found.status, found.n_binaries, clock)
    x = domain.to_x(found.point)
    fun = float(readable.values(x[None])[0, output])
    bound = sign * found.bound
    if readable.log_link:
        bound = float(np.exp(bound))
    # Rounding of predictions may put them past a bound that is equal.
    bound = max(bound, fun) if maximize else min(bound, fun)
    status, left = found.status, found.gap
    if not readable.log_link:
        left = abs(fun - bound) / found.size
        status = WIDE if status == FOUND and left > gap else status
    result = _result(x, fun, bound, left, status, found.n_binaries, clock)
    limits = getattr(model, "y_limits_", None)
    if status == FOUND and limits is not None and fun in limits[:, output]:
        return replace(result, message=f"{result.message} {CLIPPED}")
    return result


def _result(x, fun, bound, gap, status, n_binaries, clock) -> Optimum:
    message = MESSAGES[status]
    return Optimum(x, fun, bound, gap, status, message, n_binaries, clock.seconds)


def check_limits(gap, time_limit) -> None:
    """Check that a gap and a limit of seconds are positive numbers."""
    for name, value in {"gap": gap, "time_limit": time_limit}.items():
        number = isinstance(value, int | float | np.number) and 0 < value < np.inf
        if not number and not (name == "time_limit" and value is None):
            raise ValueError(f"{name}={value!r} has to be a number above 0.")


def single_output(graph: ReLUGraph, output: int) -> ReLUGraph:
    """Return the graph of one of several outputs."""
    rows = csr_array(graph.output[[output]])
    return replace(graph, output=rows, intercept=graph.intercept[[output]])


@dataclass(frozen=True)
class Solved:
    """A point of the least value of a graph, and a lower bound of that value."""

    point: Array | None
    bound: float
    gap: float
    status: int
    n_binaries: int
    size: float = 1.0  # of values, which gaps are relative to


def solve(graph: ReLUGraph, inputs: Program, gap: float, clock: Clock) -> Solved:
    """Minimize the only output of a graph over a set of inputs in units of about 1."""
    bounded = bounded_by_intervals(graph, inputs)
    if bounded is None:
        return Solved(None, np.inf, np.inf, EMPTY, 0)
    points = sampled(inputs)
    values = graph(points)[:, 0]
    spread = float(np.ptp(values)) if len(values) else 0.0
    size = spread or (np.abs(values).max(initial=0.0)) or 1.0
    search = _Search(graph.affine(np.array([1 / size]), np.zeros(1)), inputs, gap, clock)
    search.start(points, values)
    bounded = replace(bounded, graph=bounded.graph.affine(np.array([1 / size]), np.zeros(1)))
    status, bound, n_binaries = search.run(bounded)
    if search.best is None:
        return Solved(None, bound * size, np.inf, status, n_binaries)
    bound = min(bound, search.value)
    left = search.value - bound
    if left <= gap:
        status = FOUND
    return Solved(search.best, bound * size, left, status, n_binaries, size)


class _Search:
    """The best point so far, and how it is found."""

    def __init__(self, graph: ReLUGraph, inputs: Program, gap: float, clock: Clock) -> None:
        self.graph, self.inputs, self.gap, self.clock = graph, inputs, gap, clock
        self.best: Array | None = None
        self.value = np.inf

    def start(self, points: Array, values: Array) -> None:
        """Descend from the best samples."""
        for i in np.argsort(values, kind="stable")[:N_STARTS]:
            self.descend(points[i])

    def descend(self, point: Array) -> None:
        """Descend from a point, and keep what is best."""
        found = descended(self.graph, np.ones(1), self.inputs, point, self.clock)
        value = float(self.graph(found[None])[0, 0])
        allowed = FEASIBLE if self.best is not None else NEARLY
        if value < self.value and violation(self.inputs, found) <= allowed:
            self.best, self.value = found, value

    def run(self, bounded: Bounded) -> tuple[int, float, int]:
        """Return status, lower bound and number of binaries."""
        bound = self._relaxed(bounded)
        if bound == np.inf:
            return EMPTY, bound, 0
        if self.value - bound <= self.gap:
            return FOUND, bound, 0
        bounded = tightened(bounded, self.clock)
        bound = max(bound, self._relaxed(bounded))
        many = bounded.n_unstable > FEW
        if many and self.value - bound > self.gap and self.best is not None:
            cost, shift = objective(bounded)
            bounded = below_cutoff(bounded, cost, self._cutoff - shift, self.clock).scaled()
            bound = max(bound, self._relaxed(bounded))
        if self.value - bound <= self.gap:
            return FOUND, bound, 0
        return self._by_highs(bounded, bound)

    @property
    def _cutoff(self) -> float:
        return self.value + max(CUTOFF, 0.1 * self.gap)

    def _relaxed(self, bounded: Bounded) -> float:
        """Return the bound by the relaxation, and descend from where it is reached."""
        cost, shift = objective(bounded)
        least, point = bounded.hull().relaxation().least(cost)
        if point is not None and not (self.inputs.integer.any() and len(self.inputs.least)):
            self._descend_near(point)
        return least + shift

    def _descend_near(self, point: Array) -> None:
        start = np.clip(point[: self.inputs.n_variables], self.inputs.low, self.inputs.high)
        self.descend(np.where(self.inputs.integer, np.round(start), start))

    def _by_highs(self, bounded: Bounded, bound: float) -> tuple[int, float, int]:
        (cost, shift), program = objective(bounded), bounded.mixed_integer()
        n_binaries = bounded.n_unstable
        if self.best is not None:
            program = program.with_rows(csr_array(cost[None]), -np.inf, self._cutoff - shift)
        cost = np.r_[cost, np.zeros(program.n_variables - len(cost))]
        size = max(abs(bound - shift), abs(min(self.value, bound + 10) - shift))
        found = program.solve(cost, self.gap / 2, size, self.clock.left)
        if found.status == INFEASIBLE:
            nothing = self.best is None
            return (EMPTY, np.inf, n_binaries) if nothing else (WIDE, bound, n_binaries)
        if found.x is not None:
            self._descend_near(found.x)
        bound = max(bound, found.bound + shift)
        return (WIDE if found.status == OPTIMAL else OUT_OF_TIME), bound, n_binaries


def objective(bounded: Bounded) -> tuple[Array, float]:
    """Return the only output of a graph as a linear function of its signals."""
    return bounded.graph.output.toarray()[0], float(bounded.graph.intercept[0])
