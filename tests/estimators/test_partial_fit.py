"""partial_fit learns from a stream: calls go on, and depend on nothing but their rows."""

import copy
import doctest
import pickle
from dataclasses import replace
from inspect import signature

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import learning_curve
from sklearn.utils.estimator_checks import parametrize_with_checks

from skrelu import ExponentialReLUClassifier, ExponentialReLURegressor, compress
from skrelu._fit.job import Job
from skrelu._solvers.adam import State, adam, adam_pass
from skrelu._solvers.losses import SQUARED_ERROR
from skrelu._solvers.progress import Options
from skrelu._solvers.rows import Rows
from tests.paths import make_table

FEW = {"n_init": 1, "max_iter": 2, "refine": False}
ADAM = {"solver": "adam", "learning_rate": 0.01, "random_state": 0}
X, y = make_table(120)
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
LABELS = np.array(["a", "b", "c"])[np.digitize(y, [0.6, 1.1])]


CHECKS = [  # those that call partial_fit
    "check_estimators_partial_fit_n_features",
    "check_n_features_in_after_fitting",
    "check_dataframe_column_names_consistency",
    "check_fit_score_takes_y",
    "check_estimators_overwrite_params",
]


def regressor(**parameters):
    return ExponentialReLURegressor(**{**ADAM, "n_subnetworks": 4, **parameters})


def classifier(**parameters):
    return ExponentialReLUClassifier(**{**ADAM, "n_subnetworks": 4, **parameters})


def rows(k, n=40):
    rng = np.random.default_rng(k)
    X = rng.uniform(size=(n, 3))
    return X, np.sin(3 * X[:, 0]) + X[:, 1] * X[:, 2]


@parametrize_with_checks([regressor(max_iter=5), classifier(max_iter=5)])
def test_checks_of_scikit_learn(estimator, check):
    name = getattr(check, "func", check).__name__
    if name in CHECKS:
        check(estimator)


@pytest.mark.parametrize("solver", ["auto", "lm"])
@pytest.mark.parametrize("estimator", [ExponentialReLURegressor, ExponentialReLUClassifier])
def test_it_exists_only_where_it_works(estimator, solver):
    assert not hasattr(estimator(solver=solver), "partial_fit")
    assert hasattr(estimator(solver="adam"), "partial_fit")
    message = rf"no attribute 'partial_fit', because solver='{solver}' .* set solver='adam'"
    with pytest.raises(AttributeError, match=message):
        estimator(solver=solver).partial_fit(X, y)
    with pytest.raises(AttributeError, match=message):
        estimator.partial_fit(estimator(solver=solver), X, y)
    by_class, by_model = estimator.partial_fit, estimator(solver="adam").partial_fit
    assert [*signature(by_class).parameters][1:] == [*signature(by_model).parameters]
    assert by_class.__doc__ == by_model.__doc__
    assert by_class.__name__ == "partial_fit"


@pytest.mark.parametrize("estimator", [ExponentialReLURegressor, ExponentialReLUClassifier])
def test_examples_are_right(estimator):
    text = estimator.partial_fit.__doc__
    example = doctest.DocTestParser().get_doctest(text, {}, "partial_fit", None, 0)
    assert len(example.examples) > 4
    assert doctest.DocTestRunner().run(example).failed == 0


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"n_levels": 2, "n_init": 2},
        {"loss": "huber"},
        {"loss": "quantile", "quantile": [0.1, 0.9]},
        {"loss": "poisson"},
        {"monotonic_cst": [1, 0, 0], "convexity": {1: "convex"}},
        {"smooth": False},
    ],
)
def test_errors_on_a_stream_fall(parameters):
    model = regressor(**parameters)
    for k in range(40):
        model.partial_fit(*rows(k))
    assert model.n_iter_ == 40 == len(model.loss_curve_)
    # The rows of a call are new to the model.
    last = np.mean(model.loss_curve_[-5:])
    assert last < 0.7 * np.mean(model.loss_curve_[1:6])
    assert np.isfinite(model.predict(X)).all()


@pytest.mark.slow
def test_classes_are_learned_of_which_a_call_has_only_some():
    model = classifier()
    order = np.argsort(LABELS, kind="stable")
    first = order[:60]  # hardly any rows of the last class
    assert set(LABELS[first]) < set("abc")
    model.partial_fit(X[first], LABELS[first], classes=list("abc"))
    rng = np.random.default_rng(0)
    for _ in range(90):
        some = rng.permutation(120)[:60]
        model.partial_fit(X[some], LABELS[some])
    assert model.classes_.tolist() == ["a", "b", "c"]
    assert model.score(X, LABELS) > 0.85
    one = classifier().partial_fit(X, y > 1, classes=[False, True])
    assert one.predict_proba(X).shape == (120, 2)


