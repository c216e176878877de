"""Hostile input: a sentence that says what to do, or a correct finite fit."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.exceptions import NotFittedError
from sklearn.metrics import r2_score

from skrelu import ExponentialReLURegressor

QUICK = {"depth": 3, "n_subnetworks": 2, "n_init": 2, "random_state": 0}


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(60, 3))
    return X, X[:, 0] ** 2 + X[:, 1] - X[:, 2]


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        ([[np.inf], [1.0]], [0.0, 1.0], "infinity"),
        ([[0.0], [1.0]], [np.nan, 1.0], "NaN"),
        ([[0.0], [1.0]], [np.inf, 1.0], "infinity"),
        ([[1j], [1.0]], [0.0, 1.0], "Complex data not supported"),
        ([[0.0], [1.0]], [1j, 1.0], "Complex data not supported"),
        ([["a"], ["b"]], [0.0, 1.0], "could not convert string"),
        ([[0.0], [1.0]], ["a", "b"], "could not convert string"),
        (np.empty((0, 2)), [], "0 sample"),
        (np.empty((3, 0)), [0.0, 1.0, 2.0], "0 feature"),
        ([0.0, 1.0], [0.0, 1.0], "Expected 2D array"),
        ([[0.0], [1.0]], [0.0], "inconsistent numbers of samples"),
        ([[0.0], [1.0]], None, "requires y"),
    ],
)
def test_unusable_tables_are_refused(X, y, message):
    with pytest.raises(ValueError, match=message):
        ExponentialReLURegressor(**QUICK).fit(X, y)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"depth": 0}, "'depth' parameter .* range \\[1, 52\\]"),
        ({"depth": 60}, "'depth' parameter .* range \\[1, 52\\]"),
        ({"depth": 2.5}, "'depth' parameter"),
        ({"n_subnetworks": 0}, "'n_subnetworks' parameter"),
        ({"n_subnetworks": "many"}, "'n_subnetworks' parameter"),
        ({"n_init": 0}, "'n_init' parameter"),
        ({"n_init": 10**6}, "'n_init' parameter .* range \\[1, 10000\\]"),
        ({"monotonic_cst": [[1], [0]]}, "one of -1, 0 and 1 for each feature"),
        ({"monotonic_cst": [[1], [0, 1]]}, "one of -1, 0 and 1 for each feature"),
        ({"monotonic_cst": np.array(1)}, "one of -1, 0 and 1 for each feature"),
        ({"monotonic_cst": [None, 1]}, "one of -1, 0 and 1 for each feature"),
        ({"monotonic_cst": ["1", "0"]}, "one of -1, 0 and 1 for each feature"),
        ({"monotonic_cst": {"a": np.ones(2)}}, "one of -1, 0 and 1 for each feature"),
        ({"alpha": -1}, "'alpha' parameter"),
        ({"alpha": np.nan}, "'alpha' parameter"),
        ({"solver": "lbfgs"}, "'solver' parameter .* a str among"),
        ({"refine": "yes"}, "'refine' parameter"),
        ({"validation_fraction": 1.0}, "'validation_fraction' parameter"),
        ({"device": "gpu"}, "device='gpu' is not a device; use 'cpu'"),
        ({"device": "cuda:99"}, "not available .* this machine, which has cpu"),
        ({"device": 3}, "'device' parameter"),
    ],
)
def test_unusable_parameters_are_refused(parameters, message, table):
    with pytest.raises(ValueError, match=message):
        ExponentialReLURegressor(**{**QUICK, **parameters}).fit(*table)


def test_unusable_weights_and_validation_data_are_refused(table):
    X, y = table
    model = ExponentialReLURegressor(**QUICK)
    with pytest.raises(ValueError, match="at least one non-zero"):
        model.fit(X, y, sample_weight=np.zeros(len(y)))
    with pytest.raises(ValueError, match=r"[Nn]egative"):
        model.fit(X, y, sample_weight=-np.ones(len(y)))
    with pytest.raises(ValueError, match="NaN"):
        model.fit(X, y, sample_weight=np.full(len(y), np.nan))
    with pytest.raises(ValueError, match=r"X_val has 2 features, but .* expecting 3"):
        model.fit(X, y, X_val=X[:, :2], y_val=y)
    with pytest.raises(ValueError, match="go together"):
        model.fit(X, y, X_val=X)
    with pytest.raises(ValueError, match="needs X_val and y_val"):
        model.fit(X, y, sample_weight_val=np.ones(len(y)))
    with pytest.raises(ValueError, match="same outputs"):
        model.fit(X, y, X_val=X, y_val=np.c_[y, y])
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        model.fit(X, y, X_val=X, y_val=y[:-1])
    with pytest.raises(ValueError, match="at least one non-zero"):
        model.fit(X, y, X_val=X, y_val=y, sample_weight_val=np.zeros(len(y)))
    with pytest.raises(NotFittedError):
        model.predict(X)
    with pytest.raises(NotFittedError):
        model.to_torch()


@pytest.mark.slow
def test_a_changed_network_cannot_be_warm_started(table):
    model = ExponentialReLURegressor(**QUICK, warm_start=True).fit(*table)
    with pytest.raises(ValueError, match=r"depth=3.*depth=4.*set warm_start=False"):
        model.set_params(depth=4).fit(*table)


@pytest.mark.parametrize("n_samples", [1, 2, 3, 5])
def test_few_rows_give_a_finite_fit(n_samples):
    X, y = np.random.default_rng(0).normal(size=(2, n_samples, 1))
    model = ExponentialReLURegressor(random_state=0).fit(X, y[:, 0])
    assert np.isfinite(model.predict(X * 10)).all()
    if n_samples == 1:
        np.testing.assert_array_equal(model.predict(X + 1), y[0])


def test_a_constant_target_is_predicted_exactly(table):
    X, _ = table
    for value in (0.0, -3.7e5, 1e-200):
        model = ExponentialReLURegressor(**QUICK).fit(X, np.full(len(X), value))
        np.testing.assert_array_equal(model.predict(X * 7), np.full(len(X), value))


@pytest.mark.slow
def test_constant_features_are_ignored_whatever_they_hold_later(table):
    X, y = table
    with_constant = np.c_[X, np.full(len(X), 5.0)]
    model = ExponentialReLURegressor(**QUICK).fit(with_constant, y)
    expected = model.predict(with_constant)
    with_constant[:, -1] = 1e300
    np.testing.assert_array_equal(model.predict(with_constant), expected)
    only_constant = ExponentialReLURegressor(**QUICK).fit(np.ones((9, 2)), np.arange(9.0))
    np.testing.assert_allclose(only_constant.predict([[0.0, 4.0]]), 4.0)


def test_duplicate_rows_are_one_heavier_row():
    X = np.repeat([[0.0], [1.0], [2.0]], 20, axis=0)
    y = np.tile([0.0, 1.0], 30) + X[:, 0]
    model = ExponentialReLURegressor(**QUICK).fit(X, y)
    np.testing.assert_allclose(model.predict([[0.0], [1.0], [2.0]]), [0.5, 1.5, 2.5], atol=1e-3)


@pytest.mark.long
@pytest.mark.slow
@settings(deadline=None, max_examples=5)
@given(
    scale=st.sampled_from([1e-300, 1e-150, 1e-30, 1.0, 1e30, 1e150, 1e300]),
    target_scale=st.sampled_from([1e-200, 1e-20, 1.0, 1e20, 1e200]),
)
def test_the_fit_does_not_depend_on_the_scales(scale, target_scale):
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, size=(80, 2))
    y = X[:, 0] ** 2 + X[:, 1]
    scaled = ExponentialReLURegressor(**QUICK).fit(X * [scale, 1], y * target_scale)
    assert r2_score(y, scaled.predict(X * [scale, 1]) / target_scale) > 0.99
    reach = np.array([[1e4 * min(scale, 1e290), -1e4]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isfinite(scaled.predict(reach)).all()
        assert np.isfinite(scaled.predict([[1e308, -1e308]]) / 1e200).all() or target_scale > 1
    with torch.no_grad():
        network = scaled.to_torch()(torch.tensor(X * [scale, 1])).numpy()[:, 0]
    np.testing.assert_allclose(
        network / target_scale, scaled.predict(X * [scale, 1]) / target_scale, atol=1e-10
    )


@pytest.mark.slow
@settings(deadline=None, max_examples=20)
@given(
    n_samples=st.integers(1, 40),
    n_features=st.integers(1, 6),
    n_outputs=st.integers(1, 3),
    depth=st.integers(1, 8),
    n_subnetworks=st.integers(1, 5),
    n_init=st.integers(1, 3),
    smooth=st.booleans(),
    early_stopping=st.sampled_from([True, False, "auto"]),
    solver=st.sampled_from(["lm", "adam"]),
    seed=st.integers(0, 1000),
)
def test_any_shape_gives_finite_predictions_of_that_shape(
    n_samples, n_features, n_outputs, seed, **parameters
):
    rng = np.random.default_rng(seed)
    X = rng.integers(-2, 3, size=(n_samples, n_features)).astype(float)
    y = rng.normal(size=(n_samples, n_outputs))
    model = ExponentialReLURegressor(max_iter=3, refine_max_iter=3, random_state=seed, **parameters)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        prediction = model.fit(X, y).predict(100 * X)
    assert prediction.shape == y.shape
    assert np.isfinite(prediction).all()


@pytest.mark.slow
@pytest.mark.parametrize("depth", [30, 52])
def test_great_depth_gives_a_finite_fit(depth, table):
    model = ExponentialReLURegressor(**{**QUICK, "depth": depth}).fit(*table)
    assert model.score(*table) > 0.99
    assert np.isfinite(model.predict(table[0] * 1e6)).all()
