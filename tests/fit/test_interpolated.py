"""Error bars of fits that pass through few rows, whose own residuals say nothing."""

import numpy as np
import pytest
from scipy.stats import qmc

from skrelu import ExponentialReLURegressor


def camel(X):
    x, y = 6 * X[:, 0] - 3, 4 * X[:, 1] - 2
    return (4 - 2.1 * x**2 + x**4 / 3) * x**2 + x * y + 4 * (y**2 - 1) * y**2


@pytest.mark.parametrize("n_rows", [12, 30])
@pytest.mark.parametrize("composed", [False, True])
def test_error_bars_of_fits_through_few_rows_have_the_size_of_their_errors(n_rows, composed):
    settings = {"n_levels": 2, "n_subnetworks": 4, "n_init": 2} if composed else {}
    X = qmc.Sobol(2, seed=1).random(32)[:n_rows]
    Z = np.random.default_rng(0).uniform(size=(500, 2))
    model = ExponentialReLURegressor(random_state=0, **settings).fit(X, camel(X))
    mean, deviation = model.predict(Z, return_std=True)
    ratio = np.sqrt(np.mean(np.square((mean - camel(Z)) / deviation)))
    assert 0.3 < ratio < (20 if composed else 5)