def test_a_pass_is_an_iteration_of_adam():
    """Two passes are two iterations of one fit by Adam, bit for bit."""
    generator = torch.Generator().manual_seed(0)
    data = torch.rand(2, 50, generator=generator, dtype=torch.float64)
    weights = torch.full((2, 50), 1 / 50, dtype=torch.float64)
    target = data.prod(0, keepdim=True)
    table = Rows(data, target, weights, None, 50, SQUARED_ERROR)

    class Linear:
        def forward(self, theta, X):
            return (theta[:, :2] @ X + theta[:, 2:])[:, None]

    theta = torch.rand(2, 3, generator=generator, dtype=torch.float64)

    def options():
        fresh = torch.Generator().manual_seed(1)
        return Options("adam", 2, 0.0, 99, 0.1, 20, fresh)

    penalty = torch.ones_like(theta)
    whole = adam(Linear(), theta, table, 0.1, penalty, options())
    none = torch.zeros_like(theta)
    state, how = State(theta, none, none, 0), options()
    for _ in range(2):
        state = adam_pass(Linear(), state, table, 0.1, penalty, how, None, 0)
    assert whole.loss_curve[2] < whole.loss_curve[1]  # so that the last point is the best
    torch.testing.assert_close(state.theta, whole.theta, rtol=0, atol=0)
    assert state.n_steps == 6
    # The first of nine steps moves by a ninth of the rate, the next by two ninths.
    state = State(theta, none, none, 0)
    for k in (1, 2):
        before, how = state.theta, replace(options(), batch_size=50)
        state = adam_pass(Linear(), state, table, 0.1, penalty, how, None, 8)
        moved = (state.theta - before).abs()
        torch.testing.assert_close(moved, torch.full_like(moved, 0.1 * k / 9), rtol=0.05, atol=0)


def by_skops(model):
    skops_io = pytest.importorskip("skops.io")
    return skops_io.loads(skops_io.dumps(model), trusted=[f"skrelu.{type(model).__name__}"])


def by_pickle(model):
    return pickle.loads(pickle.dumps(model))


@pytest.mark.parametrize("kept", [copy.deepcopy, by_pickle, by_skops])
@pytest.mark.parametrize("make", [regressor, classifier])
def test_a_copy_goes_on_as_the_model_does(make, kept):
    def learn(model, k):
        features, target = rows(k)
        if make is regressor:
            return model.partial_fit(features, target)
        return model.partial_fit(features, target > 1, classes=[False, True])

    model = learn(learn(make(), 0), 1)
    other = kept(model)
    before = model.predict(X)
    np.testing.assert_array_equal(learn(other, 2).predict(X), learn(model, 2).predict(X))
    assert (model.predict(X) != before).any() or make is classifier
    fresh = clone(model)
    assert not hasattr(fresh, "_stream")
    np.testing.assert_array_equal(
        learn(learn(learn(fresh, 0), 1), 2).predict_gradient(X), model.predict_gradient(X)
    )


def test_moments_matter_and_the_ridge_is_that_of_all_rows():
    model = regressor().partial_fit(*rows(0)).partial_fit(*rows(1))
    other = copy.deepcopy(model)
    assert model._stream["n_steps"] == 2
    assert model._stream["n_rows"] == pytest.approx(80)
    other._stream = {**other._stream, "mean": 0 * other._stream["mean"], "n_steps": 0}
    features, target = rows(2)
    assert (
        model.partial_fit(features, target).predict(X)
        != other.partial_fit(features, target).predict(X)
    ).all()


def test_scales_and_columns_are_those_of_the_first_call():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"size": rng.uniform(1, 2, 80), "kind": rng.choice(["p", "q", "r"], 80)})
    frame["kind"] = frame["kind"].astype("category")
    target = frame["size"] * (frame["kind"] == "p")
    model = regressor().partial_fit(frame, target)
    mean, levels = model.X_mean_.copy(), model.categories_
    later = frame.assign(size=100 * frame["size"])
    later["kind"] = pd.Categorical(["new"] * 40 + ["p"] * 40)
    model.partial_fit(later, target)
    np.testing.assert_array_equal(model.X_mean_, mean)
    assert model.categories_ == levels
    assert model.predict(later).shape == (80,)
    with pytest.raises(ValueError, match="feature"):
        model.partial_fit(frame.rename(columns={"size": "length"}), target)


