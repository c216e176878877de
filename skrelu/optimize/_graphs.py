"""Graphs of neurons as programs need them: composed, in units of their bounds, with cells."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array, eye_array, hstack, vstack

from skrelu._export.graph import ReLUGraph

Array = NDArray[np.float64]


def affine(matrix, shift: Array) -> ReLUGraph:
    """Return x -> matrix @ x + shift as a graph without neurons."""
    matrix = csr_array(matrix)
    return ReLUGraph(csr_array((0, matrix.shape[1])), np.zeros(0), matrix, np.asarray(shift, float))


def chained(graphs: Sequence[ReLUGraph]) -> ReLUGraph:
    """Return graphs that are applied one after the other as one graph."""
    return reduce(_after, graphs)


def _after(first: ReLUGraph, second: ReLUGraph) -> ReLUGraph:
    """Return second(first(x)): its neurons read outputs of the first as what these read."""
    n = second.n_inputs

    def joined(rows: csr_array) -> csr_array:
        return csr_array(hstack([rows[:, :n] @ first.output, rows[:, n:]], format="csr"))

    before = csr_array(
        hstack([first.weights, csr_array((first.n_neurons, second.n_neurons))], format="csr")
    )
    return ReLUGraph(
        csr_array(vstack([before, joined(second.weights)], format="csr")),
        np.r_[first.biases, second.biases + second.weights[:, :n] @ first.intercept],
        joined(second.output),
        second.intercept + second.output[:, :n] @ first.intercept,
    )


def clipping(low: Array, high: Array) -> ReLUGraph:
    """Return x -> low + (x - low)_+ - (x - high)_+; limits that are infinite have no term.

    Parameters
    ----------
    low, high : ndarray of shape (n_inputs,)
    """
    n = len(low)
    below, above = np.isfinite(low), np.isfinite(high)
    eye = eye_array(n, format="csr")
    n_neurons = int(below.sum() + above.sum())
    reads = csr_array(vstack([eye[below], eye[above]], format="csr"))
    weights = hstack([reads, csr_array((n_neurons, n_neurons))], format="csr")
    output = hstack([diags_array((~below).astype(float)), eye[below].T, -eye[above].T])
    return ReLUGraph(
        csr_array(weights),
        -np.r_[low[below], high[above]],
        csr_array(output),
        np.where(below, low, 0.0),
    )


def in_order(graph: ReLUGraph) -> ReLUGraph:
    """Return the graph with its neurons in the order of layers."""
    order = np.argsort(graph.layer, kind="stable")
    columns = np.r_[np.arange(graph.n_inputs), graph.n_inputs + order]
    return ReLUGraph(
        csr_array(graph.weights[order][:, columns]),
        graph.biases[order],
        csr_array(graph.output[:, columns]),
        graph.intercept,
    )


def rescaled(graph: ReLUGraph, sizes: Array) -> ReLUGraph:
    """Return the same function, where neurons have the values of this one divided by sizes > 0."""
    up = diags_array(np.r_[np.ones(graph.n_inputs), sizes])
    down = diags_array(1 / sizes)
    return ReLUGraph(
        csr_array(down @ graph.weights @ up),
        graph.biases / sizes,
        csr_array(graph.output @ up),
        graph.intercept,
    )


def states(graph: ReLUGraph, x: Array) -> NDArray[np.bool_]:
    """Return which neurons are on at x, (n_neurons,)."""
    signals = np.r_[x, np.zeros(graph.n_neurons)]
    before = np.zeros(graph.n_neurons)
    for neurons in graph.in_layers():
        before[neurons] = graph.weights[neurons] @ signals + graph.biases[neurons]
        signals[graph.n_inputs + neurons] = np.maximum(before[neurons], 0)
    return before > 0


def cell(graph: ReLUGraph, on: NDArray[np.bool_]) -> tuple[Array, Array, Array, Array]:
    """Return what the graph computes where the neurons in ``on`` are on and others off.

    Returns
    -------
    slopes, shifts : ndarray of shape (n_neurons, n_inputs) and (n_neurons,)
        What neurons get before ReLU is slopes @ x + shifts.
    gradients, values : ndarray of shape (n_outputs, n_inputs) and (n_outputs,)
        Outputs are gradients @ x + values.
    """
    n = graph.n_inputs
    by = np.zeros((n + graph.n_neurons, n + 1))  # signals as functions of x, last the constant
    by[:n, :n] = np.eye(n)
    before = np.zeros((graph.n_neurons, n + 1))
    for neurons in graph.in_layers():
        before[neurons] = graph.weights[neurons] @ by
        before[neurons, n] += graph.biases[neurons]
        by[n + neurons] = before[neurons] * on[neurons, None]
    outputs = graph.output @ by
    return before[:, :n], before[:, n], outputs[:, :n], outputs[:, n] + graph.intercept
