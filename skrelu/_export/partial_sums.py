"""Sums that later neurons read, carried past layers in place of their terms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack

from skrelu._export.graph import Array, ReLUGraph, rounded
from skrelu._export.sharing import upper_bounds

# Sums are one if their weights agree to this many bits, as their products differ in rounding.
BITS = 39
# Largest shift of a sum whose largest weight is 1: it costs digits in single precision.
FARTHEST_SUM = 10.0

Columns = NDArray[np.int64]


class _Sum(NamedTuple):
    """A weighted sum of neurons that a layer reads from further back than one layer."""

    layer: int  # of its readers; outputs are layer depth + 1
    columns: Columns
    values: Array


class _Signals(NamedTuple):
    """What is known of inputs and neurons."""

    made: NDArray[np.int64]  # the layer
    most: Array  # upper bounds; the lower one of neurons is 0


def with_partial_sums(graph: ReLUGraph, after: int | None = None) -> ReLUGraph:
    """Return the same function as a graph whose dense layers have fewer numbers.

    Sub-networks of later levels read all inputs and waves of earlier levels, and layers between
    would carry all of these. What is needed of them is one weighted sum for each sub-network. From
    some layer on, a neuron carries each sum, as far as it is known, in place of its terms.

    A neuron must not be negative. Bounded terms get a constant. Others, as inputs have them, get a
    sum s of their own, with weights that outweigh all negative ones, which one neuron more carries
    for all sums: what is read is (v + s) - s.

    Parameters
    ----------
    graph : ReLUGraph
    after : int, optional
        The layer after which sums are carried, from 0. By default layers are smallest; if they are
        with no sum, the graph itself is returned.
    """
    if graph.depth < 2:
        return graph
    halves = _in_halves(graph)
    rows = _rows(halves)
    layers = np.r_[halves.layer, np.full(halves.n_outputs, halves.depth + 1)]
    made = np.r_[np.zeros(halves.n_inputs, dtype=np.int64), halves.layer]
    signals = _Signals(made, upper_bounds(halves))
    sums, of_row, factors = _sums_of(rows, layers, signals)
    after = _best_layer(halves, rows, layers, sums, of_row, signals) if after is None else after
    if after is None:
        return graph
    added = _Added(after, [each for each in sums if each.layer > after + 1], signals)
    read = {k: added.carried(each) for k, each in enumerate(sums) if each.layer > after + 1}
    bias = np.r_[halves.biases, halves.intercept]
    entries = [_entries(rows, i) for i in range(len(layers))]
    for i, k in enumerate(of_row):
        if k in read:
            columns, values = entries[i]
            new = made[columns] == layers[i] - 1
            neurons, signs, shift = read[k]
            entries[i] = (
                np.r_[columns[new], neurons],
                np.r_[values[new], factors[i] * signs],
            )
            bias[i] += factors[i] * shift
    return _merged(halves, entries, bias, added.entries, added.biases, added.layers)


def _rows(graph: ReLUGraph) -> csr_array:
    """Return what neurons and then outputs read."""
    rows = csr_array(vstack([graph.weights, graph.output]))
    rows.eliminate_zeros()
    rows.sort_indices()
    return rows


def _entries(rows: csr_array, i: int) -> tuple[Columns, Array]:
    own = slice(rows.indptr[i], rows.indptr[i + 1])
    return rows.indices[own].astype(np.int64), rows.data[own]


def _in_halves(graph: ReLUGraph) -> ReLUGraph:
    """Return the graph whose second and later layers read x as max(x, 0) - max(-x, 0)."""
    n_inputs, n_old = graph.n_inputs, graph.n_neurons
    rows = _rows(graph)
    entries = [_entries(rows, i) for i in range(rows.shape[0])]
    first = np.r_[graph.layer == 1, np.zeros(graph.n_outputs, dtype=bool)]
    used = np.unique(np.concatenate([c for (c, _), f in zip(entries, first, strict=True) if not f]))
    used = used[used < n_inputs]
    place = np.full(n_inputs, -1)
    place[used] = n_inputs + n_old + 2 * np.arange(len(used))
    for i, (columns, values) in enumerate(entries):
        if not first[i]:
            of_inputs = columns < n_inputs
            up, weights = place[columns[of_inputs]], values[of_inputs]
            entries[i] = (
                np.r_[columns[~of_inputs], up, up + 1],
                np.r_[values[~of_inputs], weights, -weights],
            )
    new = [(np.array([j]), np.array([sign])) for j in used for sign in (1.0, -1.0)]
    bias = np.r_[graph.biases, graph.intercept]
    return _merged(graph, entries, bias, new, [0.0] * len(new), [1] * len(new))


def _sums_of(
    rows: csr_array, layers: NDArray[np.int64], signals: _Signals
) -> tuple[list[_Sum], NDArray[np.int64], Array]:
    """Return the sums that rows read, and which multiple of which one each reads; -1 is none."""
    sums: list[_Sum] = []
    known: dict[tuple[int, bytes, bytes], int] = {}
    of_row, factors = np.full(rows.shape[0], -1), np.zeros(rows.shape[0])
    for i, layer in enumerate(layers):
        columns, values = _entries(rows, i)
        old = signals.made[columns] < layer - 1
        if not old.any():
            continue
        columns, values = columns[old], values[old]
        factors[i] = values[np.abs(values).argmax()]
        found = _Sum(int(layer), columns, values / factors[i])
        if _lowest(found, signals, layer) < -FARTHEST_SUM:
            continue
        key = (int(layer), columns.tobytes(), rounded(found.values, BITS).tobytes())
        of_row[i] = known.setdefault(key, len(sums))
        if of_row[i] == len(sums):
            sums.append(found)
    return sums, of_row, factors


def _lowest(total: _Sum, signals: _Signals, layer: int) -> float:
    """Return a lower bound of the bounded terms that are known before a layer."""
    most = signals.most[total.columns]
    terms = np.minimum(total.values, 0) * np.where(np.isfinite(most), most, 0)
    return float(terms[signals.made[total.columns] < layer].sum())


def _outweighed(total: _Sum, signals: _Signals) -> Array:
    """Return the sizes of negative weights of terms without a bound."""
    return np.where(np.isfinite(signals.most[total.columns]), 0, np.maximum(-total.values, 0))


def _best_layer(
    graph: ReLUGraph,
    rows: csr_array,
    layers: NDArray[np.int64],
    sums: Sequence[_Sum],
    of_row: NDArray[np.int64],
    signals: _Signals,
) -> int | None:
    """Return the layer after which sums are carried, None if terms are fewer everywhere.

    It is the one with the smallest sum of squared widths.
    """
    made, steps = signals.made, np.arange(1, graph.depth + 1)
    last, kept = np.zeros(len(made), dtype=np.int64), np.zeros(len(made), dtype=np.int64)
    for i, layer in enumerate(layers):
        columns, _ = _entries(rows, i)
        last[columns] = np.maximum(last[columns], layer)
        if of_row[i] < 0:  # read as they are, whatever is summed
            kept[columns] = np.maximum(kept[columns], layer)
    neurons = made > 0

    def carried(until: NDArray[np.int64]) -> NDArray[np.int64]:
        return ((made < steps[:, None]) & (until > steps[:, None]))[:, neurons].sum(1)

    summed, shared = carried(kept), np.zeros(len(steps), dtype=bool)
    for each in sums:
        known = (made[each.columns].min() < steps) & (steps < each.layer)
        summed += known
        shared |= known & _outweighed(each, signals).any()
    own = np.bincount(graph.layer, minlength=graph.depth + 1)[1:]
    by_terms, by_sums = (own + carried(last)) ** 2, (own + summed + shared) ** 2
    sizes = np.r_[0, by_terms.cumsum()] + np.r_[by_sums[::-1].cumsum()[::-1], 0]
    after = int(sizes.argmin())
    return None if sizes[after] >= sizes[-1] else after


class _Added:
    """The neurons that carry sums."""

    def __init__(self, after: int, sums: Sequence[_Sum], signals: _Signals) -> None:
        self.after, self.signals = after, signals
        self.entries: list[tuple[Columns, Array]] = []
        self.biases: list[float] = []
        self.layers: list[int] = []
        self.weights = np.zeros(len(signals.made))  # of the sum that is added to others
        self.shared: dict[int, int] = {}  # its neuron in each layer
        those = [each for each in sums if _outweighed(each, signals).any()]
        for each in those:
            sizes = np.maximum(self.weights[each.columns], _outweighed(each, signals))
            self.weights[each.columns] = sizes
        if those:
            columns = np.flatnonzero(self.weights)
            last = max(each.layer for each in those)
            whole = _Sum(last, columns, self.weights[columns])
            for layer in range(self._first(whole), last):
                before = self.shared.get(layer - 1)
                new = self._new(whole, layer, before is None)
                more = [] if before is None else [before]
                values = np.r_[whole.values[new], np.ones(len(more))]
                self.shared[layer] = self._neuron(np.r_[columns[new], more], values, 0.0, layer)

    def _first(self, total: _Sum) -> int:
        return max(self.after, int(self.signals.made[total.columns].min())) + 1

    def _new(self, total: _Sum, layer: int, all_so_far: bool) -> NDArray[np.bool_]:
        made = self.signals.made[total.columns]
        return made < layer if all_so_far else made == layer - 1

    def _neuron(self, columns: NDArray, values: Array, bias: float, layer: int) -> int:
        self.entries.append((columns.astype(np.int64), values))
        self.biases.append(bias)
        self.layers.append(layer)
        return len(self.signals.made) + len(self.layers) - 1

    def carried(self, total: _Sum) -> tuple[list[int], Array, float]:
        """Add neurons that carry a sum; return those that are read, their signs and a constant."""
        shares = _outweighed(total, self.signals).any()
        neuron, low = -1, 0.0
        for layer in range(self._first(total), total.layer):
            begins = neuron < 0
            row = np.zeros(len(self.signals.made) + len(self.layers))
            new = self._new(total, layer, begins)
            row[total.columns[new]] = total.values[new]
            if shares:  # what is added grows by what is new in it
                before = self.shared.get(layer - 1)
                more = self.signals.made == layer - 1
                if begins:
                    more = self.signals.made < layer if before is None else more
                    row[[] if before is None else [before]] += 1
                row[: len(more)] += np.where(more, self.weights, 0)
            if not begins:
                row[neuron] += 1
            lowest = _lowest(total, self.signals, layer)
            columns = np.flatnonzero(row)
            neuron = self._neuron(columns, row[columns], low - lowest, layer)
            low = lowest
        if shares:
            return [neuron, self.shared[total.layer - 1]], np.array([1.0, -1.0]), low
        return [neuron], np.ones(1), low


def _merged(
    graph: ReLUGraph,
    entries: Sequence[tuple[Columns, Array]],
    bias: Array,
    new: Sequence[tuple[Columns, Array]],
    biases: Sequence[float],
    layers: Sequence[int],
) -> ReLUGraph:
    """Return a graph with other rows and with further neurons, in the order of layers."""
    n_inputs, n_old, n_new = graph.n_inputs, graph.n_neurons, len(new)
    both = [*entries[:n_old], *new, *entries[n_old:]]
    sizes = [len(columns) for columns, _ in both]
    columns, values = (np.concatenate([each[k] for each in both]) for k in (0, 1))
    whole = csr_array(
        (values, columns.astype(np.int64), np.r_[0, np.cumsum(sizes)]),
        shape=(len(both), n_inputs + n_old + n_new),
    )
    order = np.argsort(np.r_[graph.layer, np.asarray(layers, dtype=np.int64)], kind="stable")
    whole = csr_array(whole[:, np.r_[np.arange(n_inputs), n_inputs + order]])
    return ReLUGraph(
        whole[order], np.r_[bias[:n_old], biases][order], whole[n_old + n_new :], bias[n_old:]
    )