def test_columns_that_are_constant_at_first_may_vary_later():
    model = regressor(n_subnetworks=2)
    features, target = rows(0)
    model.partial_fit(features * [1, 0, 1], 0 * target + 5)
    for k in range(1, 60):
        features, target = rows(k)
        model.partial_fit(features, 5 + features[:, 1])
    assert model.predict([[0.5, 0.9, 0.5]]) > model.predict([[0.5, 0.1, 0.5]]) + 0.2


def test_predictions_are_clipped_to_all_targets_so_far():
    model = regressor(extrapolation="constant")
    features, target = rows(0)
    model.partial_fit(features, target).partial_fit(features + 1, target - 5)
    model.partial_fit(features, target)
    low, high = model.X_limits_
    np.testing.assert_array_equal(low, features.min(0))
    np.testing.assert_array_equal(high, features.max(0) + 1)
    np.testing.assert_allclose(model.y_limits_[:, 0], [target.min() - 5, target.max()])


def test_weights_count_relative_to_those_of_the_first_call():
    def learned(*factors, weights=None):
        model = regressor()
        for k, factor in enumerate(factors):
            features, target = rows(k)
            w = np.ones(len(target)) if weights is None else weights
            model.partial_fit(features, target, sample_weight=factor * w)
        return model.predict(X)

    np.testing.assert_allclose(learned(1, 1, 1), learned(8, 8, 8), rtol=1e-9)
    assert (learned(1, 1, 1) != learned(1, 1, 8)).all()
    # A weight of zero is no row.
    weights = np.r_[np.ones(30), np.zeros(10)]
    model = regressor()
    for k in range(2):
        features, target = rows(k)
        model.partial_fit(features[:30], target[:30])
    np.testing.assert_array_equal(learned(1, 1, weights=weights), model.predict(X))


def test_the_order_of_rows_within_a_call_does_not_matter():
    features, target = rows(0)
    one = regressor().partial_fit(features, target).partial_fit(features, target)
    two = regressor().partial_fit(features[::-1], target[::-1]).partial_fit(features, target)
    np.testing.assert_array_equal(one.predict(X), two.predict(X))


def test_a_failed_call_changes_nothing(monkeypatch):
    model = regressor().partial_fit(X, y)
    before = pickle.dumps(vars(model))
    for bad, match in ((X[:, :2], "features"), (X + np.inf, "infinity")):
        with pytest.raises(ValueError, match=match):
            model.partial_fit(bad, y[: len(bad)])
        assert pickle.dumps(vars(model)) == before
    monkeypatch.setattr(Job, "fitted", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        model.partial_fit(X, y)
    assert pickle.dumps(vars(model)) == before
    monkeypatch.undo()
    for rate in (1e200, 1e308):
        model.set_params(learning_rate=rate)
        with pytest.raises(ValueError, match=r"The loss became infinite or NaN in partial_fit"):
            model.partial_fit(X, y)
        assert pickle.dumps(vars(model.set_params(learning_rate=0.01))) == before


def test_what_cannot_be_says_what_to_do():
    with pytest.raises(ValueError, match="early_stopping to 'auto' or False"):
        regressor(early_stopping=True).partial_fit(X, y)
    with pytest.raises(ValueError, match="set scoring='loss'"):
        regressor(scoring="r2").partial_fit(X, y)
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        classifier().partial_fit(X, LABELS)
    with pytest.raises(ValueError, match="class_weight='balanced' needs all rows"):
        classifier(class_weight="balanced").partial_fit(X, LABELS, classes=list("abc"))
    with pytest.raises(ValueError, match=r"classes \['c'\], which are not in classes"):
        classifier().partial_fit(X, LABELS, classes=list("ab"))
    model = regressor().partial_fit(X, y)
    with pytest.raises(ValueError, match=r"goes on with depth=4, n_subnetworks=4.*n_subnetworks=5"):
        model.set_params(n_subnetworks=5).partial_fit(X, y)
    with pytest.raises(ValueError, match="had 1 outputs as an array of 1 dimensions"):
        model.set_params(n_subnetworks=4).partial_fit(X, np.c_[y, y])
    with pytest.raises(ValueError, match="first call of partial_fit: give it more rows"):
        regressor(loss="poisson").partial_fit(X, 0 * y)


def test_fit_begins_anew():
    model = regressor(**FEW).partial_fit(X, y).fit(X, y)
    assert not hasattr(model, "_stream")
    np.testing.assert_array_equal(model.predict(X), regressor(**FEW).fit(X, y).predict(X))


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"n_init": 3},
        {"refine": True, "refine_max_iter": 20, "early_stopping": False},
        {"n_levels": 2, "max_iter": 30},
        {"loss": "poisson"},
        pytest.param({"monotonic_cst": [1, 0, 0]}, marks=pytest.mark.slow),
        pytest.param({"n_levels": 2, "monotonic_cst": [1, 0, 0]}, marks=pytest.mark.slow),
    ],
)
def test_it_goes_on_from_a_fit(parameters):
    model = regressor(**{**FEW, "extrapolation": "linear", **parameters}).fit(X, y)
    before, loss = model.predict(X), np.mean((model.predict(X) - y) ** 2)
    # Hardly any step: the model stays as it is.
    still = copy.deepcopy(model).set_params(learning_rate=1e-12).partial_fit(X, y)
    lowered_anew = "monotonic_cst" in parameters and "n_levels" in parameters
    np.testing.assert_allclose(still.predict(X), before, atol=0.02 if lowered_anew else 1e-8)
    for k in range(60):
        model.partial_fit(*rows(k))
    assert model.n_iter_ == 60
    released = parameters.get("refine") or ("n_levels" in parameters and not lowered_anew)
    assert (model._stream["network"] is not None) == bool(released)
    assert np.mean((model.predict(X) - y) ** 2) < 0.8 * loss
    if "monotonic_cst" in parameters:
        assert (model.predict_gradient(X)[:, 0] >= -1e-9).all()


