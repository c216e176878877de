"""Predictions outside the data, and their bounds."""

import numpy as np
import pytest
import torch

from skrelu import ExponentialReLURegressor


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


@pytest.mark.long
@pytest.mark.slow
def test_without_noise_nothing_is_bounded():
    X, y = table(noise=0.0)
    model = ExponentialReLURegressor(random_state=0).fit(X, y)
    assert model.X_limits_ is None
    assert model.y_limits_ is None
    bounded = ExponentialReLURegressor(extrapolation="constant", random_state=0).fit(X, y)
    inner = np.minimum(9 * X, X.max(0))
    np.testing.assert_array_equal(bounded.predict(9 * X), bounded.predict(inner))


@pytest.mark.slow
def test_little_noise_bounds_nothing_as_functions_may_be_steep_at_the_edges():
    rng = np.random.default_rng(0)
    X = rng.uniform(0.05, 1, (500, 2))
    y = (1 + X[:, 1]) / np.sqrt(X[:, 0])
    noisy = y + 0.1 * y.std() * rng.normal(size=500)
    model = ExponentialReLURegressor(random_state=0).fit(X, noisy)
    assert model.y_limits_ is None
    steep = X[:, 0] < 0.08
    predicted = model.predict(X[steep])
    assert np.sqrt(np.mean((predicted - y[steep]) ** 2)) < 0.1 * y.std()


@pytest.mark.parametrize("loss", ["poisson", "gamma"])
def test_exponentials_are_bounded_where_the_error_is_unknown(loss):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(12, 2)), 1.0 + rng.poisson(3, size=12)
    model = ExponentialReLURegressor(loss=loss, random_state=0).fit(X, y)
    predicted = model.predict(100 * X)
    assert (predicted >= y.min() * (1 - 1e-12)).all()
    assert (predicted <= y.max() * (1 + 1e-12)).all()
