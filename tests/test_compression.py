"""Small networks that predict what large ones predict."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from skrelu import (
    CompressedClassifier,
    CompressedRegressor,
    ExponentialReLUClassifier,
    ExponentialReLURegressor,
    compress,
)
from skrelu._fit import tuning
from tests.paths import MODELS, fitted, make_table

QUICK = {"n_subnetworks": 2, "n_init": 2, "max_iter": 50, "random_state": 0}
CHEAP = {**QUICK, "n_init": 1, "max_iter": 30, "refine": False}
FEW = {"n_parameters": 60, "n_subnetworks": 1, "depth": 2, "random_state": 0}


def numbers_of(model):
    """Return how many numbers of the exported graph are not 0, without clipping."""
    return sum(np.count_nonzero(matrix) for matrix in model._encoded["matrices"])


@pytest.fixture
def quick(monkeypatch):
    """Few points and iterations, where accuracy is not what is tested."""
    sizes = {"SMOOTH_POINTS": 500, "FEWEST_POINTS": 300, "START_ROWS": 300, "RELEASED_ROWS": 400}
    steps = {"START_ITER": 8, "RELEASE_ITER": 4, "PRUNED_ITER": 4, "LAST_ITER": 8, "STARTS": 1}
    for name, value in {**sizes, **steps}.items():
        monkeypatch.setattr(tuning, f"COMPRESSION_{name}", value)


@pytest.fixture(scope="module")
def noisy():
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(400, 4))
    y = 10 * X[:, 0] * X[:, 1] + 5 * np.abs(X[:, 2] - 0.5) + rng.normal(size=400)
    return X, y, ExponentialReLURegressor(random_state=0).fit(X, y)


@pytest.fixture(scope="module")
def smooth():
    X, y = make_table(300)
    return X, y, ExponentialReLURegressor(random_state=0).fit(X, y)


def test_noisy_tables_keep_their_accuracy(noisy):
    X, y, model = noisy
    small = compress(model, X, random_state=0)
    assert small.n_parameters_ == numbers_of(small) <= 1500
    assert model.n_parameters_ > 20 * small.n_parameters_
    new = np.random.default_rng(1).uniform(size=(1000, 4))
    gap = model.predict(new) - small.predict(new)
    assert gap.var() < 0.005 * model.predict(new).var()
    assert 0 < small.compression_loss_ < 0.01
    assert small.predict(5 * new).max() <= y.max()  # clipped like the model


@pytest.mark.slow
@pytest.mark.long
def test_smooth_functions_keep_most_digits(smooth):
    X, y, model = smooth
    small = compress(model, X, n_parameters=300, random_state=0)
    new = np.random.default_rng(1).uniform(size=(1000, 3))
    gap = model.predict(new) - small.predict(new)
    assert small.n_parameters_ <= 300
    assert gap.var() < 3e-5 * y.var()
    assert small.compression_loss_ == pytest.approx((gap / y.std()).var(), rel=3)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_every_kind_of_model_is_compressed(name, quick):
    model, X = fitted(name)
    before = pickle.dumps(model)
    shaped = {"n_parameters": 400, "n_subnetworks": 4}
    size = shaped if model.monotonic_cst or model.convexity else FEW
    small = compress(model, X, **{**FEW, **size})
    assert pickle.dumps(model) == before
    assert type(small) is type(model)
    assert small.get_params() == model.get_params()
    assert small.n_parameters_ <= size["n_parameters"]
    classifies = hasattr(model, "classes_")
    one, other = (m.decision_function(X) if classifies else m.predict(X) for m in (small, model))
    assert one.shape == other.shape
    assert one.dtype == other.dtype
    assert np.mean((one - other) ** 2) < 0.3 * np.var(other)
    # All that a fitted model can do.
    np.testing.assert_allclose(pickle.loads(pickle.dumps(small)).predict(X), small.predict(X))
    slopes = small.predict_gradient(X)
    assert slopes.shape == model.predict_gradient(X).shape
    parts = small.predict_contributions(X)
    assert parts.shape[-1] == 1 + small.n_subnetworks_
    of_model = model.feature_importances_.sum()  # 0 for a constant
    assert small.feature_importances_.sum() == pytest.approx(of_model)
    with torch.no_grad():
        outputs = small.to_torch()(torch.tensor(X)).numpy()
    np.testing.assert_allclose(outputs.reshape(one.shape), one, rtol=1e-6, atol=1e-6)


def test_slopes_are_those_of_the_small_network(noisy):
    X, _, model = noisy
    small = compress(model, X, n_parameters=200, random_state=0)
    points = X[:50] * 0.9 + 0.05
    step = 1e-6
    for column in range(4):
        ahead, behind = points.copy(), points.copy()
        ahead[:, column] += step
        behind[:, column] -= step
        found = (small.predict(ahead) - small.predict(behind)) / (2 * step)
        expected = small.predict_gradient(points)[:, column]
        assert np.mean(np.abs(found - expected) < 1e-4 * (1 + np.abs(expected))) > 0.9


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize(
    "shape",
    [{"monotonic_cst": [1, 0, 0]}, pytest.param({"convexity": "convex"}, marks=pytest.mark.long)],
)
def test_shapes_stay_guaranteed(shape):
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, size=(300, 3))
    y = (X[:, 0] + 1) ** 2 + X[:, 1] ** 2 + 0.1 * rng.normal(size=300)
    model = ExponentialReLURegressor(**shape, n_init=2, random_state=0).fit(X, y)
    small = compress(model, X, n_parameters=300, random_state=0)
    assert small.n_parameters_ <= 300
    new = rng.uniform(-3, 3, size=(2000, 3))
    if "convexity" in shape:
        other = rng.uniform(-3, 3, size=(2000, 3))
        middle = small.predict((new + other) / 2)
        assert (middle <= (small.predict(new) + small.predict(other)) / 2 + 1e-9).all()
    else:
        assert (small.predict_gradient(new)[:, 0] >= 0).all()
    assert small.score(X, y) > model.score(X, y) - 0.05


@pytest.mark.long
@pytest.mark.slow
def test_classes_keep_their_probabilities():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(600, 4))
    y = np.digitize(X[:, 0] + X[:, 1] ** 2 + 0.5 * rng.normal(size=600), [0, 1.5])
    model = ExponentialReLUClassifier(random_state=0).fit(X[:400], y[:400])
    small = compress(model, X[:400], random_state=0)
    one, other = (log_loss(y[400:], m.predict_proba(X[400:])) for m in (small, model))
    assert one < other + 0.02
    assert small.n_parameters_ <= 1500


@pytest.mark.long
@pytest.mark.slow
def test_categories_and_missing_values():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.uniform(size=(400, 2)), columns=["a", "b"])
    X["k"] = pd.Categorical(rng.choice(list("xyz"), 400))
    X.loc[::7, "a"] = np.nan
    y = X["b"] * (X["k"] == "x") + 0.1 * rng.normal(size=400)
    model = ExponentialReLURegressor(random_state=0).fit(X, y)
    small = compress(model, X, random_state=0)
    assert small.score(X, y) > model.score(X, y) - 0.03
    assert list(small.feature_names_in_) == ["a", "b", "k"]
    with pytest.raises(ValueError, match="categories or missing values: give X"):
        compress(model)


def test_without_rows_points_of_the_range_are_used(noisy):
    X, y, model = noisy
    small = compress(model, n_parameters=300, random_state=0)
    assert small.score(X, y) > model.score(X, y) - 0.05


@pytest.mark.long
@pytest.mark.slow
def test_the_smallest_network_that_is_close_enough(noisy):
    X, _, model = noisy
    sizes = []
    for max_loss in (0.001, 0.02, 0.2):
        small = compress(model, X, max_loss=max_loss, random_state=0)
        assert small.compression_loss_ <= max_loss
        sizes.append(small.n_parameters_)
    assert sizes[0] > sizes[1] > sizes[2]
    with pytest.warns(ConvergenceWarning, match="above max_loss=1e-06: raise"):
        compress(model, X, n_parameters=50, max_loss=1e-6, random_state=0)


def test_results_are_reproducible(noisy):
    X, _, model = noisy
    one, other = (compress(model, X, n_parameters=100, random_state=3) for _ in range(2))
    np.testing.assert_array_equal(one.predict(X), other.predict(X))


@pytest.mark.long
@pytest.mark.slow
def test_a_warm_start_begins_anew(smooth):
    X, y, _ = smooth
    model = ExponentialReLURegressor(**{**QUICK, "tol": 0.5}, warm_start=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        expected = clone(model).fit(X, y).predict(X)
        model.fit(X, y)
        small = compress(model, X, **FEW)
        np.testing.assert_array_equal(small.fit(X, y).predict(X), expected)
    assert not hasattr(small, "compression_loss_")


def test_few_or_equal_rows_are_enough_for_a_network(noisy):
    X, _, model = noisy
    for rows in (X[:1], X[:2], np.repeat(X[:1], 5, axis=0)):
        small = compress(model, rows, n_parameters=40, random_state=0)
        assert small.n_parameters_ <= 40
        assert np.isfinite(small.predict(X)).all()


def test_every_output_needs_parameters():
    X = np.random.default_rng(0).uniform(size=(60, 2))
    model = ExponentialReLURegressor(**QUICK, n_levels=1, tol=0.5).fit(X, X @ np.ones((2, 3)))
    with pytest.raises(ValueError, match="n_parameters=20, but it needs an integer of at least 30"):
        compress(model, X, n_parameters=20)


@pytest.mark.long
@pytest.mark.slow
def test_the_number_of_subnetworks_counts_with_a_shape():
    X = np.random.default_rng(0).uniform(size=(100, 2))
    y = (X**2).sum(1)
    model = ExponentialReLURegressor(convexity="convex", **QUICK, tol=0.5).fit(X, y)
    for n_subnetworks in (1, 3):
        small = compress(model, X, n_subnetworks=n_subnetworks, depth=2, random_state=0)
        assert small.n_subnetworks_ == n_subnetworks


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_parameters": 3}, "n_parameters=3, but it needs an integer of at least 10"),
        ({"n_parameters": "all"}, "n_parameters='all'"),
        ({"n_parameters": 20.5}, "n_parameters=20.5"),
        ({"max_loss": -1}, "max_loss=-1, but it needs a number of at least 0 or 'auto'"),
        ({"max_loss": "none"}, "max_loss='none'"),
        ({"depth": 0}, "depth=0, but it needs an integer of at least 1 and at most"),
        ({"n_subnetworks": True}, "n_subnetworks=True"),
        ({"X": [[1.0]]}, "X has 1 features"),
        ({"X": [[np.inf] * 4]}, "infinity"),
    ],
)
def test_bad_arguments_are_named(noisy, arguments, message):
    with pytest.raises(ValueError, match=message):
        compress(noisy[2], **arguments)


def test_other_models_are_refused(noisy):
    with pytest.raises(TypeError, match="of a pipeline the last step"):
        compress(make_pipeline(StandardScaler(), noisy[2]))
    with pytest.raises(NotFittedError):
        compress(ExponentialReLURegressor())


@parametrize_with_checks(
    [
        CompressedRegressor(ExponentialReLURegressor(**CHEAP), **FEW),
        CompressedClassifier(ExponentialReLUClassifier(**QUICK), **FEW),
    ]
)
@pytest.mark.slow
@pytest.mark.long
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_checks_of_scikit_learn(estimator, check, quick):
    check(estimator)


@pytest.mark.slow
@pytest.mark.long
def test_searches_over_sizes(noisy, quick):
    X, y, model = noisy
    grid = {"compressedregressor__n_parameters": [20, 200]}
    pipeline = make_pipeline(StandardScaler(), CompressedRegressor(model, random_state=0))
    search = GridSearchCV(pipeline, grid, cv=2).fit(X, y)
    small, large = search.cv_results_["mean_test_score"]
    assert small < large
    assert search.best_params_ == {"compressedregressor__n_parameters": 200}


def test_methods_of_the_small_network_are_named():
    for model in (CompressedRegressor(), CompressedClassifier()):
        with pytest.raises(AttributeError, match=r"use estimator_\.to_onnx"):
            model.to_onnx()
        with pytest.raises(AttributeError, match="object has no attribute 'nothing'"):
            _ = model.nothing
