"""Regions in planes: brute force on grids, known counts, ties, decisions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neural_network import MLPClassifier
from torch import nn

from skrelu import ExponentialReLURegressor
from skrelu.regions import regions_along, regions_in_plane
from tests.regions.networks import preactivations, random_network, run, sequential


@pytest.mark.slow
@given(
    seed=st.integers(0, 10**6),
    n_features=st.integers(1, 4),
    widths=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    leaky=st.booleans(),
    coarse=st.booleans(),
)
@settings(deadline=None, max_examples=100)
def test_regions_are_those_of_a_grid_of_patterns(seed, n_features, widths, leaky, coarse):
    n_features += n_features == 1
    rng = np.random.default_rng(seed)
    network = random_network(seed, [n_features, *widths, 2], nn.LeakyReLU if leaky else nn.ReLU)
    if coarse:  # lines that coincide, meet in points, vanish at corners
        for parameter in network.parameters():
            parameter.data.round_()
    origin, axes = rng.normal(size=n_features), rng.normal(size=(2, n_features))
    if coarse:
        origin, axes = origin.round(), np.eye(2, n_features)
    regions = regions_in_plane(network, [-2, -1], [2, 3], origin=origin, axes=axes)
    assert regions.areas.sum() == pytest.approx(16, rel=1e-12)
    assert (regions.areas > 0).all()
    # Each polygon has the pattern of the network in its middle, none occurs twice, ...
    assert len(np.unique(regions.patterns, axis=0)) == regions.n_activation_regions
    z = preactivations(network, origin + regions.centroids @ axes)
    clear = (np.abs(z) > 1e-9) & (regions.areas > 1e-9)[:, None]
    np.testing.assert_array_equal((z > 0)[clear], regions.patterns[clear])
    # ... and none is missed: at points of a grid one polygon has the pattern and the outputs.
    grid = np.stack(np.meshgrid(*np.linspace([-2, -1], [2, 3], 61).T), -1).reshape(-1, 2)
    grid = (grid + rng.uniform(-0.03, 0.03, size=grid.shape)).clip([-2, -1], [2, 3])
    z = preactivations(network, origin + grid @ axes)
    expected = run(network, origin + grid @ axes)
    agree = np.ones((len(grid), regions.n_activation_regions), bool)
    for neuron, pattern in zip(z.T, regions.patterns.T, strict=True):
        agree &= ((neuron > 0)[:, None] == pattern) | (np.abs(neuron) <= 1e-9)[:, None]
    assert agree.any(1).all()
    outputs = np.einsum("rod,sd->sro", regions.gradients, grid) + regions.intercepts
    error = np.abs(outputs - expected[:, None]).max(-1)
    assert (np.where(agree, error, 0).max(1) < 1e-9 * (1 + np.abs(expected).max())).all()


def test_ties_dead_neurons_and_zeros_are_counted_once():
    rays = np.array([[1, 0], [0, 1], [1, 1], [1, -2], [2, -4], [-1, 0]])  # four lines, two twice
    network = sequential([(rays, np.zeros(6)), (np.eye(2, 6), np.zeros(2))])
    for lower, upper in (([-1, -1], [1, 1]), ([-3, -1 / 3], [0.1, 7])):
        regions = regions_in_plane(network, lower, upper)
        assert regions.n_activation_regions == 8  # through one point
        assert regions.n_linear_regions == 4  # the outputs use x and y
    # At a corner or along a side of the rectangle nothing is divided.
    assert regions_in_plane(network, [0, 0], [1, 0.5]).n_activation_regions == 2
    # Dead neurons, neurons that are zero everywhere or on a whole region.
    zeros = sequential(
        [
            ([[1, 0], [0, 0], [0, 0]], [0, -1, 0]),
            ([[1, 0, 0], [1, 1, 1], [1, 0, 0]], [0, 0, -1]),
            ([[1, 1, 0]], [0]),
        ]
    )
    regions = regions_in_plane(zeros, [-2, 0], [2, 1])
    order = np.argsort(regions.centroids[:, 0])
    np.testing.assert_allclose(regions.areas[order], [2, 1, 1])
    assert regions.n_linear_regions == 2
    # Lines a rounding error apart.
    thirds = np.array([[1 / 3, 0.1], [1 / 3 + 1e-16, 0.1], [0.1 + 0.2 + 1 / 30, 0.1]])
    close = sequential([(thirds, -thirds[:, 0]), ([[1, 1, 1]], [0])])
    assert regions_in_plane(close, [0, -1], [2, 1]).n_activation_regions == 2


@pytest.mark.slow
@given(st.integers(0, 10**6), st.integers(1, 5))
@settings(deadline=None, max_examples=40)
def test_networks_without_biases_have_all_regions_around_the_origin(seed, n_layers):
    network = random_network(seed, [2, *[6] * n_layers, 1])
    for module in network:
        if isinstance(module, nn.Linear):
            module.bias.data.zero_()
    regions = regions_in_plane(network, [-1, -1], [1, 1])
    round_trip = regions_along(network, [[-1, -1], [1, -1], [1, 1], [-1, 1], [-1, -1]])
    changes = (round_trip.patterns != np.roll(round_trip.patterns, 1, axis=0)).any(1).sum()
    assert regions.n_activation_regions == max(1, changes)
    assert regions.areas.sum() == pytest.approx(4, rel=1e-12)


@pytest.mark.parametrize("peak", [0.5, 0.02, 0.9, 1 / 3])
def test_a_triangle_network_along_a_direction_has_its_stripes(peak):
    row = [1 / peak, -1 / (peak * (1 - peak))]
    layers = [([[1, 0.3], [1, 0.3]], [0.0, -peak])]
    layers += 5 * [([row, row], [0.0, -peak])] + [([row], [0.0])]
    network = sequential(layers)
    regions = regions_in_plane(network, [0, 0], [1, 1], origin=[0, 0], axes=[[1, 0], [-0.3, 1]])
    assert regions.n_activation_regions == regions.n_linear_regions == 2**6
    along = regions_along(network, [[0, 0], [1, 0]])
    np.testing.assert_allclose(
        np.sort(regions.areas), np.sort(along.lengths), rtol=1e-9, atol=1e-15
    )


@pytest.mark.slow
def test_along_a_line_of_the_plane_regions_are_the_same():
    X = np.random.default_rng(0).uniform(-1, 1, size=(200, 3))
    model = ExponentialReLURegressor(depth=3, n_subnetworks=3, n_init=1, random_state=0)
    model.fit(X, X[:, 0] * X[:, 1] + X[:, 2])
    axes = np.array([[1.0, 0.5, 0], [0, 1, 1]])
    regions = regions_in_plane(model, [-1, -1], [1, 1], axes=axes)
    along = regions_along(model, [[-0.9, -0.4, 0.05], [0.8, 1.2, 0.8]] @ np.eye(3))
    positions = np.linalg.lstsq(axes.T, np.array([[-0.9, -0.4, 0.05], [0.8, 1.2, 0.8]]).T)[0].T
    np.testing.assert_allclose(positions @ axes, [[-0.9, -0.4, 0.05], [0.8, 1.2, 0.8]])
    assert {p.tobytes() for p in along.patterns} <= {p.tobytes() for p in regions.patterns}
    outputs = np.einsum("rod,rd->ro", regions.gradients, regions.centroids) + regions.intercepts
    np.testing.assert_allclose(outputs[:, 0], model.predict(regions.centroids @ axes), atol=1e-7)
    corners = regions.vertices
    np.testing.assert_allclose(regions.values[:, 0], model.predict(corners @ axes), atol=1e-7)


@pytest.mark.slow
@given(st.integers(0, 10**6), st.integers(1, 4))
@settings(deadline=None, max_examples=50)
def test_decisions_change_at_the_boundary_and_nowhere_else(seed, n_outputs):
    network = random_network(seed, [2, 8, 8, n_outputs])
    regions = regions_in_plane(network, [-2, -2], [2, 2])
    segments = regions.decision_boundary(level=0.1 if n_outputs == 1 else 0)
    rng = np.random.default_rng(seed)

    def decisions(X):
        outputs = run(network, X)
        return outputs[:, 0] > 0.1 if n_outputs == 1 else outputs.argmax(1)

    if len(segments):
        top = np.sort(run(network, segments.mean(1)), axis=1)
        gap = top[:, -1] - (0.1 if n_outputs == 1 else top[:, -2])
        np.testing.assert_allclose(gap, 0, atol=1e-9 * (1 + np.abs(top).max()))
    begin, end = rng.uniform(-2, 2, size=(2, 400, 2))
    changed = decisions(begin) != decisions(end)
    crossing = np.zeros(len(begin), bool)
    for a, b in segments:
        crossing |= _meet(begin, end, a, b)
    assert crossing[changed].all()


def _meet(begin, end, a, b):
    def cross(u, v):
        return u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]

    first = cross(end - begin, a - begin) * cross(end - begin, b - begin)
    second = cross(b - a, begin - a) * cross(b - a, end - a)
    return (first <= 0) & (second <= 0)


def test_several_classes_of_scikit_learn_are_parted():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 2))
    y = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0)
    model = MLPClassifier(hidden_layer_sizes=(16,), solver="lbfgs", random_state=0).fit(X, y)
    segments = regions_in_plane(model, [-3, -3], [3, 3]).decision_boundary()
    top = np.sort(model.predict_proba(segments.mean(1)), axis=1)
    np.testing.assert_allclose(top[:, -1], top[:, -2], atol=1e-6)
    assert len(segments) > 5


PLANE = {"origin": [0, 0, 0], "axes": [[1, 0, 0], [0, 1, 0]]}


@pytest.mark.parametrize(
    ("n_features", "lower", "upper", "options", "message"),
    [
        (2, [0], [1], {}, "two coordinates"),
        (2, [0, 0], [1, 0], {}, "lower below upper"),
        (2, [0, 0], [1, np.inf], {}, "finite"),
        (3, [0, 0], [1, 1], {}, "reads 3 features; give the plane"),
        (3, [0, 0], [1, 1], {"axes": [[1, 0], [0, 1]]}, r"have to be \(3,\) and \(2, 3\)"),
        (3, [0, 0], [1, 1], {"axes": [[1, 0, 0], [2, 0, 0]]}, "two different directions"),
        (3, [0, 0], [1, 1], {**PLANE, "origin": [np.nan, 0, 0]}, "have to be finite"),
        (3, [-9, -9], [9, 9], {**PLANE, "max_regions": 3}, "more than max_regions=3"),
        (3, [-9, -9], [9, 9], {**PLANE, "max_regions": None}, "has to be an integer, 1 or more"),
    ],
)
def test_what_does_not_fit_is_said(n_features, lower, upper, options, message):
    network = random_network(0, [n_features, 8, 8, 1])
    with pytest.raises(ValueError, match=message):
        regions_in_plane(network, lower, upper, **options)


def test_of_equal_outputs_the_first_decides():
    dead = [[1.0, 0], [0, 1], [1, 1]]
    network = sequential([(dead, [0, 0, 0]), (np.eye(3), [0, 0, 0])])  # all 0 where x, y < 0
    polygons, decisions = regions_in_plane(network, [-1, -1], [1, 1]).decision_regions()
    middles = np.array([polygon.mean(0) for polygon in polygons])
    np.testing.assert_array_equal(decisions, run(network, middles).argmax(1))
    assert set(decisions) == {0, 1, 2}


def test_levels_and_overflow_are_checked():
    regions = regions_in_plane(random_network(0, [2, 3, 2]), [-1, -1], [1, 1])
    with pytest.raises(ValueError, match="0 with several outputs: there are 2"):
        regions.decision_boundary(level=1)
    with pytest.raises(ValueError, match="level=nan has to be finite"):
        regions.decision_boundary(level=np.nan)
    huge = random_network(0, [2, 3, 3, 1])
    for parameter in huge.parameters():
        parameter.data *= 1e155
    with pytest.raises(ValueError, match="overflow"):
        regions_in_plane(huge, [-1, -1], [1, 1])
    with pytest.raises(ValueError, match="overflow"):
        regions_along(huge, [[-1, -1], [1, 1]])
    assert repr(regions).startswith("PlaneRegions(n_activation_regions=")
