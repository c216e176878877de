"""Values that several neurons read, in neurons of their own."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array, csr_array, hstack, vstack

from skrelu._export.graph import Array, ReLUGraph, interval

# Largest relative difference of columns that count as multiples, and neurons of one value.
SAME, MOST_PARTS = 1e-10, 8
# Largest shift of a value; a large one costs digits.
FARTHEST = 1e3
# Fewest signals that a neuron reads which comes to read another neuron, one layer later.
FEWEST_NESTED = 5
# Slopes below this fraction of their terms are 0.
FLAT = 1e-12


def with_shared_values(graph: ReLUGraph) -> ReLUGraph:
    """Return the same function with fewer numbers, where neurons are read in fixed proportions.

    If all that read some neurons of a layer read the same multiple of their sum r . h, a neuron
    max(0, r . h + c) carries that sum, as the output of a triangle wave to all later waves. Its
    bound -c is by intervals; without one nothing changes.
    """
    most = upper_bounds(graph)
    n_inputs, n_all = graph.n_inputs, graph.n_inputs + graph.n_neurons
    readers = csc_array(vstack([graph.weights, graph.output]))
    values = []
    for neurons in graph.in_layers():
        for members, parts, factors in _proportional(readers, n_inputs + neurons):
            n, m = len(members), len(factors)
            falling = parts < 0
            low = -float(parts[falling] @ most[members[falling]])
            if n * m > n + m + 1 and low <= FARTHEST:
                values.append((members, parts, factors, readers[:, [members[0]]].indices, low))
    if not values:
        return graph
    n_new = len(values)
    read = readers.tolil()
    added = np.zeros((read.shape[0], n_new))
    rows = np.zeros((n_new, n_all))
    shift = np.zeros(read.shape[0])
    for k, (members, parts, factors, of, low) in enumerate(values):
        rows[k, members] = parts
        read[np.ix_(of, members)] = 0
        added[of, k] = factors
        shift[of] -= factors * low
    whole = csr_array(hstack([csr_array(read), csr_array(added)]))
    whole.eliminate_zeros()
    own = csr_array(hstack([csr_array(rows), csr_array((n_new, n_new))]))
    weights = csr_array(vstack([whole[: graph.n_neurons], own]))
    biases = np.r_[graph.biases + shift[: graph.n_neurons], [low for *_, low in values]]
    # A new neuron stands behind those it reads.
    places = np.r_[np.arange(graph.n_neurons), [m.max() - n_inputs + 0.5 for m, *_ in values]]
    order = np.argsort(places, kind="stable")
    columns = np.r_[np.arange(n_inputs), n_inputs + order]
    output = csr_array(whole[graph.n_neurons :])
    return ReLUGraph(
        csr_array(weights[order][:, columns]),
        biases[order],
        csr_array(output[:, columns]),
        graph.intercept + shift[graph.n_neurons :],
    )


def _proportional(readers: csc_array, signals: NDArray[np.integer]):
    """Yield neurons of a layer that are read in fixed proportions: these, parts, and factors."""
    start, rows, data = readers.indptr, readers.indices, readers.data
    alike: dict[bytes, list[tuple[list[int], Array]]] = {}
    for signal in signals:
        own = slice(start[signal], start[signal + 1])
        column = data[own]
        if len(column) < 2:
            continue
        groups = alike.setdefault(rows[own].tobytes(), [])
        for members, first in groups:
            peak = np.abs(first).argmax()
            scaled = first * (column[peak] / first[peak])
            close = np.abs(scaled - column).max() <= SAME * np.abs(column).max()
            if close and len(members) < MOST_PARTS:
                members.append(int(signal))
                break
        else:
            groups.append(([int(signal)], column))
    for groups in alike.values():
        for members, first in groups:
            if len(members) > 1:
                peak = np.abs(first).argmax()
                at = np.array([data[start[i] + peak] for i in members])
                size = np.abs(at).max()
                yield np.array(members), at / size, first * (size / first[peak])


def upper_bounds(graph: ReLUGraph) -> Array:
    """Return upper bounds of inputs and neurons, where x is anything.

    A sum of neurons that are hinges along one direction is bounded by its values at the hinges.
    """
    n_inputs, n_all = graph.n_inputs, graph.n_inputs + graph.n_neurons
    least, most = np.zeros(n_all), np.full(n_all, np.inf)
    least[:n_inputs] = -np.inf
    weights, line = graph.weights, np.full(graph.n_neurons, -1)
    factors = np.zeros(graph.n_neurons)
    known: dict[bytes, int] = {}
    for neurons in graph.in_layers():
        part = weights[neurons]
        _, above = interval(part, graph.biases[neurons], least, most)
        for k, i in enumerate(neurons):
            own = slice(part.indptr[k], part.indptr[k + 1])
            columns, values = part.indices[own], part.data[own]
            if len(columns):
                peak = np.abs(values).argmax()
                factors[i] = values[peak]
                key = columns.tobytes() + np.round(values / values[peak], 10).tobytes()
                line[i] = known.setdefault(key, len(known))
            hinges = columns - n_inputs
            if 0 < len(columns) <= MOST_PARTS and hinges.min() >= 0:
                along = line[hinges]
                if along[0] >= 0 and (along == along[0]).all():
                    highest = _most_along(values, factors[hinges], graph.biases[hinges])
                    above[k] = min(above[k], highest + graph.biases[i])
        most[n_inputs + neurons] = np.maximum(above, 0)
    return most


def _most_along(parts: Array, factors: Array, biases: Array) -> float:
    """Return the largest value of sum_i parts_i max(0, factors_i s + biases_i) over all s."""
    right = parts * np.maximum(factors, 0)
    left = parts * np.maximum(-factors, 0)
    if max(right.sum(), left.sum()) > FLAT * np.abs(parts * factors).sum():
        return np.inf
    s = -biases / factors
    values = np.maximum(factors * s[:, None] + biases, 0) @ parts
    return float(values.max() + FLAT * np.abs(parts * factors).sum() * (1 + np.abs(s).max()))


def with_nested_hinges(graph: ReLUGraph) -> ReLUGraph:
    """Return the same function with fewer numbers, where neurons of a layer read multiples.

    max(0, v - a) is max(0, h - a) of the neuron h = max(0, v), if a is not negative. So of the
    neurons that get a value plus some constants, the one with the largest constant reads what it
    is made of, and the others read that neuron, one layer later.
    """
    parts: list[tuple[NDArray[np.int64], Array]] = []
    biases, places = graph.biases.copy(), np.arange(graph.n_neurons, dtype=float)
    start, indices, data = graph.weights.indptr, graph.weights.indices, graph.weights.data
    for i in range(graph.n_neurons):
        own = slice(start[i], start[i + 1])
        parts.append((indices[own].astype(np.int64), data[own]))
    nested = False
    for neurons in graph.in_layers():
        for members, sizes in _parallel(parts, neurons):
            largest = np.argmax(graph.biases[members] / sizes)
            first = members[largest]
            for i, size in zip(members, sizes / sizes[largest], strict=True):
                if i != first:
                    parts[i] = np.array([graph.n_inputs + first]), np.array([size])
                    biases[i] -= size * graph.biases[first]
                    places[i] = max(places[i], first + 0.5)
                    nested = True
    if not nested:
        return graph
    lengths = [len(columns) for columns, _ in parts]
    columns, values = (np.concatenate([each[k] for each in parts]) for k in (0, 1))
    weights = csr_array((values, columns, np.r_[0, np.cumsum(lengths)]), shape=graph.weights.shape)
    order = np.argsort(places, kind="stable")
    moved = np.r_[np.arange(graph.n_inputs), graph.n_inputs + order]
    return ReLUGraph(
        csr_array(weights[order][:, moved]),
        biases[order],
        csr_array(graph.output[:, moved]),
        graph.intercept,
    )


def _parallel(parts: list[tuple[NDArray[np.int64], Array]], neurons: NDArray[np.integer]):
    """Yield neurons that read positive multiples of the same, and the sizes of these."""
    alike: dict[bytes, list[tuple[list[int], Array]]] = {}
    for i in neurons:
        columns, values = parts[i]
        if len(columns) < FEWEST_NESTED:
            continue
        order = np.argsort(columns)
        values = values[order] / np.abs(values).max()
        groups = alike.setdefault(columns[order].tobytes(), [])
        for members, first in groups:
            if np.abs(first - values).max() <= SAME:
                members.append(int(i))
                break
        else:
            groups.append(([int(i)], values))
    for groups in alike.values():
        for members, _ in groups:
            if len(members) > 1:
                sizes = [np.abs(parts[i][1]).max() for i in members]
                yield np.array(members), np.array(sizes)
