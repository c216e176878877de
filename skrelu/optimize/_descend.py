"""Good points: samples, and descent from one cell of a network to the next."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.sparse import csr_array

from skrelu._export.graph import ReLUGraph
from skrelu.optimize._graphs import cell, states
from skrelu.optimize._program import Array, Clock, Program

N_SAMPLES = 4096
# Samples from which to descend, and most steps from each.
N_STARTS, N_STEPS = 6, 30
# Corners of a set with constraints, of which samples are mixed.
N_CORNERS = 24
# How far beyond the border of a cell the next one is looked for, relative to the step.
BEYOND = 1e-6
# Largest violations of a constraint: of points that count, and of those of HiGHS, which count if
# there is no other.
FEASIBLE, NEARLY = 1e-9, 2e-6


def sampled(inputs: Program, n: int = N_SAMPLES) -> Array:
    """Return points of a set, (n_samples, n_inputs): none if it is empty or none is found."""
    rng = np.random.default_rng(0)
    if not len(inputs.least):
        points = rng.uniform(inputs.low, inputs.high, (n, inputs.n_variables))
        return np.where(inputs.integer, np.round(points), points)
    corners = []
    for cost in rng.normal(size=(N_CORNERS, inputs.n_variables)):
        point = _corner(inputs, cost)
        if point is None:
            return np.zeros((0, inputs.n_variables))
        corners.append(point)
    found = np.array(corners)
    if inputs.integer.any():
        return found
    weights = rng.dirichlet(np.full(N_CORNERS, 0.3), n)
    return np.vstack([found, weights @ found])


def _corner(inputs: Program, cost: Array) -> Array | None:
    if not inputs.integer.any():
        return inputs.relaxation().least(cost)[1]
    found = inputs.solve(cost, 1.0, 1.0, None)
    return None if found.x is None else np.where(inputs.integer, np.round(found.x), found.x)


def descended(graph: ReLUGraph, cost: Array, inputs: Program, x: Array, clock: Clock) -> Array:
    """Return a point with a lower value of cost @ outputs, by steps to the best of each cell.

    Integers stay as they are. In the cell of x, where the same neurons are on, the function is
    linear, so its minimum there is that of a linear program. The next cell is on the other side of
    the border that was reached.

    Parameters
    ----------
    cost : ndarray of shape (n_outputs,)
    x : ndarray of shape (n_inputs,)
    """
    low, high = (np.where(inputs.integer, x, part) for part in (inputs.low, inputs.high))
    best, at = x, x
    value = float(graph(x[None])[0] @ cost) if violation(inputs, x) <= FEASIBLE else np.inf
    for _ in range(N_STEPS):
        if clock.over(0.8):
            break
        point = best_in_cell(graph, cost, inputs, at, (low, high))
        if point is None:
            break
        new = float(graph(point[None])[0] @ cost)
        if value < np.inf and not new < value - 1e-12 * abs(value):
            break
        step = point - best
        best, value = point, new
        at = np.clip(point + BEYOND * step, low, high)
    return best


def violation(inputs: Program, x: Array) -> float:
    """Return by how much x violates the rows of a set."""
    values = inputs.matrix @ x
    return float(np.maximum(inputs.least - values, values - inputs.most).max(initial=0.0))


def best_in_cell(
    graph: ReLUGraph, cost: Array, inputs: Program, x: Array, box: tuple[Array, Array]
) -> Array | None:
    """Return the point of the cell of x with the least cost @ outputs; None if HiGHS finds none."""
    within, gradients, _ = within_cell(graph, replace(inputs, low=box[0], high=box[1]), x)
    point = within.relaxation().least(cost @ gradients)[1]
    return None if point is None else np.clip(point, *box)


def within_cell(graph: ReLUGraph, inputs: Program, x: Array) -> tuple[Program, Array, Array]:
    """Return the inputs in the cell of x, and the outputs there, gradients @ x + values."""
    on = states(graph, x)
    slopes, shifts, gradients, values = cell(graph, on)
    sign = np.where(on, -1.0, 1.0)
    size = np.abs(slopes).max(1, initial=0.0)
    bends = size > 0
    size, sign = size[bends], sign[bends]
    rows = csr_array((sign / size)[:, None] * slopes[bends])
    return inputs.with_rows(rows, -np.inf, -sign * shifts[bends] / size), gradients, values
