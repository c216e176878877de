"""Graphs of neurons are the networks they are made of, with less."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from skrelu import ExponentialReLURegressor
from skrelu._export.graph import ReLUGraph
from skrelu._export.partial_sums import with_partial_sums
from skrelu._export.sharing import with_nested_hinges, with_shared_values
from tests.paths import MODELS, fitted


def run(layers, X):
    """Return the outputs of dense layers."""
    h = X.T
    for matrix, bias in layers[:-1]:
        h = np.maximum(matrix @ h + bias[:, None], 0)
    matrix, bias = layers[-1]
    return (matrix @ h + bias[:, None]).T


def random_layers(rng, sizes, share=0.5):
    """Return layers with zeros, copies, multiples, and neurons that are always on or off."""
    layers = []
    for n_in, n_out in pairwise(sizes):
        matrix = rng.normal(size=(n_out, n_in)) * (rng.random((n_out, n_in)) < share)
        bias = rng.normal(size=n_out) * (rng.random(n_out) < share)
        for i in range(1, n_out, 3):
            factor = rng.choice([-2.0, -1.0, 0.5, 3.0])
            matrix[i], bias[i] = factor * matrix[i - 1], factor * bias[i - 1]
        if n_out > 3:
            matrix[3] = np.abs(matrix[3]) * rng.choice([-1, 1])
            bias[3] = -np.abs(bias[3])
        layers.append((matrix, bias))
    return layers


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 10**6),
    st.lists(st.integers(1, 9), min_size=2, max_size=6),
    st.floats(0.1, 1),
    st.booleans(),
)
def test_graphs_simplified_graphs_and_layers_are_the_same_function(seed, sizes, share, skips):
    rng = np.random.default_rng(seed)
    layers = random_layers(rng, sizes, share)
    X = rng.normal(size=(50, sizes[0])) * rng.choice([0.1, 1, 30])
    expected = run(layers, X)
    size = 1 + np.abs(expected).max()
    graph = ReLUGraph.of_layers(layers)
    low, high = X.min(0), X.max(0)
    for each in (graph, graph.simplified(skips=skips), graph.simplified(low, high, skips=skips)):
        assert each.n_neurons <= graph.n_neurons
        np.testing.assert_allclose(each(X), expected, rtol=1e-9, atol=1e-12 * size)
        for bounds in (None, low):
            written = run(each.to_layers(bounds), X)
            np.testing.assert_allclose(written, expected, rtol=1e-9, atol=1e-12 * size)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.lists(st.integers(1, 6), min_size=2, max_size=5))
def test_bounds_hold(seed, sizes):
    rng = np.random.default_rng(seed)
    graph = ReLUGraph.of_layers(random_layers(rng, sizes))
    low = rng.normal(size=sizes[0])
    high = low + rng.random(sizes[0])
    below, above = graph.bounds(low, high)
    X = low + rng.random((200, sizes[0])) * (high - low)
    signals = np.zeros((len(X), graph.n_inputs + graph.n_neurons))
    signals[:, : graph.n_inputs] = X
    for i in range(graph.n_neurons):
        value = graph.weights[[i]] @ signals.T + graph.biases[i]
        room = 1e-12 * (1 + np.abs(value).max())
        assert (below[i] - room <= value).all()
        assert (value <= above[i] + room).all()
        signals[:, graph.n_inputs + i] = np.maximum(value, 0)


def test_what_is_carried_is_read_where_it_was_made():
    # (x)+ and (-x)+ carried over three layers, and added up: x.
    carry = np.eye(2), np.zeros(2)
    layers = [(np.array([[1.0], [-1.0]]), np.zeros(2)), carry, carry]
    layers.append((np.array([[1.0, -1.0]]), np.array([0.5])))
    graph = ReLUGraph.of_layers(layers).simplified()
    assert (graph.n_neurons, graph.n_numbers, graph.depth) == (0, 2, 0)
    np.testing.assert_array_equal(graph(np.array([[3.0], [-4.0]])), [[3.5], [-3.5]])


def test_multiples_are_one_neuron():
    matrix = np.array([[1.0, 2.0], [3.0, 6.0], [1.0, 1.0]])
    layers = [(matrix, np.array([1.0, 3.0, 0.0])), (np.array([[1.0, 1.0, 1.0]]), np.zeros(1))]
    graph = ReLUGraph.of_layers(layers).simplified()
    assert graph.n_neurons == 2
    X = np.random.default_rng(0).normal(size=(20, 2))
    np.testing.assert_allclose(graph(X), run(layers, X), rtol=1e-14)


def test_neurons_that_are_always_off_or_on_in_a_box_go():
    layers = [
        (np.array([[1.0], [1.0], [1.0]]), np.array([5.0, -5.0, 0.0])),
        (np.array([[1.0, 1.0, 1.0]]), np.zeros(1)),
    ]
    graph = ReLUGraph.of_layers(layers)
    assert graph.simplified([-1.0], [1.0]).n_neurons == 1
    assert graph.simplified().n_neurons == 3


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] if name == "default" else []) for name in MODELS],
)
def test_graphs_of_fitted_models_predict_what_they_predict(name):
    model, X = fitted(name)
    graphs = model._stored().graphs()
    values = X
    for graph in graphs:
        values = graph(values)
    if model._log_link:
        values = np.exp(values)
    classifies = hasattr(model, "decision_function")
    expected = model.decision_function(X) if classifies else model.predict(X)
    expected = expected.reshape(len(X), -1)
    summands = 0 if classifies else np.abs(model.predict_contributions(X)).sum()  # they may cancel
    atol = 1e-12 * np.abs(expected).max() + 1e-15 * summands / len(X)
    np.testing.assert_allclose(values, expected, rtol=1e-12, atol=atol)
    assert sum(graph.n_numbers for graph in graphs) <= 3 * model.n_parameters_ + 100


def test_extremes_keep_their_digits():
    model, X = fitted("one level")
    y = model.predict(X)
    model = ExponentialReLURegressor(n_init=1, n_subnetworks=2, refine=False, random_state=0)
    for shift, size in ((1e9, 1.0), (0.0, 1e300), (0.0, 1e-300)):
        values = (X + shift) * size
        model.fit(values, y * size)
        graphs, found = model._stored().graphs(), values
        for graph in graphs:
            found = graph(found)
        expected = model.predict(values)
        np.testing.assert_allclose(
            found[:, 0], expected, rtol=1e-9, atol=1e-9 * np.abs(y).max() * size
        )


def test_a_graph_of_nothing_is_a_constant():
    graph = ReLUGraph(csr_array((0, 2)), np.zeros(0), csr_array((1, 2)), np.array([3.0]))
    np.testing.assert_array_equal(graph(np.zeros((4, 2))), np.full((4, 1), 3.0))
    assert len(graph.simplified().to_layers()) == 1


def test_values_that_many_read_have_a_neuron():
    # |t| = t+ + (-t)+ of t = x - 1/2, read by three neurons and the output in one proportion.
    layers = [
        (np.array([[1.0], [-1.0], [1.0]]), np.array([-0.5, 0.5, -1.5])),
        (np.outer([1.0, 2.0, -1.0], [1.0, 1.0, -2.0]), np.array([0.5, -1.0, 1.0])),
        (np.array([[1.0, -2.0, 3.0]]), np.zeros(1)),
    ]
    graph = ReLUGraph.of_layers(layers)
    shared = with_shared_values(graph)
    X = np.linspace(-4, 4, 200)[:, None]
    np.testing.assert_allclose(shared(X), run(layers, X), rtol=1e-12, atol=1e-12)
    # Beyond both hinges the sum falls without end, so max(0, sum + c) would not be the sum.
    assert shared.n_neurons == graph.n_neurons
    layers[0][0][2], layers[0][1][2] = 0, 0
    layers[1] = (np.outer([1.0, 2.0, -1.0], [1.0, 1.0, 0.0]), layers[1][1])
    graph = ReLUGraph.of_layers(layers).simplified()
    shared = with_shared_values(graph)
    np.testing.assert_allclose(shared(X), run(layers, X), rtol=1e-12, atol=1e-12)


@pytest.mark.slow
@pytest.mark.long
def test_values_of_composed_waves_are_shared():
    model, X = fitted("default")
    (graph,) = model._stored().graphs()
    plain = ReLUGraph.of_layers([(m.numpy(), b.numpy()) for m, b in model._stored()._chains()[0]])
    simple = plain.simplified()
    assert graph.n_numbers < simple.n_numbers
    far = np.concatenate([X, 50 * X, -50 * X])
    np.testing.assert_allclose(graph(far), simple(far), rtol=1e-11, atol=1e-11)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(2, 6), st.floats(0, 3))
def test_shared_values_are_the_same_function(seed, n_waves, n_readers, tail):
    rng = np.random.default_rng(seed)
    first = rng.normal(size=(n_waves, 2))
    hinges = [[1, -1, 1, -1], [0.0, 0, -1, -1]]
    matrix = np.concatenate([np.outer(hinges[0], row) for row in first])
    bias = np.tile(hinges[1], n_waves) + np.repeat(rng.normal(size=n_waves), 4) * np.tile(
        hinges[0], n_waves
    )
    parts = np.tile([1.0, 1.0, -1.0 - tail, -1.0 - tail], n_waves)
    mixing = np.repeat(rng.normal(size=(n_readers, n_waves)), 4, axis=1) * parts
    layers = [
        (matrix, bias),
        (mixing, rng.normal(size=n_readers)),
        (rng.normal(size=(2, n_readers)), rng.normal(size=2)),
    ]
    X = rng.normal(size=(100, 2)) * rng.choice([1, 100])
    expected = run(layers, X)
    size = 1 + np.abs(expected).max()
    graph = ReLUGraph.of_layers(layers).simplified()
    shared = with_shared_values(graph)
    assert shared.n_numbers <= graph.n_numbers
    for each in (shared, shared.simplified()):
        np.testing.assert_allclose(each(X), expected, rtol=1e-10, atol=1e-11 * size)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(5, 7), st.integers(2, 6), st.floats(0.5, 1))
def test_nested_hinges_are_the_same_function(seed, n_inputs, n_parallel, share):
    rng = np.random.default_rng(seed)
    sizes = rng.choice([-2.0, -1.0, 0.5, 1.0, 3.0], size=n_parallel)
    first = np.outer(sizes, rng.normal(size=n_inputs))
    middle = np.outer(sizes, rng.normal(size=n_parallel) * (rng.random(n_parallel) < share))
    layers = [
        (first, rng.normal(size=n_parallel)),
        (middle, rng.normal(size=n_parallel)),
        (rng.normal(size=(2, n_parallel)), rng.normal(size=2)),
    ]
    X = rng.normal(size=(100, n_inputs)) * rng.choice([1, 100])
    graph = ReLUGraph.of_layers(layers)
    nested = with_nested_hinges(graph)
    assert nested.n_neurons == graph.n_neurons
    of_sign = max((sizes > 0).sum(), (sizes < 0).sum())
    assert (nested.n_numbers < graph.n_numbers) == (of_sign > 1)
    expected = run(layers, X)
    size = 1 + np.abs(expected).max()
    for each in (nested, nested.simplified(), with_partial_sums(nested)):
        np.testing.assert_allclose(each(X), expected, rtol=1e-10, atol=1e-12 * size)
    np.testing.assert_allclose(run(nested.to_layers(), X), expected, rtol=1e-10, atol=1e-12 * size)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 10**6),
    st.lists(st.integers(1, 6), min_size=3, max_size=6),
    st.floats(0.3, 1),
)
def test_partial_sums_are_the_same_function_from_any_layer_on(seed, sizes, share):
    rng = np.random.default_rng(seed)
    n_inputs, n_hidden = sizes[0], sizes[1:]
    n_all = n_inputs + sum(n_hidden)
    weights, first = np.zeros((sum(n_hidden), n_all)), 0
    for n in n_hidden:
        known = n_inputs + first  # all earlier signals
        rows = rng.normal(size=(n, known)) * (rng.random((n, known)) < share)
        rows[1:] = np.outer(rng.normal(size=n - 1), rows[0])  # in one proportion
        weights[first : first + n, :known] = rows
        first += n
    output = rng.normal(size=(2, n_all)) * (rng.random((2, n_all)) < share)
    graph = ReLUGraph(
        csr_array(weights), rng.normal(size=len(weights)), csr_array(output), rng.normal(size=2)
    )
    X = rng.normal(size=(50, n_inputs)) * rng.choice([0.1, 1, 100])
    expected = graph(X)
    size = 1 + np.abs(expected).max()
    for after in [None, *range(graph.depth)]:
        summed = with_partial_sums(graph, after)
        for found in (summed(X), run(summed.to_layers(), X)):
            np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-11 * size)


@pytest.mark.long
@pytest.mark.slow
def test_sums_make_smaller_the_dense_layers_of_composed_networks():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, size=(400, 6))
    y = np.prod(X[:, :3], 1) + np.sin(3 * X[:, 3]) * X[:, 4] + X[:, 5] ** 2
    stored = ExponentialReLURegressor(n_levels=6, n_subnetworks=12, n_init=1, random_state=0)
    stored = stored.fit(X, y)._stored()
    graph = stored.graphs()[0]

    def size(graph):
        return sum(matrix.size for matrix, _ in graph.to_layers())

    summed = with_partial_sums(graph)
    assert size(summed) < 0.6 * size(graph)
    far = np.concatenate([X, 50 * X, -50 * X])
    np.testing.assert_allclose(run(summed.to_layers(), far), graph(far), rtol=1e-11, atol=1e-11)
    assert sum(m.size for m, _ in stored.layers()) <= size(summed)
