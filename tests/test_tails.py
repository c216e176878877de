"""Shorter tails of features, and bounded predictions."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skrelu import ExponentialReLURegressor
from skrelu._stored_network import _bending, _clipping, _shortening, _sorting
from skrelu._tails import LONGEST_TAIL, Tails


def run(layers, X):
    """Run affine layers with ReLU between them."""
    h = torch.as_tensor(X)
    for i, (matrix, bias) in enumerate(layers):
        h = h @ matrix.T + bias
        h = h.relu() if i < len(layers) - 1 else h
    return h.numpy()


def drawn(seed, n=300):
    rng = np.random.default_rng(seed)
    X = np.stack([rng.normal(size=n), rng.lognormal(sigma=2, size=n), rng.random(n) < 0.03], 1)
    return X.astype(float), rng.random(n)


def test_tails_are_shortened_and_the_rest_is_left_alone():
    X, weights = drawn(0)
    tails = Tails.of(X, weights / weights.sum())
    short = tails.apply(X)
    inside = (tails.low <= X) & (tails.high >= X)
    np.testing.assert_array_equal(short[inside], X[inside])
    longest = LONGEST_TAIL * (tails.high - tails.low)
    assert (short.max(0) - tails.high <= longest * (1 + 1e-12))[:2].all()
    assert (tails.low - short.min(0) <= longest * (1 + 1e-12))[:2].all()
    assert short[:, 1].max() < X[:, 1].max() / 1.5
    np.testing.assert_array_equal(short[:, 2], X[:, 2])  # an indicator
    order = np.argsort(X[:, 1])
    assert (np.diff(short[order, 1]) > 0).all()


@given(seed=st.integers(0, 10**6), limited=st.booleans())
@settings(deadline=None, max_examples=40)
def test_layers_do_what_the_maps_do(seed, limited):
    X, weights = drawn(seed)
    tails = Tails.of(X, weights / weights.sum())
    limits = np.array([X.min(0), X.max(0)]) if limited else None
    points = np.random.default_rng(seed).normal(size=(200, 3)) * X.std(0) * 3 + X.mean(0)
    clipped = np.clip(points, *limits) if limited else points
    expected = tails.apply(clipped)
    size = 1e-12 * (1 + np.abs(points).max())
    np.testing.assert_allclose(run(_shortening(tails, limits), points), expected, atol=size)
    eps = 1e-6 * X.std(0)
    slopes = (tails.apply(points + eps) - tails.apply(points - eps)) / (2 * eps)
    smooth = np.abs(slopes - tails.slopes(points)) < 1e-3
    assert smooth.mean() > 0.98  # not at the two bends


def test_clipping_may_be_open_below():
    low, high = np.array([-np.inf, -1.0, 0.0]), np.array([0.5, 2.0, 0.0])
    points = np.random.default_rng(0).normal(size=(100, 3)) * 3
    np.testing.assert_allclose(run(_clipping(low, high), points), np.clip(points, low, high))
    straight = _bending(np.array([1.0]), np.array([2.0]), [])
    np.testing.assert_allclose(run(straight, points[:, :1]), 1 + 2 * points[:, :1])


@pytest.mark.parametrize("n", [2, 3, 4, 5, 8])
def test_sorting_layers_sort(n):
    values = np.random.default_rng(0).normal(size=(500, n))
    np.testing.assert_allclose(run(_sorting(n), values), np.sort(values), atol=1e-12)
    backwards = np.arange(n, 0.0, -1)[None]
    np.testing.assert_allclose(run(_sorting(n), backwards), np.sort(backwards), atol=1e-12)


def table(noise):
    rng = np.random.default_rng(1)
    X = rng.lognormal(size=(300, 2))
    return X, np.log(X[:, 0]) + X[:, 1] / 5 + noise * rng.normal(size=300)


def test_noise_bounds_predictions_and_shortens_tails():
    X, y = table(noise=1.0)
    model = ExponentialReLURegressor(n_init="auto", random_state=0).fit(X, y)
    np.testing.assert_array_equal(model.X_limits_, [X.min(0), X.max(0)])
    np.testing.assert_array_equal(model.y_limits_, [[y.min()], [y.max()]])
    assert (model.X_tails_[2:] < 1).any()
    points = 20 * X
    predicted = model.predict(points)
    assert (predicted >= y.min()).all()
    assert (predicted <= y.max()).all()
    network = model.to_torch()
    outputs = network(torch.tensor(points))[:, 0].detach().numpy()
    np.testing.assert_allclose(outputs, predicted, rtol=1e-9, atol=1e-9)
    inner = 0.97 * X  # not where the maps bend
    jacobian = (
        torch.func.vmap(torch.func.jacrev(network))(torch.tensor(inner)).detach().numpy()[:, 0]
    )
    np.testing.assert_allclose(model.predict_gradient(inner), jacobian, atol=1e-9)
    linear = ExponentialReLURegressor(extrapolation="linear", random_state=0).fit(X, y)
    assert linear.X_limits_ is None
    assert np.ptp(linear.predict(points)) > np.ptp(y)
    limited = np.clip(linear.predict(X), y.min(), y.max())
    np.testing.assert_allclose(limited, model.predict(X), rtol=1e-9)


def test_without_noise_nothing_is_bounded():
    X, y = table(noise=0.0)
    model = ExponentialReLURegressor(random_state=0).fit(X, y)
    assert model.X_limits_ is None
    assert model.y_limits_ is None
    assert model.X_tails_ is None
    bounded = ExponentialReLURegressor(extrapolation="constant", random_state=0).fit(X, y)
    np.testing.assert_array_equal(
        bounded.predict(9 * X), bounded.predict(np.minimum(9 * X, X.max(0)))
    )


def test_a_warm_start_keeps_the_tails():
    X, y = table(noise=1.0)
    model = ExponentialReLURegressor(random_state=0, warm_start=True, refine=False).fit(X, y)
    tails = model.X_tails_
    score = model.score(X, y)
    model.set_params(n_levels=1).fit(X, y)
    np.testing.assert_array_equal(model.X_tails_, tails)
    assert model.score(X, y) > score - 0.05
