"""Slopes of predictions and what they say about features."""

import numpy as np
import pandas as pd
import pytest
import torch

from skrelu import ExponentialReLURegressor
from skrelu.regions import regions_along

X = np.random.default_rng(0).uniform(-1, 1, size=(150, 3)) * [1, 10, 0.1]
SMALL = {"depth": 3, "n_subnetworks": 4, "n_init": 2, "random_state": 0}


@pytest.mark.parametrize("n_levels", [1, 2])
@pytest.mark.parametrize("two", [False, True])
def test_gradients_are_those_of_the_network(n_levels, two):
    y = X[:, 0] * X[:, 1] + 5
    y = np.stack([y, X[:, 2] ** 2], -1) if two else y
    model = ExponentialReLURegressor(n_levels=n_levels, **SMALL).fit(X, y)
    points = 0.9 * X  # not where linear regions meet
    gradient = model.predict_gradient(points)
    assert gradient.shape == ((150, 2, 3) if two else (150, 3))
    inputs, network = torch.tensor(points), model.to_torch()
    jacobian = torch.func.vmap(torch.func.jacrev(network))(inputs).detach().numpy()
    scale = np.abs(jacobian).max()
    np.testing.assert_allclose(gradient.reshape(jacobian.shape), jacobian, atol=1e-9 * scale)
    many = model.predict_gradient(np.tile(points, (60, 1)))  # in several chunks
    np.testing.assert_allclose(many[-150:], gradient, rtol=1e-12)
    assert model.predict_gradient(X.astype(np.float32)).dtype == np.float32


def test_gradients_are_the_slopes_of_linear_regions():
    model = ExponentialReLURegressor(n_levels=1, **SMALL).fit(X[:, :1], np.sin(3 * X[:, 0]))
    regions = regions_along(model, [[-1.0], [1.0]])
    middles = regions.positions[:-1] + regions.lengths / 2 - 1
    gradient = model.predict_gradient(middles[:, None])
    np.testing.assert_allclose(gradient, regions.slopes, rtol=1e-6, atol=1e-9)


def test_importances_tell_what_matters():
    frame = pd.DataFrame(X, columns=["a", "b", "c"]).assign(d=1.0)
    model = ExponentialReLURegressor(random_state=0).fit(frame, X[:, 0] + 0.03 * X[:, 1])
    np.testing.assert_allclose(model.feature_importances_, [1 / 1.3, 0.3 / 1.3, 0, 0], atol=0.02)
    assert model.feature_importances_.sum() == pytest.approx(1)
    assert (model.predict_gradient(frame)[:, 3] == 0).all()
    constant = ExponentialReLURegressor().fit(X, np.ones(150))
    assert (constant.feature_importances_ == 0).all()
