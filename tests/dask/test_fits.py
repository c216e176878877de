"""Fits over partitions: what they learn, and what comes of them."""

import pickle

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import r2_score

from skrelu import ExponentialReLURegressor
from skrelu._estimators.tables import validated_data
from skrelu.dask import DaskExponentialReLUClassifier, DaskExponentialReLURegressor
from tests.dask.data import in_parts, irregular


@pytest.fixture(autouse=True)
def synchronous():
    with dask.config.set(scheduler="synchronous"):
        yield


def regressor(**settings):
    settings = {"gather_rows": 0, "n_members": 2, "n_passes": 2, "random_state": 0} | settings
    return DaskExponentialReLURegressor(**settings)


@pytest.fixture(scope="module")
def model():
    with dask.config.set(scheduler="synchronous"):
        return regressor(n_passes=5).fit(*in_parts(*irregular()))


def test_irregular_columns_are_followed(model):
    X, y = irregular(seed=1)
    assert r2_score(y, model.predict(X)) > 0.85
    assert not model.gathered_
    assert model.n_rows_ == 2000


def test_predictions_are_lazy_and_those_of_the_ordinary_estimator(model):
    X = in_parts(irregular(seed=1)[0], n_parts=3)[0]
    found = model.predict(X)
    assert isinstance(found, da.Array)
    assert found.chunks == (X.chunks[0],)
    np.testing.assert_allclose(found.compute(), model.model_.predict(X.compute()), rtol=1e-12)


def test_the_model_is_an_ordinary_estimator(model):
    X, y = irregular(seed=1)
    plain = pickle.loads(pickle.dumps(model.model_))
    assert type(plain) is ExponentialReLURegressor
    with torch.no_grad():
        outputs = plain.to_torch()(torch.tensor(X))[:, 0].numpy()
    np.testing.assert_allclose(outputs, plain.predict(X), atol=1e-10)
    assert plain.feature_importances_.sum() == pytest.approx(1)
    assert plain.stages_[0]["validation_loss"][-1] < 0.2
    low, high = plain.predict_interval(X, 0.9).T
    assert ((low < y) & (y < high)).mean() == pytest.approx(0.9, abs=0.04)


def test_schedulers_do_not_change_the_result():
    X, y = in_parts(*irregular(1200))
    one = regressor(n_passes=1).fit(X, y).model_
    with dask.config.set(scheduler="threads", num_workers=2):
        other = regressor(n_passes=1).fit(X, y).model_
    points = irregular(300, 1)[0]
    np.testing.assert_array_equal(one.predict(points), other.predict(points))


def frame(n=1500):
    X, y = irregular(n)
    table = pd.DataFrame(X, columns=["hour", "code", "a", "b"])
    table["code"] = pd.Categorical(table["code"].map("c{:.0f}".format))
    table.loc[::7, "a"] = np.nan
    table.loc[::11, "code"] = None
    return table, pd.Series(y, name="y")


def test_dataframes_have_categories_and_missing_values():
    table, y = frame()
    whole = dd.from_pandas(table.assign(y=y), npartitions=3)
    part = whole[whole["hour"] >= 0]  # of unknown lengths
    X, target = part[["hour", "code", "a", "b"]], part["y"]
    model = regressor().fit(X, target)
    ordinary = ExponentialReLURegressor()
    validated_data(ordinary, table, y, numeric=True)
    assert model.model_.categories_ == ordinary.categories_
    assert model.model_._columns["marked"] == ordinary._columns["marked"]
    assert list(model.feature_names_in_) == list(table)
    assert model.model_._columns["fills"][2] == pytest.approx(table["a"].mean())
    np.testing.assert_allclose(model.predict(X), model.model_.predict(table), rtol=1e-12)


def test_partitions_without_rows_do_no_harm():
    table, y = frame(600)
    whole = dd.from_pandas(table.assign(y=y, row=range(600)), npartitions=3)
    some = whole[whole["row"] >= 300]
    X = some[["hour", "a", "b"]]
    model = regressor().fit(X, some["y"])
    assert model.n_rows_ == 300
    assert len(model.predict(X).compute()) == 300


def test_rows_of_weight_0_are_not_there():
    X, y = irregular(1200)
    weights = np.ones(1200)
    weights[100:200] = 0
    wrong = y.copy()
    wrong[100:200] = 1e6
    one = regressor(n_passes=1).fit(*in_parts(X, y, weights)).model_
    other = regressor(n_passes=1).fit(*in_parts(X, wrong, weights)).model_
    np.testing.assert_array_equal(one.predict(X), other.predict(X))
    assert np.abs(one.predict(X)).max() < 100


def test_few_rows_are_gathered():
    X, y = irregular(15)
    model = DaskExponentialReLURegressor(random_state=0).fit(*in_parts(X, y))
    assert model.gathered_
    expected = ExponentialReLURegressor(random_state=0).fit(X, y)
    np.testing.assert_array_equal(model.model_.predict(X), expected.predict(X))


