r"""The largest slope of a network: the Lipschitz constant on a box.

With the derivative :math:`\dot v` of each neuron along a direction d,

.. math:: v = \max(p, 0), \qquad \dot v = b \dot p, \qquad b = 1 \text{ if } p > 0,
    \text{ else } 0.

Both are linear in what the neuron reads, and the product with a binary is linear if bounds of
:math:`\dot p` are known. Over all x in the box and all d of norm 1 the largest :math:`\dot f` is
the largest dual norm of the gradient.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array

from skrelu._export.graph import ReLUGraph
from skrelu.optimize._descend import N_SAMPLES, sampled
from skrelu.optimize._encode import Bounded
from skrelu.optimize._graphs import cell, states
from skrelu.optimize._minimize import check_limits, single_output
from skrelu.optimize._program import INFEASIBLE, LIMIT, Array, Clock, Program, Relaxation
from skrelu.optimize._read import Domain, checked_norm, checked_scale, read, shortest
from skrelu.optimize._results import FOUND, MESSAGES, WIDE, LargestSlope
from skrelu.optimize._tangents import rates_of, tangent_program, tightened_rates
from skrelu.optimize._tighten import bounded_by_intervals, tightened
from skrelu.regions._inside import checked_output

# Distance from the borders of a cell, in units of the box, below which it counts as empty.
INSIDE = 1e-9
# Most combinations of neurons without a cell that are cut off.
MOST_CUTS = 50
# Cells of samples whose slopes are looked at.
N_CELLS = 300


def largest_slope(
    model,
    bounds: ArrayLike,
    *,
    output: int = 0,
    norm: float = np.inf,
    scale: ArrayLike | None = None,
    gap: float = 1e-6,
    time_limit: float | None = None,
) -> LargestSlope:
    r"""Find the Lipschitz constant of a network on a box, with a certificate.

    It is the smallest L with

    .. math:: |f(x) - f(x')| \le L \|x - x'\|, \qquad
        \|x\|_\infty = \max_j |x_j| / s_j \quad\text{or}\quad \|x\|_1 = \sum_j |x_j| / s_j,

    which is the largest :math:`\sum_j s_j |\partial f / \partial x_j|` or the largest
    :math:`s_j |\partial f / \partial x_j|` over all linear regions in the box.

    Parameters
    ----------
    model : estimator or torch.nn.Module
        A model as `minimize` takes it. With a log link the slopes are those of the logarithm of
        predictions, for a classifier those of its logits.
    bounds : array-like of shape (n_features, 2) or scipy.optimize.Bounds
        Least and largest value of each feature, finite. Features with equal bounds do not count.
    output : int, default=0
        Index of the output, if there are several.
    norm : {inf, 1}, default=inf
        The norm of distances between inputs. With 1 the result is the largest partial derivative.
    scale : array-like of shape (n_features,), default=None
        Units :math:`s_j > 0` of distances. None is 1 for all.
    gap : float, default=1e-6
        Largest relative distance of the result and its bound.
    time_limit : float, default=None
        Seconds after which the steepest region so far is returned, with its bound.

    Returns
    -------
    LargestSlope
        The ``gradient``, a point ``x`` where it is reached, its norm ``fun`` and the ``bound`` of
        all others.

    Raises
    ------
    TypeError
        If the model is of no known type.
    ValueError
        If the model cannot be read, or an argument is invalid.

    References
    ----------
    Jordan, Dimakis, "Exactly Computing the Local Lipschitz Constant of ReLU Networks", NeurIPS
    2020, https://arxiv.org/abs/2003.01219

    Examples
    --------
    >>> import torch
    >>> from skrelu.optimize import largest_slope
    >>> network = torch.nn.Sequential(
    ...     torch.nn.Linear(1, 2), torch.nn.ReLU(), torch.nn.Linear(2, 1)
    ... ).double()
    >>> weights = [[1.0], [1.0]], [0.0, -1.0], [[1.0, -3.0]], [0.0]
    >>> for parameter, values in zip(network.parameters(), weights, strict=True):
    ...     parameter.data = torch.tensor(values, dtype=torch.float64)
    >>> found = largest_slope(network, [(-1, 2)])  # slopes are 0, 1 and -2
    >>> round(found.fun, 6), round(found.bound, 6), bool(found.x[0] > 1)
    (2.0, 2.0, True)
    """
    readable = read(model)
    output = checked_output(output, readable.n_outputs)
    check_limits(gap, time_limit)
    norm = checked_norm(norm)
    domain = Domain.of(readable.n_features, bounds, (), None)
    scale = checked_scale(scale, readable.n_features)
    clock = Clock(time_limit)
    graphs = shortest(model, readable, domain.low, domain.high)
    graph = single_output(domain.graph(graphs), output)
    units = np.where(domain.high > domain.low, scale / domain.half, 0.0)
    steepest = _Steepest(graph, domain.program(), units, norm)
    for point in sampled(steepest.inputs, N_SAMPLES)[:N_CELLS]:
        steepest.look(states(graph, point), point)
    status, bound, n_binaries = steepest.run(gap, clock)
    best = steepest.value
    bound = max(bound, best)
    left = (bound - best) / best if best else float(bound > 0) * np.inf
    status = FOUND if left <= gap else status
    x = domain.to_x(steepest.point)
    slopes = steepest.gradient / domain.half * (domain.high > domain.low)
    return LargestSlope(
        x, slopes, best, bound, left, status, MESSAGES[status], n_binaries, clock.seconds
    )


class _Steepest:
    """The steepest cell so far, and how it is found."""

    def __init__(self, graph: ReLUGraph, inputs: Program, units: Array, norm: float) -> None:
        self.graph, self.inputs, self.units, self.norm = graph, inputs, units, norm
        self.value = -1.0
        self.point, self.gradient = inputs.low, np.zeros(len(units))

    def look(self, on, point: Array) -> None:
        """Keep a cell and a point in it if it is steeper."""
        gradient = cell(self.graph, on)[2][0]
        sizes = np.abs(gradient * self.units)
        value = float(sizes.sum() if self.norm == np.inf else sizes.max())
        if value > self.value:
            self.value, self.point, self.gradient = value, point, gradient

    def run(self, gap: float, clock: Clock) -> tuple[int, float, int]:
        """Return status, upper bound and number of binaries."""
        start = bounded_by_intervals(self.graph, self.inputs)
        assert start is not None  # boxes are not empty
        bounded = tightened(start, clock)
        rates = rates_of(bounded, self.units, self.norm)
        rates = tightened_rates(bounded, self.units, self.norm, rates, clock)
        program, cost = tangent_program(bounded, self.units, self.norm, rates)
        n_binaries = bounded.n_unstable
        bound = max(-program.relaxation().least(-cost)[0], 0.0)
        first = bounded.graph.n_inputs + bounded.graph.n_neurons
        unstable = np.flatnonzero(bounded.unstable)
        for _ in range(MOST_CUTS):
            size = max(self.value, 1e-300)
            found = program.solve(-cost / size, gap / 2, 10.0, clock.left)
            if found.status == INFEASIBLE:
                return FOUND, self.value, n_binaries
            bound = min(bound, -found.bound * size)
            if found.x is None:
                return LIMIT, bound, n_binaries
            on = bounded.below >= 0
            on[unstable] = found.x[first : first + n_binaries] > 0.5
            point = _inside(bounded, on)
            if point is not None:
                self.look(states(self.graph, point), point)
            if bound <= self.value * (1 + gap) or found.status == LIMIT:
                break
            if point is not None:
                return WIDE, bound, n_binaries
            # These neurons are nowhere on together: at least one has to be different.
            sign = np.where(on[unstable], -1.0, 1.0)
            row = csr_array(
                (sign, (np.zeros(n_binaries, int), first + np.arange(n_binaries))),
                shape=(1, program.n_variables),
            )
            program = program.with_rows(row, 1 - on[unstable].sum(), np.inf)
        return (LIMIT if clock.over() else WIDE), bound, n_binaries


def _inside(bounded: Bounded, on) -> Array | None:
    """Return the point of a cell that is farthest from its borders; None if the cell is empty."""
    slopes, shifts, _, _ = cell(bounded.graph, on)
    sign = np.where(on, -1.0, 1.0)
    size = np.abs(slopes).sum(1)
    checked = bounded.unstable & (size > 0)
    n = bounded.graph.n_inputs
    upper = np.hstack([(sign[:, None] * slopes)[checked], size[checked, None]])
    low, high = np.r_[bounded.inputs.low, -1.0], np.r_[bounded.inputs.high, 1.0]
    empty = csr_array((0, n + 1))
    program = Relaxation(csr_array(upper), -(sign * shifts)[checked], empty, np.zeros(0), low, high)
    point = program.least(-np.eye(n + 1)[n])[1]
    return None if point is None or point[n] <= INSIDE else point[:n]
