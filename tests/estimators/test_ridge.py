"""solver="ridge": periodic waves along random directions, as many as are asked for."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.model_selection import GridSearchCV

from skrelu import ExponentialReLUClassifier, ExponentialReLURegressor
from skrelu._fit import tuning


def rows(n=100, noise=0.0, seed=0):
    """Return rows of a smooth function, and new ones."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(size=(n + 300, 3))
    y = np.sin(3 * X[:, 0]) * np.exp(X[:, 1]) + X[:, 1] * X[:, 2]
    y[:n] += noise * rng.normal(size=n)
    return X[:n], y[:n], X[n:], y[n:]


def ridge(**parameters):
    return ExponentialReLURegressor(**{"solver": "ridge", "random_state": 0} | parameters)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_errors_and_error_bars_are_about_those_of_a_gaussian_process(noise):
    X, y, new, truth = rows(noise=noise)
    model = ridge().fit(X, y)
    assert model.n_subnetworks_ == tuning.WAVES_OF_RIDGE
    kernel = ConstantKernel() * RBF([1.0] * 3) + WhiteKernel(1e-2, (1e-8, 1))
    process = GaussianProcessRegressor(kernel, normalize_y=True).fit(X, y)
    errors = [np.sqrt(np.mean((m.predict(new) - truth) ** 2)) for m in (model, process)]
    assert errors[0] < 1.5 * errors[1]
    if noise:
        sizes = [m.predict(new, return_std=True)[1].mean() for m in (model, process)]
        assert sizes[0] == pytest.approx(sizes[1], rel=0.2)


def test_the_number_of_waves_is_that_of_the_parameter():
    X, y, new, truth = rows()
    search = GridSearchCV(ridge(), {"n_subnetworks": [3, 100]}, cv=2).fit(X, y)
    assert search.best_estimator_.n_subnetworks_ == 100
    assert search.score(new, truth) > 0.999
    assert search.best_estimator_.solver_ == "ridge"
    assert search.best_estimator_.n_iter_ == 1


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"depth": 3}, "depth=3"),
        ({"n_levels": 2}, "n_levels=2"),
        ({"n_init": 5}, "n_init=5"),
        ({"smooth": False}, "smooth=False"),
        ({"early_stopping": True}, "early_stopping=True"),
        ({"loss": "huber"}, "the loss Huber"),
        ({"convexity": "convex"}, "a guaranteed shape"),
        ({"monotonic_cst": [1, 0, 0]}, "a guaranteed shape"),
    ],
)
def test_parameters_that_ask_for_something_else_are_named(parameters, named):
    X, y, *_ = rows(30)
    with pytest.raises(ValueError, match=rf"does not go with {named}: leave it at the default"):
        ridge(**parameters).fit(X, y)


def test_data_that_do_not_go_with_it_are_named(monkeypatch):
    X, y, new, truth = rows(30)
    with pytest.raises(ValueError, match="y with 2 columns: fit one model for each"):
        ridge().fit(X, np.c_[y, y])
    with pytest.raises(ValueError, match="go with X_val: leave it"):
        ridge().fit(X, y, X_val=new, y_val=truth)
    monkeypatch.setattr(tuning, "MOST_ROWS_OF_RIDGE", 20)
    with pytest.raises(ValueError, match="30 rows: at most 20 rows go with it; set solver='auto'"):
        ridge().fit(X, y)
    with pytest.raises(ValueError, match="'solver' parameter of ExponentialReLUClassifier"):
        ExponentialReLUClassifier(solver="ridge").fit(X, y > y.mean())


@pytest.mark.parametrize("n", [1, 2, 5])
def test_a_few_rows_are_enough(n):
    X, y, new, _ = rows(n)
    model = ridge(n_subnetworks=50).fit(X, y)
    assert np.isfinite(model.predict(new, return_std=True)).all()
    assert np.abs(model.predict(X) - y).max() <= np.ptp(y) + 1e-9


