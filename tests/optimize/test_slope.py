"""Largest slopes: what they equal, bound and refuse."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from skrelu import ExponentialReLURegressor
from skrelu.optimize import largest_slope
from skrelu.regions import regions_in_box
from tests.regions.networks import random_network, run

SQUARE = [(-1.0, 1.0), (-1.0, 1.0)]


def steepest(gradients, norm):
    sizes = np.abs(gradients)
    return (sizes.sum(-1) if norm == np.inf else sizes.max(-1)).max()


@pytest.mark.parametrize("norm", [1, np.inf])
@pytest.mark.parametrize("seed", [0, 1, pytest.param(2, marks=pytest.mark.slow)])
def test_it_is_the_largest_over_all_regions(seed, norm):
    network = random_network(seed, [(2, 6, 1), (2, 5, 4, 1), (2, 4, 3, 3, 1)][seed])
    found = largest_slope(network, SQUARE, norm=norm)
    expected = steepest(regions_in_box(network, [-1, -1], [1, 1]).gradients[:, 0], norm)
    assert found.success
    assert found.fun == pytest.approx(expected, rel=1e-9)
    assert found.fun <= found.bound <= found.fun * (1 + 1e-6)
    step = 1e-7 * np.sign(found.gradient)
    ends = run(network, np.array([found.x - step, found.x + step]))[:, 0]
    assert ends[1] - ends[0] == pytest.approx(2e-7 * np.abs(found.gradient).sum(), rel=1e-5)


@pytest.mark.slow
def test_features_count_in_their_units():
    network = random_network(7, (2, 5, 4, 2), nn.LeakyReLU)
    scale = np.array([2.0, 0.1])
    found = largest_slope(network, SQUARE, output=1, scale=scale)
    gradients = regions_in_box(network, [-1, -1], [1, 1]).gradients[:, 1]
    assert found.fun == pytest.approx(steepest(gradients * scale, np.inf), rel=1e-9)
    fixed = largest_slope(network, [(-1, 1), (0.3, 0.3)], output=1)
    assert fixed.gradient[1] == 0
    assert fixed.fun <= steepest(gradients, np.inf)


@pytest.mark.slow
@pytest.mark.parametrize("refine", [True, False])
def test_a_fit_is_nowhere_steeper(refine):
    X = np.random.default_rng(0).uniform(-1, 1, size=(300, 2))
    model = ExponentialReLURegressor(
        depth=3, n_subnetworks=2, n_levels=1, n_init=1, refine=refine, random_state=0
    ).fit(X, X[:, 0] ** 2 + X[:, 0] * X[:, 1])
    found = largest_slope(model, SQUARE)
    assert found.success
    expected = steepest(regions_in_box(model, [-1, -1], [1, 1]).gradients[:, 0], np.inf)
    assert found.fun == pytest.approx(expected, rel=1e-6)
    assert model.predict_gradient(found.x[None])[0] == pytest.approx(found.gradient, rel=1e-6)


@pytest.mark.slow
@settings(max_examples=5, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([1, np.inf]))
def test_no_difference_exceeds_the_bound(seed, norm):
    network = random_network(seed, (3, 5, 3, 1))
    found = largest_slope(network, [(-1, 1)] * 3, norm=norm)
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, (1000, 3))
    Z = np.clip(X + rng.normal(size=X.shape) * 10.0 ** rng.uniform(-4, 0, (1000, 1)), -1, 1)
    changes = np.abs(run(network, X) - run(network, Z))[:, 0]
    distances = np.linalg.norm(X - Z, norm, 1)
    assert np.all(changes <= found.bound * distances * (1 + 1e-9) + 1e-12)


def test_time_limit_returns_bounds():
    network = random_network(0, (6, 40, 40, 1))
    found = largest_slope(network, [(-1, 1)] * 6, time_limit=0.5)
    assert found.status == 1
    assert 0 < found.fun < found.bound < np.inf


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"norm": 2}, "norm=2 has to be 1 or inf"),
        ({"norm": "inf"}, "norm='inf'"),
        ({"scale": [1.0]}, "scale has to be 2 numbers above 0"),
        ({"scale": [1.0, 0.0]}, "scale has to be 2 numbers above 0"),
        ({"bounds": [(0, 1), (0, np.nan)]}, "Feature 1 has bounds 0 and nan"),
    ],
)
def test_invalid_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        largest_slope(random_network(0, (2, 3, 1)), **{"bounds": SQUARE, **arguments})