@pytest.mark.slow
def test_other_models_are_not_gone_on_with():
    model = ExponentialReLURegressor(max_iter=2, random_state=0).fit(X, y)
    with pytest.raises(ValueError, match="this model is another one: begin with a clone"):
        model.set_params(solver="adam").partial_fit(X, y)
    model = regressor(**FEW).partial_fit(X, y)
    small = compress(model, X, n_parameters=20, n_subnetworks=1, depth=1, random_state=0)
    with pytest.raises(ValueError, match="this model is another one"):
        small.partial_fit(X, y)


def test_verbose_prints_a_line_a_call(capsys):
    model = regressor(verbose=1).partial_fit(X, y).partial_fit(X, y)
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("[skrelu] partial_fit 1: loss before = ")
    assert second == f"[skrelu] partial_fit 2: loss before = {model.loss_curve_[1]:.6g}"


def test_learning_curves_use_it():
    sizes, train, test = learning_curve(
        regressor(), *rows(0, 900), train_sizes=[50, 400], cv=2,
        exploit_incremental_learning=True, error_score="raise",
    )  # fmt: skip
    assert sizes.tolist() == [50, 400]
    assert np.isfinite(train).all()
    assert test[1].mean() > 0.5


@pytest.mark.slow
def test_dask_ml_streams_blocks():
    wrappers = pytest.importorskip("dask_ml.wrappers")
    dask, array = pytest.importorskip("dask"), pytest.importorskip("dask.array")
    features, target = rows(0, 800)
    blocks = array.from_array(features, chunks=(100, 3)), array.from_array(target, chunks=100)
    with dask.config.set(scheduler="single-threaded"):
        model = wrappers.Incremental(regressor(), shuffle_blocks=False).fit(*blocks)
        labels = array.from_array(target > 1, chunks=100)
        by_class = wrappers.Incremental(classifier()).fit(blocks[0], labels, classes=[False, True])
    assert model.estimator_.n_iter_ == by_class.estimator_.n_iter_ == 8
    expected = regressor()
    for part in range(8):
        expected.partial_fit(*(t[100 * part : 100 * part + 100] for t in (features, target)))
    np.testing.assert_array_equal(model.estimator_.predict(X), expected.predict(X))


def test_streams_say_that_they_have_no_error_bars():
    X = np.random.default_rng(0).uniform(size=(50, 2))
    stream = ExponentialReLURegressor(solver="adam", random_state=0).partial_fit(X, X[:, 0])
    with pytest.raises(ValueError, match="partial_fit have no error bars"):
        stream.predict(X, return_std=True)
