"""Tables of few rows get periodic waves along random directions where these predict better."""

import copy
import pickle
from unittest.mock import patch

import numpy as np
import pytest
import torch
from sklearn.base import clone

from skrelu import ExponentialReLURegressor, compress
from skrelu._fit import tuning


def smooth(n=40, seed=0):
    """Return rows of a smooth function, and new ones."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(size=(n + 500, 3))
    y = np.sin(3 * X[:, 0]) * np.exp(X[:, 1]) + X[:, 1] * X[:, 2]
    return X[:n], y[:n], X[n:], y[n:]


def is_periodic(model):
    return bool(model._earlier["model"].get("ripples"))


@pytest.fixture(scope="module")
def fitted():
    X, y, *_ = smooth()
    return ExponentialReLURegressor(random_state=0).fit(X, y)


@pytest.fixture(scope="module")
def small():
    X, y, *_ = smooth()
    with patch.object(tuning, "WAVES_A_ROW", 0.5):
        model = ExponentialReLURegressor(random_state=0).fit(X, y)
    assert is_periodic(model)
    return model


def test_smooth_functions_are_learned_from_few_rows(fitted):
    _, _, X, y = smooth()
    assert is_periodic(fitted)
    assert fitted.score(X, y) > 0.998
    deviations = (y - fitted.predict(X)) / fitted.predict(X, return_std=True)[1]
    assert 0.7 < np.mean(np.abs(deviations) < 1.645) <= 1


def test_bars_allow_for_parameters_that_have_seen_left_out_rows():
    X, y, new, _ = smooth()
    model = ExponentialReLURegressor(random_state=0)
    with patch.object(tuning, "WAVES_A_ROW", 0.5):
        mean, deviations = model.fit(X, y).predict(new, return_std=True)
        intervals = model.predict_interval(new)
        with patch.object(tuning, "CHOSEN_PARAMETERS", 2):
            model.fit(X, y)
    same, fewer = model.predict(new, return_std=True)
    np.testing.assert_array_equal(mean, same)
    wider = (40 - 3 - 2) / (40 - 3 - 8)  # 3 lengths, amplitude, noise, and six choices
    np.testing.assert_allclose(deviations, wider * fewer, rtol=1e-9)
    apart = (intervals - mean[:, None]) / (model.predict_interval(new) - mean[:, None])
    np.testing.assert_allclose(apart, wider, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.long
def test_models_are_relu_networks_with_all_methods(small):
    _, _, X, _ = smooth()
    X = X[:50]
    with torch.no_grad():
        for structure in ("dense", "blocks"):
            outputs = small.to_torch(structure=structure)(torch.tensor(X))[:, 0].numpy()
            np.testing.assert_allclose(outputs, small.predict(X), atol=1e-9)
    points = torch.tensor(X, requires_grad=True)
    (slopes,) = torch.autograd.grad(small.to_torch()(points).sum(), points)
    np.testing.assert_allclose(slopes.numpy(), small.predict_gradient(X), rtol=1e-6, atol=1e-6)
    assert np.isfinite(small.predict_contributions(X)).all()
    again = pickle.loads(pickle.dumps(small))
    for one, other in zip(
        small.predict(X, return_std=True), again.predict(X, return_std=True), strict=True
    ):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
@pytest.mark.long
def test_draws_have_the_error_bars(fitted):
    X = smooth()[2][:20]
    mean, covariance = fitted.predict(np.vstack([X, X[:1]]), return_cov=True)
    noise = covariance[0, 0] - covariance[0, -1]
    draws = fitted.sample_y(X, 40, random_state=0)
    deviations = (draws - mean[:20, None]) / (covariance.diagonal()[:20, None] - noise) ** 0.5
    assert np.square(deviations).mean() == pytest.approx(1, abs=0.3)


@pytest.mark.slow
@pytest.mark.long
def test_they_are_compressed(fitted):
    X, _, new, _ = smooth()
    small = compress(fitted, X, n_parameters=200, random_state=0)
    assert small.n_parameters_ < fitted.n_parameters_ / 10
    assert small.score(new, fitted.predict(new)) > 0.97


def test_units_do_not_matter(fitted):
    X, y, new, _ = smooth()
    other = clone(fitted).fit(1e3 * X - 5, 1e-4 * y + 7)
    expected = 1e-4 * fitted.predict(new) + 7
    np.testing.assert_allclose(other.predict(1e3 * new - 5), expected, atol=1e-9)


def test_weights_count_rows():
    X, y, new, _ = smooth(30)
    y = y + 0.3 * np.random.default_rng(0).normal(size=30)
    spoiled = y.copy()
    spoiled[:3] += 5
    model = ExponentialReLURegressor(random_state=0)
    weights = np.where(np.arange(30) < 3, 1e-6, 1.0)
    expected = clone(model).fit(X[3:], y[3:]).predict(new)
    found = clone(model).fit(X, spoiled, sample_weight=weights).predict(new)
    without = clone(model).fit(X, spoiled).predict(new)
    assert np.abs(found - expected).mean() < 0.3 * np.abs(without - expected).mean()


def test_other_fits_are_kept_if_they_predict_left_out_rows_better():
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(60, 4))
    y = np.where(X[:, 0] > 0.5, 1.0, 0.0) + 0.05 * rng.normal(size=60)
    assert not is_periodic(ExponentialReLURegressor(random_state=0).fit(X, y))


def test_linear_functions_stay_linear():
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(40, 2))
    model = ExponentialReLURegressor(random_state=0).fit(X, 2 * X[:, 0] - X[:, 1])
    np.testing.assert_allclose(model.predict(X), 2 * X[:, 0] - X[:, 1], atol=1e-9)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    "settings",
    [{"n_levels": 2}, {"loss": "huber"}, {"early_stopping": True}, {"n_init": 1}, {"depth": 3}],
)
def test_settings_that_ask_for_something_else_get_it(settings):
    X, y, *_ = smooth()
    model = ExponentialReLURegressor(random_state=0, max_iter=5, **settings)
    assert not is_periodic(model.fit(X, y))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_many_rows_and_several_targets_get_other_fits():
    X, y, *_ = smooth(tuning.FEW_ROWS + 1)
    for targets, rows in ((y, slice(None)), (np.c_[y, y], slice(40))):
        model = ExponentialReLURegressor(random_state=0, max_iter=3)
        assert not is_periodic(model.fit(X[rows], targets[rows]))


def test_a_later_fit_starts_anew(fitted):
    X, y, new, truth = smooth(60)
    model = copy.deepcopy(fitted).set_params(warm_start=True).fit(X, y)
    assert model.score(new, truth) > 0.999


def test_fits_are_the_same_again():
    X, y, new, _ = smooth()
    model = ExponentialReLURegressor(random_state=3)
    expected = clone(model).fit(X, y).predict(new)
    np.testing.assert_array_equal(clone(model).fit(X, y).predict(new), expected)
