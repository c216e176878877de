"""A ReLU network as a graph of neurons, without waste, and as layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import block_diag, csr_array, eye_array, hstack, vstack

Array = NDArray[np.float64]
Dense = tuple[Array, Array]  # matrix (n_out, n_in) and bias
Sparse = tuple[csr_array, Array]
Places = NDArray[np.integer]
Row = tuple[Sequence[int], Sequence[float]]  # columns and values

# Rows of inputs that are evaluated at once.
CHUNK = 20_000
# Neurons are one if their weights agree to this many bits, as their products differ in rounding.
BITS = 42
# Most passes of `ReLUGraph.simplified`; each finds less.
PASSES = 4


@dataclass(frozen=True)
class ReLUGraph:
    """A ReLU network whose neurons read inputs and any earlier neurons.

    Neuron i is max(0, weights[i] . [x, neurons] + biases[i]) and reads earlier neurons only. The
    outputs are linear in x and all neurons.

    Parameters
    ----------
    weights : csr_array of shape (n_neurons, n_inputs + n_neurons)
    biases : ndarray of shape (n_neurons,)
    output : csr_array of shape (n_outputs, n_inputs + n_neurons)
    intercept : ndarray of shape (n_outputs,)
    """

    weights: csr_array
    biases: Array
    output: csr_array
    intercept: Array

    @classmethod
    def of_layers(cls, layers: Sequence[Dense]) -> ReLUGraph:
        """Return the graph of dense layers with ReLU in between."""
        n_inputs = layers[0][0].shape[1]
        sizes = [len(bias) for _, bias in layers[:-1]]
        n_all, first = n_inputs + sum(sizes), 0
        rows = []
        for k, (matrix, _) in enumerate(layers):
            rows.append(_moved(csr_array(matrix), first, n_all))
            first += n_inputs if k == 0 else sizes[k - 1]
        biases = [np.asarray(bias, float) for _, bias in layers]
        empty = csr_array((0, n_all))
        weights = csr_array(vstack([empty, *rows[:-1]], format="csr"))
        return cls(weights, np.concatenate([np.zeros(0), *biases[:-1]]), rows[-1], biases[-1])

    @property
    def n_neurons(self) -> int:
        """Number of neurons."""
        return len(self.biases)

    @property
    def n_inputs(self) -> int:
        """Number of inputs."""
        return self.output.shape[1] - self.n_neurons

    @property
    def n_outputs(self) -> int:
        """Number of outputs."""
        return len(self.intercept)

    @property
    def n_numbers(self) -> int:
        """Number of weights and biases that are not 0."""
        parts = (self.weights.data, self.biases, self.output.data, self.intercept)
        return sum(int(np.count_nonzero(part)) for part in parts)

    @cached_property
    def layer(self) -> NDArray[np.int64]:
        """The layer of each neuron, from 1: one more than that of the last neuron it reads."""
        found = np.zeros(self.n_inputs + self.n_neurons, dtype=np.int64)
        start, columns = self.weights.indptr, self.weights.indices
        for i in range(self.n_neurons):
            read = columns[start[i] : start[i + 1]]
            found[self.n_inputs + i] = 1 + (found[read].max() if len(read) else 0)
        return found[self.n_inputs :]

    @property
    def depth(self) -> int:
        """Number of hidden layers."""
        return int(self.layer.max(initial=0))

    def in_layers(self) -> list[NDArray[np.integer]]:
        """Return the neurons of each layer."""
        order = np.argsort(self.layer, kind="stable")
        ends = np.searchsorted(self.layer[order], np.arange(1, self.depth + 1), side="right")
        return np.split(order, ends[:-1]) if self.depth else []

    def __call__(self, X: Array) -> Array:
        """Return the outputs, (n_samples, n_outputs)."""
        layers = [(i, self.weights[i], self.biases[i, None]) for i in self.in_layers()]
        values = np.empty((len(X), self.n_outputs))
        for begin in range(0, len(X), CHUNK):
            x = X[begin : begin + CHUNK].T
            signals = np.zeros((self.n_inputs + self.n_neurons, x.shape[1]))
            signals[: self.n_inputs] = x
            for neurons, weights, bias in layers:
                signals[self.n_inputs + neurons] = np.maximum(weights @ signals + bias, 0)
            values[begin : begin + CHUNK] = (self.output @ signals).T + self.intercept
        return values

    def bounds(self, low: Array, high: Array) -> tuple[Array, Array]:
        """Return bounds of what each neuron gets before ReLU, if x is within ``low`` and ``high``.

        Bounds are by interval arithmetic: they hold, but need not be reached.
        """
        least, most = (np.r_[np.asarray(b, float), np.zeros(self.n_neurons)] for b in (low, high))
        below, above = np.empty(self.n_neurons), np.empty(self.n_neurons)
        for neurons in self.in_layers():
            found = interval(self.weights[neurons], self.biases[neurons], least, most)
            below[neurons], above[neurons] = found
            least[self.n_inputs + neurons] = np.maximum(found[0], 0)
            most[self.n_inputs + neurons] = np.maximum(found[1], 0)
        return below, above

    def simplified(
        self, low: Array | None = None, high: Array | None = None, *, skips: bool = True
    ) -> ReLUGraph:
        """Return the same function with fewer numbers, where x is within ``low`` and ``high``.

        Neurons that are always on are replaced by what they read, if that takes no more numbers.
        Neurons that are always off or that nothing reads go. Neurons that are multiples of each
        other become one. If one gets minus what another gets, it is max(v, 0) - v of that one.

        Parameters
        ----------
        low, high : ndarray of shape (n_inputs,), optional
            Without them x is anything.
        skips : bool, default=True
            Whether neurons may come to read inputs and neurons from further back.
        """
        everywhere = np.full(self.n_inputs, np.inf)
        low = -everywhere if low is None else np.asarray(low, float)
        high = everywhere if high is None else np.asarray(high, float)
        # Copies first: what is u - v of two neurons is not seen to be never negative.
        graph = self._read()._pass(low, high, False)._read()
        for _ in range(PASSES):
            new = graph._pass(low, high, skips)._read()
            if new.n_numbers >= graph.n_numbers and new.n_neurons >= graph.n_neurons:
                break
            graph = new
        return graph

    def _pass(self, low: Array, high: Array, skips: bool) -> ReLUGraph:
        """Express each neuron by those that stay, layer by layer."""
        n_all, n_inputs = self.n_inputs + self.n_neurons, self.n_inputs
        readers = np.bincount(np.r_[self.weights.indices, self.output.indices], minlength=n_all)[
            n_inputs:
        ]
        least, most = np.r_[low, np.zeros(self.n_neurons)], np.r_[high, np.zeros(self.n_neurons)]
        # Each signal as a linear function of those that stay: by rows, in the order of `place`.
        by, constant = eye_array(n_inputs, n_all, format="csr"), np.zeros(n_all)
        place = np.full(n_all, -1)
        place[:n_inputs] = np.arange(n_inputs)
        seen: dict[bytes, tuple[int, float]] = {}
        rows, biases = [], self.biases.copy()
        for neurons in self.in_layers():
            part = self.weights[neurons]
            row = _substituted(part, place, by)
            bias = self.biases[neurons] + part @ constant
            below, above = interval(row, bias, least, most)
            new, shift = [], np.zeros(len(neurons))
            for k, i in enumerate(neurons):
                own = slice(row.indptr[k], row.indptr[k + 1])
                columns, values = row.indices[own], row.data[own]
                n_read, m, me = len(columns), readers[i], n_inputs + i
                if skips:
                    cheap = n_read * m <= n_read + m + 1
                else:  # a copy of a neuron
                    cheap = n_read == 1 and columns[0] >= n_inputs
                kept: Row = ([me], [1.0])
                if above[k] <= 0:
                    kept = [], []
                elif n_read == 0 or (below[k] >= 0 and cheap):
                    kept, shift[k] = (columns, values), max(bias[k], 0) if n_read == 0 else bias[k]
                elif same := _same(seen, columns, values, bias[k], me):
                    if same[1] > 0:
                        kept = [same[0]], [same[1]]
                    elif cheap:  # max(v, 0) = max(-v, 0) + v
                        kept = [same[0], *columns], [-same[1], *values]
                        shift[k] = bias[k]
                new.append(kept)
            rows.append((neurons, row, bias))
            least[n_inputs + neurons] = np.maximum(below, 0)
            most[n_inputs + neurons] = np.maximum(above, 0)
            constant[n_inputs + neurons] = shift
            place[n_inputs + neurons] = by.shape[0] + np.arange(len(neurons))
            by = csr_array(vstack([by, _stacked(new, n_all)], format="csr"))
        if not rows:
            return self
        order = np.concatenate([neurons for neurons, _, _ in rows])
        back = np.argsort(order)
        weights = csr_array(vstack([row for _, row, _ in rows], format="csr"))[back]
        biases = np.concatenate([bias for _, _, bias in rows])[back]
        output = _substituted(self.output, place, by)
        return ReLUGraph(weights, biases, output, self.intercept + self.output @ constant)

    def _read(self) -> ReLUGraph:
        """Return the graph without neurons that no output depends on, in the order of layers."""
        needed = np.zeros(self.n_inputs + self.n_neurons, dtype=bool)
        output, weights = self.output.copy(), self.weights.copy()
        output.eliminate_zeros()
        weights.eliminate_zeros()
        needed[output.indices] = True
        for neurons in reversed(self.in_layers()):
            kept = neurons[needed[self.n_inputs + neurons]]
            needed[weights[kept].indices] = True
        kept = np.flatnonzero(needed[self.n_inputs :])
        columns = np.r_[np.arange(self.n_inputs), self.n_inputs + kept]
        return ReLUGraph(
            csr_array(weights[kept][:, columns]),
            self.biases[kept],
            csr_array(output[:, columns]),
            self.intercept,
        )

    def affine(self, gain: Array, shift: Array) -> ReLUGraph:
        """Return the graph of gain * f + shift, both of shape (n_outputs,)."""
        output = csr_array(self.output * gain[:, None])
        return replace(self, output=output, intercept=gain * self.intercept + shift)

    def then(self, other: ReLUGraph) -> ReLUGraph:
        """Return the graph of another one applied to the outputs.

        Two neurons carry each output v, as v = max(v, 0) - max(-v, 0), so that no digits are lost
        in products of weights.
        """
        n_before, n_carried = self.output.shape[1], 2 * self.n_outputs
        n_all = n_before + n_carried + other.n_neurons

        def shifted(rows: csr_array) -> csr_array:
            inputs, neurons = rows[:, : other.n_inputs], rows[:, other.n_inputs :]
            return _moved(csr_array(hstack([inputs, -inputs, neurons])), n_before, n_all)

        own = vstack([self.weights, self.output, -self.output], format="csr")
        weights = vstack([_moved(csr_array(own), 0, n_all), shifted(other.weights)], format="csr")
        biases = np.r_[self.biases, self.intercept, -self.intercept, other.biases]
        return ReLUGraph(csr_array(weights), biases, shifted(other.output), other.intercept)

    def to_layers(self, low: Array | None = None) -> list[Dense]:
        """Return dense layers with ReLU in between, see `to_sparse_layers`."""
        return [(matrix.toarray(), bias) for matrix, bias in self.to_sparse_layers(low)]

    def to_sparse_layers(self, low: Array | None = None) -> list[Sparse]:
        """Return layers with ReLU in between, as sparse matrices and biases.

        What a layer reads from further back is carried by neurons of the layers between: a neuron
        by one, an input by two, or by one if it has a lower bound. What only the outputs read is
        added up, in two neurons an output, if that takes fewer numbers.

        Parameters
        ----------
        low : ndarray of shape (n_inputs,), optional
            Lower bounds of the inputs.
        """
        kept, added = (_Carried(self, low, sums).layers() for sums in (False, True))
        return min(kept, added, key=n_numbers)


def n_numbers(layers: Sequence[Sparse]) -> int:
    """Return how many numbers layers have as dense ones."""
    return sum(matrix.shape[0] * (matrix.shape[1] + 1) for matrix, _ in layers)


class _Carried:
    """Writes a graph as layers; each carries what later layers read.

    Values are rows of coefficients: of the signals before the next layer in terms of the present
    one. A signal is an input or a neuron.
    """

    def __init__(self, graph: ReLUGraph, low: Array | None, sums: bool) -> None:
        self.graph, self.sums = graph, sums
        n_inputs, n_all = graph.n_inputs, graph.n_inputs + graph.n_neurons
        self.low = np.zeros(n_all)  # of neurons, which are not negative
        self.low[:n_inputs] = -np.inf if low is None else low
        self.lift = np.where(np.isfinite(self.low), self.low, 0.0)  # how they are carried
        self.made = np.r_[np.zeros(n_inputs, dtype=np.int64), graph.layer]
        # The last layer that reads each signal; outputs are layer depth + 1.
        self.last = np.zeros(n_all, dtype=np.int64)
        owner = np.repeat(graph.layer, np.diff(graph.weights.indptr))
        np.maximum.at(self.last, graph.weights.indices, owner)
        if not sums:
            self.last[graph.output.indices] = graph.depth + 1

    def layers(self) -> list[Sparse]:
        graph, n_inputs = self.graph, self.graph.n_inputs
        n_out, output = graph.n_outputs, graph.output
        if graph.depth == 0:
            return [(csr_array(output[:, :n_inputs]), graph.intercept.copy())]
        # `reads` maps the present layer's values to the signals that it has, `lift` is added.
        present = np.arange(n_inputs)
        reads, lift = csr_array(eye_array(n_inputs)), np.zeros(n_inputs)
        so_far = np.zeros((n_out, n_inputs))  # sums for the outputs
        found: list[Sparse] = []
        for layer, here in enumerate(graph.in_layers(), 1):
            of_signals = graph.weights[here][:, present]
            places = np.flatnonzero(self.last[present] > layer)
            carried, low, back = self._carry(present, places)
            blocks = [of_signals @ reads, carried @ reads]
            biases = [graph.biases[here] + of_signals @ lift, carried @ lift - low]
            sums = np.zeros((n_out, 0))
            if self.sums:
                matrix, bias = self._of_outputs(present, reads, lift, layer - 1)
                rows, shifts, sums = self._added_up(so_far + matrix, bias, layer)
                blocks.append(csr_array(rows))
                biases.append(shifts)
            found.append((csr_array(vstack(blocks)), np.concatenate(biases)))
            present = np.concatenate([n_inputs + here, present[places]])
            n_sums = sums.shape[1]
            reads = csr_array(block_diag([eye_array(len(here)), back, csr_array((0, n_sums))]))
            lift = self.lift[present]
            so_far = np.hstack([np.zeros((n_out, reads.shape[1] - n_sums)), sums])
        if self.sums:
            matrix, bias = self._of_outputs(present, reads, lift, graph.depth)
            matrix = csr_array(so_far + matrix)
        else:
            matrix, bias = output[:, present] @ reads, output[:, present] @ lift
        found.append((csr_array(matrix), graph.intercept + bias))
        return found

    def _carry(self, present: Places, places: Places) -> tuple[csr_array, Array, csr_array]:
        """Return neurons that carry signals, as rows and shifts, and how these are read."""
        two = ~np.isfinite(self.low[present[places]])
        counts = 1 + two
        ends = counts.cumsum()
        signs = np.ones(counts.sum())
        signs[ends[two] - 1] = -1
        n = len(signs)
        back = csr_array((signs, np.arange(n), np.r_[0, ends]), shape=(len(places), n))
        rows = signs, np.repeat(places, counts), np.arange(n + 1)
        carried = csr_array(rows, shape=(n, len(present)))
        return carried, np.repeat(self.lift[present[places]], counts), back

    def _of_outputs(
        self, present: Places, reads: csr_array, lift: Array, layer: int
    ) -> tuple[Array, Array]:
        """Return what the outputs read from the signals of a layer."""
        new = np.flatnonzero(self.made[present] == layer)
        read = self.graph.output[:, present[new]]
        return (read @ reads[new]).toarray(), read @ lift[new]

    def _added_up(self, matrix: Array, bias: Array, layer: int) -> tuple[Array, Array, Array]:
        """Return neurons that carry sums for the outputs, and how they are read."""
        if layer == 1:  # linear in the inputs, of any sign
            eye = np.eye(len(matrix))
            used = matrix.any(1)
            matrix, bias = matrix[used], bias[used]
            read = np.hstack([eye[:, used], -eye[:, used]])
            return np.vstack([matrix, -matrix]), np.r_[bias, -bias], read
        # Neurons are not negative: sums of terms of one sign are not either.
        n_out = len(matrix)
        rows = np.vstack([np.maximum(matrix, 0), np.maximum(-matrix, 0)])
        read = np.hstack([np.eye(n_out), -np.eye(n_out)])
        used = rows.any(1)
        assert not bias.any()
        return rows[used], np.zeros(int(used.sum())), read[:, used]


def interval(rows: csr_array, bias: Array, least: Array, most: Array) -> tuple[Array, Array]:
    """Return bounds of linear functions of signals that have bounds."""
    up, down = rows.maximum(0).tocsr(), rows.minimum(0).tocsr()
    with np.errstate(invalid="ignore"):
        below = _product(up, least) + _product(down, most) + bias
        above = _product(up, most) + _product(down, least) + bias
    # Rounding: a bound at 0 must hold.
    room = (
        4
        * np.finfo(float).eps
        * np.abs(rows)
        @ np.maximum(
            np.where(np.isfinite(least), np.abs(least), 0), np.where(np.isfinite(most), most, 0)
        )
    )
    room = np.where(np.diff(rows.indptr) > 1, room, 0.0)
    return (
        np.where(np.isnan(below), -np.inf, below - room),
        np.where(np.isnan(above), np.inf, above + room),
    )


def _product(rows: csr_array, vector: Array) -> Array:
    """Return rows @ vector, where weights of 0 count as nothing even beside infinity."""
    held = rows.data != 0
    terms = rows.data[held] * vector[rows.indices[held]]
    owner = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))[held]
    return np.asarray(np.bincount(owner, terms, minlength=rows.shape[0]), dtype=np.float64)


def _same(seen: dict, columns, values: Array, bias: float, me: int) -> tuple[int, float] | None:
    """Return an earlier neuron that gets a multiple of the same, and the factor; else keep this."""
    order = np.argsort(columns, kind="stable")
    row = np.r_[values[order], bias]
    unit = row[np.abs(row[:-1]).argmax()]
    key = np.asarray(columns)[order].tobytes() + rounded(row / unit, BITS).tobytes()
    for sign in (1, -1):
        found = seen.get((sign * np.sign(unit), key))
        if found is not None:
            return found[0], sign * abs(unit) / found[1]
    seen[np.sign(unit), key] = me, abs(unit)
    return None


def rounded(values: Array, n_bits: int) -> Array:
    """Return values to this many significant bits; none is -0."""
    fractions, exponents = np.frexp(values)
    return np.ldexp(np.round(np.ldexp(fractions, n_bits)), exponents - n_bits) + 0.0


def _substituted(rows: csr_array, place: NDArray[np.int64], by: csr_array) -> csr_array:
    """Return rows in terms of what signals are functions of, given the row of each in ``by``."""
    reads = csr_array(
        (rows.data, place[rows.indices], rows.indptr), shape=(rows.shape[0], by.shape[0])
    )
    found = csr_array(reads @ by)
    found.sum_duplicates()
    found.eliminate_zeros()
    return found


def _stacked(rows: Sequence[Row], n: int) -> csr_array:
    sizes = [len(columns) for columns, _ in rows]
    columns = np.concatenate([np.asarray(c, dtype=np.int64) for c, _ in rows])
    values = np.concatenate([np.asarray(v, dtype=float) for _, v in rows])
    return csr_array((values, columns, np.r_[0, np.cumsum(sizes)]), shape=(len(rows), n))


def _moved(matrix: csr_array, first: int, n_all: int) -> csr_array:
    """Return the matrix as columns from ``first`` of a wider one."""
    before, after = csr_array((matrix.shape[0], first)), n_all - first - matrix.shape[1]
    wide = hstack([before, matrix, csr_array((matrix.shape[0], after))], format="csr")
    return csr_array(wide)
