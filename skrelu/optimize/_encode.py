"""Neurons as rows of a mixed-integer program.

A neuron v = max(p, 0), where p is linear in inputs and earlier neurons and l <= p <= u is known, is

    v = p                        if 0 <= l: always on,
    v = 0                        if u <= 0: always off,
    v >= 0, v >= p,
    v <= u b, v <= p - l (1 - b) otherwise, with b in {0, 1} ("big-M").

With b in [0, 1] these rows are the convex hull of (p, v) for p in [l, u].

References
----------
Anderson, Huchette, Ma, Tjandraatmadja, Vielma, "Strong mixed-integer programming formulations for
trained neural networks", Math. Program. 183, 2020, https://arxiv.org/abs/1811.01988
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, eye_array, hstack

from skrelu._export.graph import ReLUGraph
from skrelu.optimize._graphs import rescaled
from skrelu.optimize._program import Array, Program


@dataclass(frozen=True)
class Bounded:
    """A graph, in the order of layers, with bounds of what its neurons get, and of its inputs.

    Parameters
    ----------
    graph : ReLUGraph
    below, above : ndarray of shape (n_neurons,)
    inputs : Program
        The set of inputs.
    """

    graph: ReLUGraph
    below: Array
    above: Array
    inputs: Program

    @classmethod
    def of(cls, graph: ReLUGraph, inputs: Program) -> Bounded:
        """Return the graph with bounds by intervals."""
        return cls(graph, *graph.bounds(inputs.low, inputs.high), inputs)

    @property
    def unstable(self) -> NDArray[np.bool_]:
        """Which neurons may be on or off."""
        return (self.below < 0) & (self.above > 0)

    @property
    def n_unstable(self) -> int:
        """Number of neurons that may be on or off."""
        return int(self.unstable.sum())

    def scaled(self) -> Bounded:
        """Return the same with neurons in units of their largest bounds."""
        sizes = np.maximum(np.abs(self.below), np.abs(self.above))
        sizes = np.where((sizes > 0) & np.isfinite(sizes), sizes, 1.0)
        graph = rescaled(self.graph, sizes)
        return replace(self, graph=graph, below=self.below / sizes, above=self.above / sizes)

    def signals(self) -> tuple[Array, Array]:
        """Return bounds of inputs and neurons."""
        low = np.r_[self.inputs.low, np.maximum(self.below, 0)]
        return low, np.r_[self.inputs.high, np.maximum(self.above, 0)]

    def hull(self, n_first: int | None = None) -> Program:
        """Return the linear relaxation of the first neurons, over inputs and these neurons."""
        n = self.graph.n_neurons if n_first is None else n_first
        program, rows, bias = self._neurons(n)
        unstable = np.flatnonzero(self.unstable[:n])
        low, high = self.below[unstable], self.above[unstable]
        slope = high / (high - low)
        # v <= u (p - l) / (u - l)
        chord = self._reads(unstable, n) - csr_array(rows[unstable].multiply(slope[:, None]))
        return program.with_rows(chord, -np.inf, slope * (bias[unstable] - low))

    def mixed_integer(self) -> Program:
        """Return the program over inputs, neurons and a binary for each unstable neuron."""
        n = self.graph.n_neurons
        program, rows, bias = self._neurons(n)
        unstable = np.flatnonzero(self.unstable)
        n_binary = len(unstable)
        program = program.with_variables(np.zeros(n_binary), np.ones(n_binary), True)
        low, high = self.below[unstable], self.above[unstable]
        reads, eye = self._reads(unstable, n), eye_array(n_binary, format="csr")
        least = hstack([reads, -eye.multiply(high[:, None])], format="csr")
        most = hstack([reads - rows[unstable], -eye.multiply(low[:, None])], format="csr")
        program = program.with_rows(least, -np.inf, 0.0)
        program = program.with_rows(most, -np.inf, bias[unstable] - low)
        implied = _implications(rows[unstable], bias[unstable])
        if implied is None:
            return program
        matrix, limits = implied
        shifted = hstack([csr_array((matrix.shape[0], program.n_variables - n_binary)), matrix])
        return program.with_rows(shifted, -np.inf, limits)

    def _neurons(self, n: int) -> tuple[Program, csr_array, Array]:
        """Return rows that hold for all neurons up to n, and the matrix and bias of p."""
        graph = self.graph
        rows, bias = graph.weights[:n, : graph.n_inputs + n], graph.biases[:n]
        low, high = (part[graph.n_inputs :][:n] for part in self.signals())
        program = self.inputs.with_variables(low, high)
        on, unstable = self.below[:n] >= 0, self.unstable[:n]
        over = self._reads(np.arange(n), n) - rows  # v - p
        program = program.with_rows(over[on], bias[on], bias[on])
        return program.with_rows(over[unstable], bias[unstable], np.inf), rows, bias

    def _reads(self, neurons: NDArray[np.int64], n: int) -> csr_array:
        eye = eye_array(self.graph.n_inputs + n, format="csr")
        return csr_array(eye[self.graph.n_inputs + neurons])


def _implications(rows: csr_array, bias: Array) -> tuple[csr_array, Array] | None:
    """Return rows in the binaries of neurons that get q + s or -q + s of the same linear q.

    Of two of the first kind the one with less s is on only if the other is. Of two kinds, both are
    on only if the sum of their s is positive, and one is on if it is.
    """
    rows = rows.sorted_indices()
    kinds: dict[bytes, list[tuple[float, float, int]]] = {}
    for k in range(rows.shape[0]):
        row = rows[[k]]
        if not row.nnz:
            continue
        unit = row.data[np.abs(row.data).argmax()]
        key = row.indices.tobytes() + np.round(row.data / unit, 12).tobytes()
        kinds.setdefault(key, []).append((bias[k] / unit, np.sign(unit), k))
    n, found, limits = rows.shape[0], [], []
    for members in kinds.values():
        members.sort()
        for (_, sign, k), (_, next_sign, m) in pairwise(members):
            # q + s > 0 for a positive sign, q + s < 0 for a negative one; the second s is more.
            entries = np.zeros(n)
            entries[k], entries[m] = sign, -next_sign
            found.append(entries)
            limits.append((sign < 0) * -1.0 + (next_sign < 0) * 1.0)
    if not found:
        return None
    return csr_array(np.array(found)), np.array(limits)
