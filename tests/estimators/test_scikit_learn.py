"""scikit-learn's own checks, and its meta-estimators."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
from matplotlib import pyplot as plt
from sklearn import config_context
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.datasets import make_regression
from sklearn.decomposition import PCA
from sklearn.ensemble import AdaBoostRegressor, BaggingRegressor, StackingRegressor
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.feature_selection import RFE
from sklearn.inspection import PartialDependenceDisplay, permutation_importance
from sklearn.linear_model import Ridge
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    LearningCurveDisplay,
    cross_val_score,
)
from sklearn.multioutput import RegressorChain
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import (
    check_dataframe_column_names_consistency,
    check_inplace_ensure_writeable,
    parametrize_with_checks,
)

from skrelu import ExponentialReLURegressor

FEW = {"n_subnetworks": 2, "n_init": 1, "max_iter": 30, "refine": False, "random_state": 0}
QUICK = {**FEW, "n_levels": 1, "max_iter": 1000}


@pytest.fixture(scope="module")
def table():
    X, y = make_regression(120, 4, noise=5.0, random_state=0)
    return X, y


@pytest.mark.slow
@parametrize_with_checks([ExponentialReLURegressor()])
def test_all_checks_of_scikit_learn_pass(estimator, check):
    check(estimator)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks(
    [
        ExponentialReLURegressor(loss="huber", convexity="convex", **FEW),
        ExponentialReLURegressor(loss="quantile", quantile=0.3, **FEW),
    ]
)
def test_all_checks_pass_with_other_losses(estimator, check):
    check(estimator)


@pytest.mark.slow
@pytest.mark.parametrize(
    "check", [check_dataframe_column_names_consistency, check_inplace_ensure_writeable]
)
def test_checks_that_are_not_handed_to_third_parties_pass(check):
    check("ExponentialReLURegressor", ExponentialReLURegressor(**QUICK))


@pytest.mark.parametrize(("quantile", "several"), [(None, True), (0.5, True), ([0.1, 0.9], False)])
def test_several_quantiles_are_of_one_target(quantile, several):
    tags = get_tags(ExponentialReLURegressor(loss="quantile", quantile=quantile))
    assert tags.target_tags.multi_output == several
    assert tags.target_tags.single_output


@pytest.mark.slow
@pytest.mark.parametrize(
    "wrap",
    [
        lambda model: make_pipeline(StandardScaler(), model),
        lambda model: BaggingRegressor(model, n_estimators=2, random_state=0),
        lambda model: StackingRegressor([("net", model), ("ridge", Ridge())], cv=2),
        lambda model: AdaBoostRegressor(model, n_estimators=2, random_state=0),
        lambda model: TransformedTargetRegressor(model, func=np.cbrt, inverse_func=lambda y: y**3),
        lambda model: GridSearchCV(model, {"depth": [1, 3]}, cv=2),
    ],
    ids=["Pipeline", "Bagging", "Stacking", "AdaBoost", "TransformedTarget", "GridSearchCV"],
)
def test_meta_estimators_fit_and_score(wrap, table):
    X, y = table
    assert wrap(ExponentialReLURegressor(**QUICK)).fit(X, y).score(X, y) > 0.9


def test_halving_search_over_iterations(table):
    X, y = table
    model = ExponentialReLURegressor(
        n_subnetworks=2, n_init=2, refine=False, random_state=0, tol=0.5
    )
    search = HalvingGridSearchCV(
        model, {"depth": [1, 3]}, resource="max_iter", max_resources=100, min_resources=50, cv=2
    )
    assert search.fit(X, y).best_score_ > 0.9


@pytest.mark.slow
def test_regressor_chain_and_permutation_importance(table):
    X, y = table
    chain = RegressorChain(ExponentialReLURegressor(**QUICK)).fit(X, np.c_[y, -y])
    np.testing.assert_allclose(chain.predict(X)[:, 0], -chain.predict(X)[:, 1], atol=0.5 * y.std())
    X = np.c_[X, np.random.default_rng(0).normal(size=len(X))]
    model = ExponentialReLURegressor(**QUICK).fit(X, y)
    importance = permutation_importance(model, X, y, n_repeats=2, random_state=0)
    assert importance.importances_mean.argmin() == 4


@pytest.mark.slow
def test_recursive_feature_elimination_by_the_linear_part(table):
    X, y = table
    X = np.c_[X, np.random.default_rng(0).normal(size=len(X))]
    search = RFE(
        ExponentialReLURegressor(**QUICK),
        n_features_to_select=4,
        importance_getter=lambda model: np.abs(model.linear_weights_).sum(1),
    )
    assert search.fit(X, y).score(X, y) > 0.8


@pytest.mark.slow
def test_a_weight_of_two_is_a_row_given_twice_bit_for_bit(table):
    X, y = table
    weights = np.random.default_rng(0).integers(0, 4, len(y))
    repeated = np.repeat(np.arange(len(y)), weights)
    weighted = ExponentialReLURegressor(**QUICK).fit(X, y, sample_weight=weights)
    twice = ExponentialReLURegressor(**QUICK).fit(X[repeated][::-1], y[repeated][::-1])
    np.testing.assert_array_equal(weighted.predict(X), twice.predict(X))


@pytest.mark.slow
def test_partial_dependence_display(table):
    X, y = table
    model = ExponentialReLURegressor(**QUICK).fit(X, y)
    display = PartialDependenceDisplay.from_estimator(model, X, [0, (1, 2)], grid_resolution=5)
    assert np.isfinite(display.pd_results[0]["average"]).all()
    plt.close("all")


@pytest.mark.slow
def test_learning_curve_display(table):
    X, y = table
    display = LearningCurveDisplay.from_estimator(
        ExponentialReLURegressor(**QUICK), X, y, cv=2, train_sizes=[30, 60]
    )
    assert np.isfinite(display.test_scores).all()
    plt.close("all")


@pytest.mark.slow
@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_feature_names_are_kept_and_checked(frame, table):
    X, y = table
    named = frame(dict(zip("abcd", X.T, strict=True)))
    model = ExponentialReLURegressor(**QUICK).fit(named, y)
    assert list(model.feature_names_in_) == list("abcd")
    np.testing.assert_array_equal(
        model.predict(named), ExponentialReLURegressor(**QUICK).fit(X, y).predict(X)
    )
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(
            named.rename(columns={"a": "z"}) if frame is pd.DataFrame else named.rename({"a": "z"})
        )


@pytest.mark.slow
@pytest.mark.long
def test_pipeline_with_column_transformer_and_grid_over_depth(table):
    X, y = table
    frame = pd.DataFrame(X, columns=list("abcd"))
    frame["kind"] = np.where(X[:, 0] > 0, "up", "down")
    columns = ColumnTransformer([("kind", OneHotEncoder(), ["kind"])], remainder="passthrough")
    pipeline = make_pipeline(columns, ExponentialReLURegressor(**QUICK))
    name = "exponentialreluregressor__depth"
    search = GridSearchCV(pipeline, {name: [2, 4]}, cv=2).fit(frame, y)
    assert search.best_score_ > 0.9


@pytest.mark.slow
@pytest.mark.long
def test_parallel_grid_search_gives_the_same_scores(table):
    X, y = table
    model = ExponentialReLURegressor(**QUICK)
    scores = [
        GridSearchCV(model, {"depth": [1, 2]}, cv=2, n_jobs=n_jobs)
        .fit(X, y)
        .cv_results_["mean_test_score"]
        for n_jobs in (1, 2)
    ]
    np.testing.assert_array_equal(*scores)


@pytest.mark.slow
def test_fitted_models_pickle(table):
    X, y = table
    model = ExponentialReLURegressor(**QUICK).fit(X, y)
    stored = pickle.dumps(model)
    assert b"torch" not in stored  # arrays only: no device is needed to load it
    np.testing.assert_array_equal(pickle.loads(stored).predict(X), model.predict(X))


@pytest.mark.slow
def test_cross_validation_on_one_feature():
    X = np.linspace(0, 1, 150)[:, None]
    scores = cross_val_score(ExponentialReLURegressor(**QUICK), X, np.sin(5 * X[:, 0]), cv=3)
    assert np.isfinite(scores).all()


def requesting():
    """Return a model that asks a pipeline for validation rows."""
    return ExponentialReLURegressor(**QUICK).set_fit_request(
        X_val=True, y_val=True, sample_weight_val=True
    )


@pytest.mark.parametrize("framed", [False, True])
def test_a_pipeline_transforms_validation_rows(table, framed):
    X, y = pd.DataFrame(table[0], columns=[*"abcd"]), table[1]
    X = X if framed else X.to_numpy()
    held = {"y_val": y[90:], "sample_weight_val": np.arange(1.0, 31)}
    steps = make_pipeline(StandardScaler(), PCA(3)).set_output(transform="pandas")
    with config_context(enable_metadata_routing=True):
        pipeline = make_pipeline(*steps, requesting(), transform_input=["X_val"])
        pipeline.fit(X[:90], y[:90], X_val=X[90:], **held)
        by_hand = requesting()
        Z = steps.fit_transform(X[:90])
        by_hand.fit(Z, y[:90], X_val=steps.transform(X[90:]), **held)
    np.testing.assert_array_equal(pipeline.predict(X), by_hand.predict(steps.transform(X)))


def test_validation_rows_that_a_pipeline_has_not_transformed_are_told(table):
    X, y = table
    frame = pd.DataFrame(X, columns=[*"abcd"])
    name = "exponentialrelu"
    held = {f"{name}__X_val": X[90:], f"{name}__y_val": y[90:]}
    remedy = r"In a Pipeline, transform_input=\['X_val'\] makes its steps transform X_val"
    for step, message in (
        (PCA(3), "X_val has 4 features, but .* expecting 3 features"),
        (PCA(4).set_output(transform="pandas"), "X_val: The feature names should match"),
    ):
        pipeline = Pipeline([("step", step), (name, ExponentialReLURegressor(**QUICK))])
        with pytest.raises(ValueError, match=rf"(?s){message}.*{remedy}"):
            pipeline.fit(frame[:90], y[:90], **{**held, f"{name}__X_val": frame[90:]})
    pipeline = Pipeline([("step", StandardScaler()), (name, ExponentialReLURegressor(**QUICK))])
    with pytest.warns(UserWarning, match=f"X_val has feature names, but .*{remedy}"):
        pipeline.fit(frame[:90], y[:90], **{**held, f"{name}__X_val": frame[90:]})
