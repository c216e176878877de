"""Bounded predictions, and the layers that bound and sort."""

import numpy as np
import pytest
import torch

from skrelu import ExponentialReLURegressor
from skrelu._estimators.stored_network import _clipping, _sorting


def run(layers, X):
    """Run affine layers with ReLU between them."""
    h = torch.as_tensor(X)
    for i, (matrix, bias) in enumerate(layers):
        h = h @ matrix.T + bias
        h = h.relu() if i < len(layers) - 1 else h
    return h.numpy()


def test_clipping_may_be_open_below():
    low, high = np.array([-np.inf, -1.0, 0.0]), np.array([0.5, 2.0, 0.0])
    points = np.random.default_rng(0).normal(size=(100, 3)) * 3
    clipped = np.clip(points, low, high)
    np.testing.assert_allclose(run(_clipping(low, high), points), clipped, atol=1e-14)


@pytest.mark.parametrize("n", [2, 3, 4, 5, 8])
def test_sorting_layers_sort(n):
    values = np.random.default_rng(0).normal(size=(500, n))
    np.testing.assert_allclose(run(_sorting(n), values), np.sort(values), atol=1e-12)
    backwards = np.arange(n, 0.0, -1)[None]
    np.testing.assert_allclose(run(_sorting(n), backwards), np.sort(backwards), atol=1e-12)


def table(noise):
    rng = np.random.default_rng(1)
    X = rng.lognormal(size=(150, 2))
    return X, np.log(X[:, 0]) + X[:, 1] / 5 + noise * rng.normal(size=150)


def test_noise_bounds_predictions():
    X, y = table(noise=1.0)
    model = ExponentialReLURegressor(random_state=0).fit(X, y)
    np.testing.assert_array_equal(model.X_limits_, [X.min(0), X.max(0)])
    np.testing.assert_array_equal(model.y_limits_, [[y.min()], [y.max()]])
    points = 20 * X
    predicted = model.predict(points)
    assert (predicted >= y.min()).all()
    assert (predicted <= y.max()).all()
    network = model.to_torch()
    outputs = network(torch.tensor(points))[:, 0].detach().numpy()
    np.testing.assert_allclose(outputs, predicted, rtol=1e-9, atol=1e-9)
    inner = 0.97 * X  # not where the maps bend
    jacobian = torch.func.vmap(torch.func.jacrev(network))(torch.tensor(inner))
    expected = jacobian.detach().numpy()[:, 0]
    np.testing.assert_allclose(model.predict_gradient(inner), expected, atol=1e-9)
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
    bounded = ExponentialReLURegressor(extrapolation="constant", random_state=0).fit(X, y)
    inner = np.minimum(9 * X, X.max(0))
    np.testing.assert_array_equal(bounded.predict(9 * X), bounded.predict(inner))


@pytest.mark.parametrize("loss", ["poisson", "gamma"])
def test_exponentials_are_bounded_where_the_error_is_unknown(loss):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(12, 2)), 1.0 + rng.poisson(3, size=12)
    model = ExponentialReLURegressor(loss=loss, random_state=0).fit(X, y)
    predicted = model.predict(100 * X)
    assert (predicted >= y.min() * (1 - 1e-12)).all()
    assert (predicted <= y.max() * (1 + 1e-12)).all()