def test_more_features_than_rows_and_features_of_one_value():
    rng = np.random.default_rng(0)
    X = np.c_[rng.normal(size=(30, 40)), np.ones(30)]
    y = np.sin(X[:, 0])
    model = ridge(n_subnetworks=64).fit(X, y)
    assert model.score(X, y) > 0.5
    np.testing.assert_allclose(ridge().fit(X, np.full(30, 7.0)).predict(X), 7.0)


def test_weights_are_numbers_of_rows():
    X, y, new, _ = rows(40, noise=0.2)
    weights = np.where(np.arange(40) < 10, 3.0, np.where(np.arange(40) < 15, 0.0, 1.0))
    repeated = np.repeat(np.arange(40), weights.astype(int))
    model = ridge(n_subnetworks=128)
    expected = clone(model).fit(X[repeated], y[repeated]).predict(new)
    found = clone(model).fit(X, y, sample_weight=weights).predict(new)
    assert np.abs(found - expected).max() < 0.02 * np.ptp(y)
    tiny = np.where(np.arange(40) == 0, 1e-300, 1.0)
    assert np.isfinite(clone(model).fit(X, y, sample_weight=tiny).predict(new)).all()


def test_many_rows_choose_lengths_by_some_and_fit_all(monkeypatch):
    X, y, new, truth = rows(400, noise=0.3)
    monkeypatch.setattr(tuning, "LENGTH_ROWS", 60)
    errors = [
        np.sqrt(np.mean((ridge(n_subnetworks=128).fit(X[:n], y[:n]).predict(new) - truth) ** 2))
        for n in (60, 400)
    ]
    assert errors[1] < 0.85 * errors[0]


def test_models_are_relu_networks_and_draws_too():
    X, y, new, _ = rows(50)
    model = ridge(n_subnetworks=64, extrapolation="linear").fit(X, y)
    with torch.no_grad():
        outputs = model.to_torch(structure="blocks")(torch.tensor(new))[:, 0].numpy()
    np.testing.assert_allclose(outputs, model.predict(new), atol=1e-9)
    draw = model.sample_network(0)
    assert 0 < np.abs(draw.predict(new) - model.predict(new)).max() < 1
    np.testing.assert_allclose(draw.predict(X), y, atol=0.01)


@pytest.mark.slow
@pytest.mark.long
def test_rows_without_noise_are_met_though_others_are_not_predicted():
    rng = np.random.default_rng(0)
    X = np.r_[rng.uniform(size=(20, 2)), 0.5 + 1e-3 * rng.normal(size=(20, 2))]
    y = np.sin(12 * X[:, 0]) * np.cos(9 * X[:, 1])
    model = ridge(extrapolation="linear").fit(X, y)
    assert np.abs(model.predict(X) - y).max() < 1e-4


def test_bars_count_the_lengths_that_rows_have_chosen():
    held = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        X = rng.normal(size=(1030, 8))
        y = np.sin(X @ rng.normal(size=8) / 2) + X[:, 0] * X[:, 1] / 3
        model = ridge(n_subnetworks=128).fit(X[:30], y[:30])
        mean, deviation = model.predict(X[30:], return_std=True)
        held.append(np.mean(np.abs(mean - y[30:]) < 1.645 * deviation))
    assert 0.8 < np.mean(held) < 0.97


@pytest.mark.slow
@pytest.mark.long
def test_nothing_is_left_of_an_earlier_fit():
    X, y, new, _ = rows(40)
    other = ExponentialReLURegressor(n_levels=2, max_iter=30, n_init=1, random_state=0)
    with pytest.warns(match="not converged"):
        other.fit(X, y)
    other.set_params(solver="ridge", n_levels="auto", warm_start=True).fit(X, y)
    np.testing.assert_array_equal(other.predict(new), ridge(max_iter=30).fit(X, y).predict(new))