def test_classes_have_probabilities_and_weights():
    X, y = irregular(1000)
    labels = np.array(["low", "middle", "high"])[np.digitize(y, [-1, 1])]
    settings = {"gather_rows": 0, "n_members": 1, "n_passes": 5, "random_state": 0}
    model = DaskExponentialReLUClassifier(**settings).fit(*in_parts(X, labels))
    points = in_parts(X)[0]
    chances = model.predict_proba(points).compute()
    assert list(model.classes_) == ["high", "low", "middle"]
    np.testing.assert_allclose(chances.sum(1), 1, atol=1e-12)
    np.testing.assert_allclose(chances.mean(0), [(labels == c).mean() for c in model.classes_],
                               atol=1e-6)  # fmt: skip
    assert (model.predict(points).compute() == labels).mean() > 0.75
    balanced = DaskExponentialReLUClassifier(**settings, class_weight="balanced")
    found = balanced.fit(*in_parts(X, labels)).predict_proba(X).mean(0)
    assert found[model.classes_ == "low"] > chances.mean(0)[model.classes_ == "low"]


def test_quantiles_are_calibrated():
    X, y = irregular(2000)
    model = regressor(loss="quantile", quantile=[0.1, 0.9], n_members=1, n_passes=4).fit(
        *in_parts(X, y)
    )
    X, y = irregular(2000, 1)
    lower, upper = model.predict(in_parts(X)[0]).compute().T
    assert (y < lower).mean() == pytest.approx(0.1, abs=0.04)
    assert (y < upper).mean() == pytest.approx(0.9, abs=0.04)


def test_log_links_keep_the_mean():
    X, y = irregular(1500)
    y = np.exp(y / 2)
    model = regressor(loss="poisson").fit(*in_parts(X, y))
    assert model.predict(X).mean() == pytest.approx(y.mean(), rel=1e-6)
    assert (model.predict(X) > 0).all()


def test_several_outputs_have_a_column_each():
    X, y = irregular(1200)
    Y = np.column_stack([y, 100 + X[:, 2]])
    model = regressor().fit(*in_parts(X, Y))
    found = model.predict(in_parts(X)[0])
    assert found.shape == (1200, 2)
    assert r2_score(Y[:, 1], found.compute()[:, 1]) > 0.9


def test_many_columns_have_no_curves():
    rng = np.random.default_rng(0)
    X = rng.integers(0, 2, (600, 300)).astype(float)
    model = regressor(n_passes=1).fit(*in_parts(X, X[:, 0] + X[:, 1]))
    assert model.model_._encoded["sizes"]["n_curves"] == 0
    assert list(model.model_.kinds_) == ["encoded"]


def test_sorted_rows_are_told(monkeypatch):
    X, y = irregular(1200)
    order = y.argsort()
    monkeypatch.setattr("skrelu.dask._estimators.VALUES_AT_ONCE", 100)
    with pytest.warns(UserWarning, match="seem to be sorted: .* is between partitions"):
        regressor(n_passes=1).fit(*in_parts(X[order], y[order]))


GOOD = in_parts(*irregular(400))
TEXT = dd.from_pandas(pd.DataFrame({"a": [1.0, 2.0] * 4, "b": list("abcdefgh")}), npartitions=2)
BAD = {
    "no dask": (irregular(100), TypeError, "X is of type ndarray, but a dask array or dataframe"),
    "one of dask": ((GOOD[0], irregular(400)[1]), TypeError, "y is of type ndarray"),
    "no targets": ((GOOD[0], None), ValueError, "y is None"),
    "other rows": ((GOOD[0], GOOD[1][:300]), ValueError, "rows differ: X has 400, y has 300"),
    "unknown": (
        (GOOD[0][GOOD[0][:, 0] > 3], GOOD[1].rechunk(400)),
        ValueError, r"not aligned: X has 4, y has 1. Take all .* compute_chunk_sizes\(\)",
    ),
    "unknown lengths": (
        (GOOD[0][GOOD[0][:, 0] > 3], GOOD[1]),
        ValueError, "Partition .: X has .* rows, but y has 100. Take all of them from one",
    ),
    "index": (
        (TEXT[["a"]], dd.from_pandas(pd.Series(range(8), range(8, 16)), npartitions=2)),
        ValueError, "Partition .: X and y have different indices. Take all",
    ),
    "strings": ((TEXT, TEXT["a"]), ValueError, "Column 'b' of X holds .* make it a category"),
    "infinite": ((GOOD[0] + np.inf, GOOD[1]), ValueError, "Partition .: .*X .*inf"),
    "text": ((GOOD[0], GOOD[1].astype(str)), ValueError, "Partition .: y holds"),
    "no dimension": ((GOOD[1], GOOD[1]), ValueError, "X has 1 dimensions, but 2"),
    "weights": ((*GOOD, GOOD[1] * 0 - 1), ValueError, "Partition .: Negative values in sample_w"),
    "no weight": ((*GOOD, GOOD[1] * 0), ValueError, "No partition has a row of positive weight"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_told(name):
    data, error, message = BAD[name]
    model = regressor()
    with pytest.raises(error, match=message):
        model.fit(*data)
    assert not hasattr(model, "model_")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_members": 0}, "'n_members' parameter"),
        ({"n_passes": "all"}, "'n_passes' parameter"),
        ({"gather_rows": -1}, "'gather_rows' parameter"),
        ({"depth": 0}, "'depth' parameter"),
        ({"quantile": 0.5}, "quantile=0.5 is for loss='quantile'"),
        ({"loss": "gamma"}, "Partition .: The loss needs y > 0"),
    ],
    ids=str,
)
def test_bad_parameters_are_told(settings, message):
    with pytest.raises(ValueError, match=message):
        regressor(**settings).fit(*GOOD)


def test_one_class_is_told():
    with pytest.raises(ValueError, match="y has one class only"):
        DaskExponentialReLUClassifier(gather_rows=0).fit(GOOD[0], GOOD[1] > 1e9)
