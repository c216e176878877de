"""Sums that later neurons read, carried past layers in place of their terms."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack

from skrelu._export.graph import Array, ReLUGraph
from skrelu._export.sharing import upper_bounds

# Sums are one if their weights agree to this many digits, as their products differ in rounding.
DIGITS = 12
# Largest shift of a sum whose largest weight is 1: it costs digits in single precision.
FARTHEST_SUM = 10.0


class _Sum(NamedTuple):
    """A weighted sum of signals that neurons of a layer read from further back than one layer."""

    layer: int  # of its readers; outputs are layer depth + 1
    columns: NDArray[np.int64]
    values: Array


class _Sums(NamedTuple):
    """All such sums, and which multiple of which of them each row reads; -1 is none."""

    sums: list[_Sum]
    of_row: NDArray[np.int64]
    factors: Array


def with_partial_sums(graph: ReLUGraph, after: int | None = None) -> ReLUGraph:
    """Return the same function as a graph whose dense layers have fewer numbers.

    Sub-networks of later levels read all inputs and waves of earlier levels, and layers between
    would carry all of these. What is needed of them is one weighted sum for each sub-network. From
    some layer on, neurons carry these sums, as far as they are known, in place of their terms. A
    sum that has a lower bound takes one neuron, another one two: max(v, 0) - max(-v, 0).

    Parameters
    ----------
    graph : ReLUGraph
    after : int, optional
        The layer after which sums are carried, from 0. By default layers are smallest; if they are
        with no sum, the graph itself is returned.
    """
    rows = csr_array(vstack([graph.weights, graph.output]))
    rows.eliminate_zeros()
    rows.sort_indices()
    made = np.r_[np.zeros(graph.n_inputs, dtype=np.int64), graph.layer]
    layers = np.r_[graph.layer, np.full(graph.n_outputs, graph.depth + 1)]
    found = _sums_of(rows, layers, made)
    least = np.r_[np.full(graph.n_inputs, -np.inf), np.zeros(graph.n_neurons)]
    most = upper_bounds(graph)
    after = _best_layer(graph, found, made, least, most) if after is None else after
    if after is None:
        return graph
    added = _Added(graph.n_inputs + graph.n_neurons)
    read_from = {
        k: added.chain(each, after, made, least, most)
        for k, each in enumerate(found.sums)
        if each.layer > after + 1
    }
    bias = np.r_[graph.biases, graph.intercept]
    entries: list[tuple[NDArray[np.int64], Array]] = []
    for i, (layer, k) in enumerate(zip(layers, found.of_row, strict=True)):
        columns, values = _row(rows, i)
        if k in read_from:
            new = made[columns] == layer - 1
            neurons, signs, shift = read_from[k]
            columns = np.r_[columns[new], neurons]
            values = np.r_[values[new], found.factors[i] * signs]
            bias[i] += found.factors[i] * shift
        entries.append((columns, values))
    return _merged(graph, entries, bias, added)


def _sums_of(rows: csr_array, layers: NDArray[np.int64], made: NDArray[np.int64]) -> _Sums:
    """Return the sums of signals from further back that rows of coefficients read."""
    sums: list[_Sum] = []
    known: dict[tuple[int, bytes, bytes], int] = {}
    of_row, factors = np.full(rows.shape[0], -1), np.zeros(rows.shape[0])
    for i, layer in enumerate(layers):
        columns, values = _row(rows, i)
        old = made[columns] < layer - 1
        if not old.any():
            continue
        columns, values = columns[old], values[old]
        factors[i] = values[np.abs(values).argmax()]
        unit = values / factors[i]
        digits = np.array([float(f"{v:.{DIGITS - 1}e}") for v in unit])
        key = (int(layer), columns.tobytes(), digits.tobytes())
        of_row[i] = known.setdefault(key, len(sums))
        if of_row[i] == len(sums):
            sums.append(_Sum(int(layer), columns, unit))
    return _Sums(sums, of_row, factors)


def _best_layer(
    graph: ReLUGraph, found: _Sums, made: NDArray[np.int64], least: Array, most: Array
) -> int | None:
    """Return the layer after which sums are carried, None if terms are fewer everywhere.

    It is the one with the smallest sum of squared widths.
    """
    depth = graph.depth
    if depth < 2:
        return None
    steps = np.arange(1, depth + 1)
    last = np.zeros(len(made), dtype=np.int64)
    for each in found.sums:
        last[each.columns] = np.maximum(last[each.columns], each.layer)
    signs = np.where(np.isfinite(least), 1, 2)  # neurons that carry a signal
    terms = ((made < steps[:, None]) & (last > steps[:, None])) @ signs
    sums = np.zeros(depth, dtype=np.int64)
    for each in found.sums:
        bounded = abs(_lowest(each.columns, each.values, least, most)) <= FARTHEST_SUM
        known = (made[each.columns].min() < steps) & (steps < each.layer)
        sums += known * (1 if bounded else 2)
    own = np.bincount(graph.layer, minlength=depth + 1)[1:]
    by_terms, by_sums = (own + terms) ** 2, (own + sums) ** 2
    sizes = np.r_[0, by_terms.cumsum()] + np.r_[by_sums[::-1].cumsum()[::-1], 0]
    after = int(sizes.argmin())
    return None if after == depth or sizes[after] >= sizes[-1] else after


def _lowest(columns: NDArray[np.int64], values: Array, least: Array, most: Array) -> float:
    """Return a lower bound of a weighted sum of signals."""
    return float(np.where(values > 0, values * least[columns], values * most[columns]).sum())


class _Added:
    """Neurons that carry sums."""

    def __init__(self, n_signals: int) -> None:
        self.n_signals = n_signals  # new neurons are signals from here on
        self.entries: list[tuple[NDArray[np.int64], Array]] = []
        self.biases: list[float] = []
        self.layers: list[int] = []

    def _neuron(self, columns: Array, values: Array, bias: float, layer: int) -> int:
        self.entries.append((columns.astype(np.int64), values))
        self.biases.append(bias)
        self.layers.append(layer)
        return self.n_signals + len(self.layers) - 1

    def chain(
        self, total: _Sum, after: int, made: NDArray[np.int64], least: Array, most: Array
    ) -> tuple[list[int], Array, float]:
        """Add neurons that carry a sum; return those that are read, their signs and a constant."""
        own = made[total.columns]
        neurons: list[int] = []
        signs, shift = np.zeros(0), 0.0
        for layer in range(max(after, own.min()) + 1, total.layer):
            new = own < layer if not neurons else own == layer - 1
            columns = np.r_[total.columns[new], neurons]
            values = np.r_[total.values[new], signs]
            known = own < layer
            low = _lowest(total.columns[known], total.values[known], least, most)
            if abs(low) <= FARTHEST_SUM:
                neurons = [self._neuron(columns, values, shift - low, layer)]
                signs, shift = np.ones(1), low
            else:
                neurons = [
                    self._neuron(columns, sign * values, sign * shift, layer) for sign in (1, -1)
                ]
                signs, shift = np.array([1.0, -1.0]), 0.0
        return neurons, signs, shift


def _row(rows: csr_array, i: int) -> tuple[NDArray[np.int64], Array]:
    own = slice(rows.indptr[i], rows.indptr[i + 1])
    return rows.indices[own].astype(np.int64), rows.data[own]


def _merged(
    graph: ReLUGraph, entries: list[tuple[NDArray[np.int64], Array]], bias: Array, added: _Added
) -> ReLUGraph:
    """Return a graph with further neurons, in the order of layers."""
    n_inputs, n_old, n_new = graph.n_inputs, graph.n_neurons, len(added.layers)
    both = [*entries[:n_old], *added.entries, *entries[n_old:]]
    sizes = [len(columns) for columns, _ in both]
    columns, values = (np.concatenate([each[k] for each in both]) for k in (0, 1))
    whole = csr_array(
        (values, columns.astype(np.int64), np.r_[0, np.cumsum(sizes)]),
        shape=(len(both), n_inputs + n_old + n_new),
    )
    order = np.argsort(np.r_[graph.layer, added.layers], kind="stable")
    whole = whole[:, np.r_[np.arange(n_inputs), n_inputs + order]]
    biases = np.r_[bias[:n_old], added.biases][order]
    return ReLUGraph(whole[order], biases, whole[n_old + n_new :], bias[n_old:])
