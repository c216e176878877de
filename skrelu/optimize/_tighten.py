"""Bounds of neurons by linear programs over the relaxation of what they read."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.sparse import csr_array

from skrelu._export.graph import ReLUGraph, interval
from skrelu.optimize._encode import Bounded
from skrelu.optimize._graphs import in_order
from skrelu.optimize._program import Array, Clock, Program, Relaxation

# Passes over all neurons below a cutoff stop if fewer than this share of binaries goes in one.
WORTH = 0.1
MOST_PASSES = 4


def bounded_by_intervals(graph: ReLUGraph, inputs: Program) -> Bounded | None:
    """Return the simplified graph with bounds by intervals; None if the set of inputs is empty."""
    reach = _inputs(inputs)
    if reach is None:
        return None
    return Bounded.of(in_order(graph.simplified(reach.low, reach.high)), reach).scaled()


def tightened(bounded: Bounded, clock: Clock, share: float = 0.3) -> Bounded:
    """Return narrower bounds, layer by layer.

    The bounds of each neuron that may be on or off are the minimum and the maximum of what it gets,
    over the relaxation of the layers before. When a ``share`` of the time has gone, bounds are by
    intervals.
    """
    first = 0
    for neurons in bounded.graph.in_layers():
        if clock.over(share):
            break
        bounded = _by_intervals(bounded, first)
        relaxation = bounded.hull(first).relaxation()
        below, above = bounded.below.copy(), bounded.above.copy()
        for i in neurons[bounded.unstable[neurons]]:
            row = bounded.graph.weights[[i]].toarray()[0, : relaxation.upper.shape[1]]
            below[i], above[i] = _bounds(
                relaxation, row, bounded.graph.biases[i], below[i], above[i]
            )
        bounded = replace(bounded, below=below, above=above)
        first += len(neurons)
    return _by_intervals(bounded, first).scaled()


def below_cutoff(bounded: Bounded, cost: Array, cutoff: float, clock: Clock) -> Bounded:
    """Tighten all bounds where cost @ signals <= cutoff, as it is somewhere.

    Parameters
    ----------
    cost : ndarray of shape (n_inputs + n_neurons,)
    """
    for _ in range(MOST_PASSES):
        before = bounded.n_unstable
        bounded = _pass(bounded, cost, cutoff, clock)
        if clock.over(0.5) or before - bounded.n_unstable <= WORTH * before:
            break
    return bounded


def _pass(bounded: Bounded, cost: Array, cutoff: float, clock: Clock) -> Bounded:
    program = bounded.hull().with_rows(csr_array(cost[None]), -np.inf, cutoff)
    relaxation, n = program.relaxation(), bounded.graph.n_inputs
    low, high = bounded.inputs.low.copy(), bounded.inputs.high.copy()
    below, above = bounded.below.copy(), bounded.above.copy()
    eye = np.eye(n, program.n_variables)
    for j in np.flatnonzero(high > low):
        if clock.over(0.5):
            break
        low[j], high[j] = _bounds(relaxation, eye[j], None, low[j], high[j])
    relaxation = replace(
        relaxation, low=np.r_[low, relaxation.low[n:]], high=np.r_[high, relaxation.high[n:]]
    )
    for i in np.flatnonzero(bounded.unstable):
        if clock.over(0.5):
            break
        row = bounded.graph.weights[[i]].toarray()[0]
        below[i], above[i] = _bounds(relaxation, row, bounded.graph.biases[i], below[i], above[i])
    inputs = replace(bounded.inputs, low=low, high=high)
    return replace(bounded, below=below, above=above, inputs=_rounded(inputs))


def _inputs(inputs: Program) -> Program | None:
    """Return the set of inputs with the smallest box around it, None if it is empty."""
    if not len(inputs.least):
        return _rounded(inputs)
    relaxation, low, high = inputs.relaxation(), inputs.low.copy(), inputs.high.copy()
    if relaxation.least(np.zeros(inputs.n_variables))[0] == np.inf:
        return None
    for j, row in enumerate(np.eye(inputs.n_variables)):
        low[j], high[j] = _bounds(relaxation, row, None, low[j], high[j])
    found = _rounded(replace(inputs, low=low, high=high))
    return None if np.any(found.low > found.high) else found


def _rounded(inputs: Program) -> Program:
    """Return the set with bounds of integers rounded inwards."""
    low = np.where(inputs.integer, np.ceil(inputs.low - 1e-6), inputs.low)
    high = np.where(inputs.integer, np.floor(inputs.high + 1e-6), inputs.high)
    return replace(inputs, low=low, high=high)


def _bounds(
    relaxation: Relaxation, row: Array, shift: float | None, low: float, high: float
) -> tuple[float, float]:
    """Return the range of row @ z + shift, within one that is known.

    The set is known not to be empty. If HiGHS finds it empty all the same, or if rounding puts
    bounds past each other, the known range stays. The shift is None for inputs. Neurons that are
    always on need no upper bound.
    """
    is_neuron, shift = shift is not None, shift or 0.0
    least = relaxation.least(row)[0] + shift
    if low < least <= high:
        low = least
    if low >= 0 and is_neuron:
        return low, high
    most = -relaxation.least(-row)[0] + shift
    return low, most if low <= most < high else high


def _by_intervals(bounded: Bounded, first: int) -> Bounded:
    """Return narrower bounds by intervals for neurons from ``first`` on."""
    graph = bounded.graph
    below, above = bounded.below.copy(), bounded.above.copy()
    low, high = bounded.signals()
    for neurons in graph.in_layers():
        if neurons[-1] < first:
            continue
        least, most = interval(graph.weights[neurons], graph.biases[neurons], low, high)
        below[neurons] = np.maximum(below[neurons], least)
        above[neurons] = np.minimum(above[neurons], most)
        low[graph.n_inputs + neurons] = np.maximum(below[neurons], 0)
        high[graph.n_inputs + neurons] = np.maximum(above[neurons], 0)
    return replace(bounded, below=below, above=above)
