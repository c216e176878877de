"""Regions along lines: brute force, known counts, ties."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from skrelu import ExponentialReLURegressor
from skrelu._networks.plain_layers import dense_layers
from skrelu._networks.triangle_network import TriangleNetwork
from skrelu.regions import PiecewiseLinear, as_piecewise_linear, regions_along
from tests.regions.networks import patterns_at, random_network, run, sequential

DOUBLE = torch.float64


@pytest.mark.slow
@given(
    seed=st.integers(0, 10**6),
    widths=st.lists(st.integers(1, 12), min_size=2, max_size=5),
    leaky=st.booleans(),
)
@settings(deadline=None, max_examples=150)
def test_regions_are_those_of_dense_sampling_with_bisection(seed, widths, leaky):
    network = random_network(seed, [*widths, 2], nn.LeakyReLU if leaky else nn.ReLU)
    corners = 3 * np.random.default_rng(seed).normal(size=(2, widths[0]))
    regions = regions_along(network, corners)
    shares = regions.positions / regions.positions[-1]

    def at(share):
        return corners[0] + np.reshape(share, (-1, 1)) * (corners[1] - corners[0])

    # Each region has the pattern that running the network finds in its middle, ...
    middles = (shares[1:] + shares[:-1]) / 2
    wide = np.diff(shares) > 1e-9
    np.testing.assert_array_equal(patterns_at(network, at(middles))[wide], regions.patterns[wide])
    assert (regions.patterns[1:] != regions.patterns[:-1]).any(1).all()
    # ... and none is missed: between samples in one region nothing changes.
    samples = np.linspace(0, 1, 2001)
    found = patterns_at(network, at(samples))
    inside = np.abs(samples[:, None] - shares).min(1) > 1e-9
    region = np.searchsorted(shares, samples) - 1
    np.testing.assert_array_equal(found[inside], regions.patterns[region[inside]])
    with torch.no_grad():
        expected = network(torch.tensor(at(samples))).numpy()
    scale = np.abs(expected).max()
    np.testing.assert_allclose(
        regions(samples * regions.positions[-1]), expected, atol=1e-9 * (1 + scale)
    )


@pytest.mark.slow
@pytest.mark.parametrize("depth", [1, 2, 5, 12])
def test_triangle_networks_have_two_to_the_depth(depth):
    waves = TriangleNetwork(1, 1, depth)
    generator = torch.Generator().manual_seed(depth)
    for _ in range(20):
        peaks = 0.021 + 0.958 * torch.rand(1, 1, depth + 1, generator=generator, dtype=DOUBLE)
        one, zero = torch.ones(1, 1, depth, dtype=DOUBLE), torch.zeros(1, 1, dtype=DOUBLE)
        theta = waves.pack(one[..., :1], zero, peaks, one)
        relu, lowered = waves.to_relu(theta, torch.tensor([[[0.0], [0.0], [1.0]]], dtype=DOUBLE))
        network = sequential(dense_layers(relu, relu.unpack(lowered[0])))
        regions = regions_along(network, [[0.0], [1.0]])
        assert regions.n_activation_regions == regions.n_linear_regions == 2**depth
        assert regions.lengths.sum() == pytest.approx(1)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("reach", [1, 1e3, 1e5])
def test_rounding_far_away_makes_no_regions(reach):
    X = np.linspace(0, 1, 300)[:, None]
    sizes = {"depth": 7, "n_subnetworks": 1, "n_init": 1, "max_iter": 2, "refine": False}
    for seed in range(8):
        model = ExponentialReLURegressor(**sizes, random_state=seed).fit(X, np.sin(3 * X[:, 0]))
        assert regions_along(model, [[-reach - 1], [reach + 2]]).n_linear_regions == 2**7


@pytest.mark.long
@pytest.mark.slow
@given(st.lists(st.floats(0.001, 0.999), min_size=12, max_size=12))
@settings(deadline=None, max_examples=100)
def test_no_region_of_a_composed_triangle_is_lost_however_narrow(peaks):
    layers = [([[1.0], [1.0]], [0.0, -peaks[0]])]
    for a, after in zip(peaks, [*peaks[1:], None], strict=True):
        row = [1 / a, -1 / (a * (1 - a))]
        layers.append(([row, row], [0.0, -after]) if after else ([row], [0.0]))
    network = sequential(layers)
    regions = regions_along(network, [[0.0], [1.0]])
    assert regions.n_activation_regions == regions.n_linear_regions == 2**12
    widths = np.ones(1)
    for a in peaks:  # a wave cuts the falling pieces of the one before from the other end
        pairs = np.stack([a * widths, (1 - a) * widths], -1)
        pairs[1::2] = pairs[1::2, ::-1]
        widths = pairs.ravel()
    np.testing.assert_allclose(regions.lengths, widths, rtol=1e-6)
    assert regions_along(network, [[-1.0], [2.0]]).n_linear_regions == 2**12 + 2


def test_ties_dead_neurons_and_zeros_are_counted_once():
    network = sequential(
        [
            ([[1.0], [1.0], [2.0], [0.0], [-1.0]], [0.0, 0.0, 0.0, -1.0, -5.0]),
            ([[1.0, -1.0, 0, 0, 0], [1.0, 1.0, 1.0, 1.0, 1.0]], [0.0, -4.0]),
            ([[1.0, 1.0]], [0.0]),
        ]
    )
    regions = regions_along(network, [[-3.0], [3.0]])
    np.testing.assert_allclose(regions.positions, [0, 3, 4, 6])  # x = 0 and x = 1
    assert regions.patterns.astype(int).tolist() == [
        [0, 0, 0, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0, 1],
    ]  # fmt: skip
    assert regions.n_linear_regions == 2  # the output is 0 up to x = 1
    np.testing.assert_allclose(regions.breakpoints, [4])
    np.testing.assert_allclose(regions.slopes.ravel(), [0, 0, 4])
    # A line that begins, ends or lies where neurons vanish has no region of length 0.
    assert regions_along(network, [[0.0], [1.0]]).n_activation_regions == 1
    flat = sequential([([[1.0, -1.0]], [0.0]), ([[1.0]], [0.0])])
    assert regions_along(flat, [[0.0, 0.0], [5.0, 5.0]]).n_activation_regions == 1
    # Twice the same neurons, and a rounding error apart: the same breakpoints.
    thirds = np.array([[1 / 3], [1 / 3 + 1e-16], [0.1 + 0.2]])
    regions = regions_along(sequential([(thirds, -thirds[:, 0]), ([[1.0, 1, 1]], [0])]), [[0], [2]])
    assert regions.n_activation_regions == 2


def test_a_polyline_ends_regions_at_its_corners():
    network = random_network(0, [2, 8, 8, 1])
    corners = np.array([[0.0, 0.0], [3.0, 1.0], [-1.0, 2.0]])
    whole = regions_along(network, corners)
    parts = [regions_along(network, corners[i : i + 2]) for i in range(2)]
    assert whole.n_activation_regions == sum(part.n_activation_regions for part in parts)
    lengths = np.concatenate([part.lengths for part in parts])
    np.testing.assert_allclose(whole.lengths, lengths)
    assert whole.positions[-1] == pytest.approx(10**0.5 + 17**0.5)


@pytest.mark.slow
@pytest.mark.parametrize("two_outputs", [False, True])
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_the_piecewise_linear_form_is_the_model_on_the_whole_line(two_outputs, offset):
    X = offset + np.linspace(0, 2, 300)[:, None]
    y = np.sin(4 * (X[:, 0] - offset))
    y = np.stack([y, np.abs(y)], -1) if two_outputs else y
    sizes = {"depth": 3, "n_levels": 2, "n_subnetworks": 4, "n_init": 1}
    model = ExponentialReLURegressor(**sizes, random_state=0).fit(X, y)
    function = model.linear_regions()
    x = np.concatenate([offset + np.linspace(-3, 5, 2001), [offset - 1e5, offset + 1e6]])
    expected = model.predict(x[:, None])
    np.testing.assert_allclose(function(x), expected, atol=1e-7, rtol=1e-9)
    np.testing.assert_allclose(function(function.points), function.values, rtol=1e-12)
    along = regions_along(model, X[[0, -1]])
    inside = (function.breakpoints > X[0]) & (function.breakpoints < X[-1])
    assert inside.sum() == pytest.approx(along.n_linear_regions - 1, abs=5)


@pytest.mark.slow
@given(seed=st.integers(0, 10**6), widths=st.lists(st.integers(1, 8), min_size=1, max_size=4))
@settings(deadline=None, max_examples=100)
def test_networks_of_one_input_are_piecewise_linear_functions(seed, widths):
    network = random_network(seed, [1, *widths, 1])
    function = as_piecewise_linear(network)
    x = np.concatenate([np.random.default_rng(seed).normal(size=200), [-1e6, 1e6]])
    expected = run(network, x[:, None])[:, 0]
    np.testing.assert_allclose(function(x), expected, rtol=1e-9, atol=1e-9)
    assert function.n_linear_regions <= np.prod(np.add(widths, 1))


def test_an_affine_model_is_one_piece():
    function = as_piecewise_linear(sequential([([[2.0]], [1.0])]))
    assert function.n_linear_regions == 1
    assert not len(function.breakpoints)
    np.testing.assert_allclose(function([-5.0, 7.0]), [-9, 15])
    constant = ExponentialReLURegressor().fit(np.ones((5, 1)), np.arange(5.0)).linear_regions()
    assert constant(3.0) == pytest.approx(2)
    column = ExponentialReLURegressor().fit(np.ones((5, 1)), np.arange(5.0)[:, None])
    assert column.linear_regions()([3.0]).shape == column.predict([[3.0]]).shape == (1, 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], [], 0, 0), "one or more"),
        (([1, 1], [0, 0], 0, 0), "has to increase"),
        (([0, 1], [0], 0, 0), r"values has shape \(1,\), but has to be \(2,\)"),
        (([0, 1], [[0], [1]], 0, 0), r"shape of one value, \(1,\)"),
        (([0, 1], [0, np.nan], 0, 0), "values has to be finite"),
    ],
)
def test_bad_pieces_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        PiecewiseLinear(*arguments)


def test_models_of_several_features_have_no_piecewise_linear_form():
    with pytest.raises(ValueError, match="reads 2 features, but has to read one"):
        as_piecewise_linear(random_network(0, [2, 3, 1]))
    model = ExponentialReLURegressor(n_init=1, n_levels=1).fit([[0, 1], [1, 0], [1, 1]], [0, 1, 2])
    with pytest.raises(ValueError, match="has 2 features"):
        model.linear_regions()


@pytest.mark.parametrize(
    ("model", "points", "error", "message"),
    [
        (42, [[0], [1]], TypeError, "Cannot read a int; give"),
        (random_network(0, [1, 2]), [[0, 1], [1, 2]], ValueError, r"has to be \(n_points, 1\)"),
        (random_network(0, [1, 2]), [[0]], ValueError, "two or more corners"),
        (random_network(0, [1, 2]), [[0], [0]], ValueError, "no corner may follow itself"),
        (random_network(0, [1, 2]), [[0], [np.inf]], ValueError, "has to be finite"),
    ],
)  # fmt: skip
def test_bad_lines_are_refused(model, points, error, message):
    with pytest.raises(error, match=message):
        regions_along(model, points)
