"""Categories and missing values: columns, levels, and every method of a model that reads them."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch

from skrelu import ExponentialReLUClassifier, ExponentialReLURegressor
from skrelu._data.columns import MOST_LEVELS, Columns, codes_of, levels_of
from tests import paths

N = 300
NAN = float("nan")
pytestmark = pytest.mark.usefixtures("few_waves")


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(
        {
            "size": rng.normal(size=N),
            "kind": pd.Categorical(rng.choice(["low", "mid", "top"], N)),
            "old": rng.choice([True, False], N),
            "side": pd.Categorical(rng.choice(["left", "right"], N)),
        }
    )
    lift = X["kind"].map({"low": 0.0, "mid": 3.0, "top": -2.0}).astype(float)
    y = X["size"] ** 2 + lift + X["old"] + 0.1 * rng.normal(size=N)
    X.loc[::9, "size"] = NAN
    X.loc[::7, "kind"] = None
    return X, y.to_numpy()


@pytest.fixture(scope="module")
def model(table):
    with paths.few_waves():
        return ExponentialReLURegressor(random_state=0).fit(*table)


def test_columns_of_categories_and_missing_values():
    X = np.array([[1.0, 0, 1], [3.0, 2, 0], [NAN, NAN, 1], [2.0, 1, -1]])
    columns = Columns.of(X, [0, 3, 2])
    assert columns.owners == [0, 0, 1, 1, 1, 1, 2]
    assert columns.valued == [0, None, None]
    expected = [
        [1, 0, 1, 0, 0, 0, 1],
        [3, 0, 0, 0, 1, 0, 0],
        [2, 1, 0, 0, 0, 1, 1],
        [2, 0, 0, 1, 0, 0, 0],
    ]
    np.testing.assert_array_equal(columns.expand(X), expected)
    names = columns.names(["size", "kind", "side"], [None, ["a", "b", "c"], ["left", "right"]])
    assert names == [
        "size", "size is missing", "kind=a", "kind=b", "kind=c", "kind is missing", "side=right",
    ]  # fmt: skip


def test_plain_numbers_stay_as_they_are():
    X = np.arange(6, dtype=np.float32).reshape(3, 2)
    columns = Columns.of(X, [0, 0])
    assert columns.plain
    assert columns.expand(X) is X
    missing = np.where(X == 2, np.float32(NAN), X)  # none was missing in the fit
    np.testing.assert_array_equal(columns.expand(missing), np.where(X == 2, 0, X))


def test_the_most_frequent_levels_have_a_code():
    values = [f"v{i}" for i in range(MOST_LEVELS + 20) for _ in range(1 + (i >= 20))]
    levels = levels_of(values, np.ones(len(values)))
    assert len(levels) == MOST_LEVELS
    assert set(levels) == {f"v{i}" for i in range(20, MOST_LEVELS + 20)}
    codes = codes_of(["v0", "v300", None, levels[3]], levels, pooled=True)
    np.testing.assert_array_equal(codes, [MOST_LEVELS, MOST_LEVELS, NAN, 3])
    assert codes_of(["new"], levels, pooled=False) == [-1]
    assert levels_of([2, 10, 1, None, 2], np.ones(5)) == [1, 2, 10]
    assert levels_of(["b", 1, 2], np.ones(3)) == [1, 2, "b"]
    assert levels_of([1, 2, 2, 3], np.array([1.0, 1, 1, 0])) == [2, 1]
    assert levels_of([1, 2], np.array([1.0, 2])) == levels_of([1, 2, 2], np.ones(3)) == [2, 1]


def test_categories_explain_what_numbers_do_not(model, table):
    X, y = table
    assert model.score(X, y) > 0.8
    without = ExponentialReLURegressor(random_state=0).fit(X[["size", "old"]], y)
    assert model.score(X, y) > 0.3 + without.score(X[["size", "old"]], y)


def test_all_methods_read_categories_and_missing_values(model, table):
    X, _ = table
    columns = model.encode(X)
    assert columns.shape == (N, 8)
    assert model.categories_[:3] == [None, ["low", "mid", "top"], None]
    assert sorted(model.categories_[3]) == ["left", "right"]
    predictions = model.predict(X)
    with torch.no_grad():
        outputs = model.to_torch()(torch.tensor(columns))[:, 0].numpy()
    np.testing.assert_allclose(outputs, predictions, rtol=0, atol=1e-12)
    np.testing.assert_allclose(model.predict_contributions(X).sum(1), predictions, atol=1e-9)
    assert model.feature_importances_.shape == (4,)
    assert model.feature_importances_.argmax() in (0, 1)
    assert model.feature_importances_.sum() == pytest.approx(1)
    slopes = model.predict_gradient(X)
    assert slopes.shape == (N, 4)
    assert not slopes[:, [1, 3]].any()
    assert not slopes[X["size"].isna(), 0].any()
    assert slopes[X["size"].notna(), 0].any()
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(X), predictions)


def test_levels_and_missing_values_that_were_not_seen(model, table):
    X = table[0].head(3).copy()
    X["kind"] = ["new", "low", None]
    X["old"] = [np.nan, 1.0, 0.0]
    predictions = model.predict(X)
    assert np.isfinite(predictions).all()
    assert len(set(predictions)) == 3


def test_containers_agree(model, table):
    X, y = table
    predictions = model.predict(X)
    lists = {name: [None if v != v else v for v in X[name].tolist()] for name in X}
    frame = pl.DataFrame(lists).with_columns(pl.col("kind", "side").cast(pl.Categorical))
    with_polars = ExponentialReLURegressor(random_state=0).fit(frame, y)
    np.testing.assert_array_equal(with_polars.predict(frame), predictions)
    array = X.to_numpy(object)
    named = ExponentialReLURegressor(random_state=0, categorical_features=[1, 3]).fit(array, y)
    np.testing.assert_array_equal(named.predict(array), predictions)
    arrow = pa.Table.from_pandas(X)
    assert pa.types.is_dictionary(arrow.schema.field("kind").type)
    assert pa.types.is_boolean(arrow.schema.field("old").type)
    assert arrow["size"].null_count > 0
    np.testing.assert_array_equal(model.predict(arrow), predictions)
    for chosen in (["kind", "side"], [False, True, False, True], [1, -1]):
        other = ExponentialReLURegressor(random_state=0, categorical_features=chosen)
        np.testing.assert_array_equal(other.fit(X, y).predict(X), predictions)


@pytest.mark.slow
@pytest.mark.long
def test_a_row_of_no_weight_has_no_level(table):
    X, y = table[0].copy(), table[1]
    X["kind"] = X["kind"].cat.add_categories("rare")
    X.loc[5, "kind"] = "rare"
    weights = np.ones(N)
    weights[5] = 0
    weighted = ExponentialReLURegressor(random_state=0).fit(X, y, weights)
    dropped = ExponentialReLURegressor(random_state=0).fit(X.drop(5), np.delete(y, 5))
    assert weighted.categories_ == dropped.categories_
    np.testing.assert_array_equal(weighted.predict(X), dropped.predict(X))


def test_classes_warm_starts_and_validation_rows(table):
    X, y = table
    labels = np.where(y > 1, "high", "low")
    classifier = ExponentialReLUClassifier(random_state=0)
    classifier.fit(X[:200], labels[:200], X_val=X[200:], y_val=labels[200:])
    assert classifier.score(X[200:], labels[200:]) > 0.8
    model = ExponentialReLURegressor(warm_start=True, random_state=0).fit(X, y)
    levels = model.categories_
    half = X[:150].copy()
    half["kind"] = half["kind"].where(half["kind"] != "top", "mid").cat.remove_unused_categories()
    assert model.fit(half, y[:150]).categories_ == levels
    assert np.isfinite(model.predict(X)).all()


def test_shapes_are_of_numbers(table):
    X, y = table
    with pytest.raises(ValueError, match="monotonic_cst of feature 1 is 1, but it is a category"):
        ExponentialReLURegressor(monotonic_cst={"kind": 1}).fit(X, y)
    rising = ExponentialReLURegressor(monotonic_cst={"old": 1}, random_state=0).fit(X, y)
    above, below = X.assign(old=1.0), X.assign(old=0.0)
    assert (rising.predict(above) >= rising.predict(below) - 1e-9).all()
    assert rising.kinds_ == {}
    falling = ExponentialReLURegressor(monotonic_cst={"size": -1}, random_state=0).fit(X, y)
    sizes = np.sort(np.r_[np.linspace(-20, 20, 101), X["size"].dropna()])
    for kind in ("low", "top", "new", None):
        line = pd.DataFrame({"size": sizes, "kind": [kind] * len(sizes), "old": 1.0})
        assert np.diff(falling.predict(line.assign(side="left"))).max() <= 1e-9


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (["color"], r"names the feature 'color', but features are \['size', 'kind'"),
        ([4], "names the feature 4"),
        ([True], "has 1 booleans, but there are 4 features"),
        ([[1]], "must be 'from_dtype', None, or a list"),
        ([1.5], "names the feature 1.5|must be 'from_dtype'"),
    ],
)
def test_unknown_categories_are_named(chosen, message, table):
    with pytest.raises(ValueError, match=message):
        ExponentialReLURegressor(categorical_features=chosen).fit(*table)


def test_categories_that_are_none_by_the_parameter_are_named(table):
    with pytest.raises(ValueError, match=r"'kind' of X holds categories.*'from_dtype'"):
        ExponentialReLURegressor(categorical_features=None).fit(*table)


def test_repeated_rows_are_weights_and_order_does_not_matter(table):
    X, y = table
    weights = np.ones(N)
    weights[:40] = 2
    rows = np.random.default_rng(0).permutation(np.r_[np.arange(N), np.arange(40)])
    weighted = ExponentialReLURegressor(random_state=0).fit(X, y, weights).predict(X)
    repeated = ExponentialReLURegressor(random_state=0).fit(X.iloc[rows], y[rows]).predict(X)
    np.testing.assert_array_equal(weighted, repeated)


def test_levels_that_are_no_values_are_named():
    X = np.empty((60, 1), dtype=object)
    X[:, 0] = [[1, 2]] * 60
    with pytest.raises(TypeError, match=r"Column 0 of X is a category, but holds \[1, 2\]"):
        ExponentialReLURegressor(categorical_features=[0]).fit(X, np.arange(60.0))


def test_sub_networks_of_a_table_with_categories_are_drawn(table):
    inspection = pytest.importorskip("skrelu.inspection")
    pytest.importorskip("matplotlib")
    X, y = table
    model = ExponentialReLURegressor(n_levels=1, n_subnetworks=4, n_init=1, random_state=0)
    display = inspection.SubnetworkDisplay.from_estimator(model.fit(X, y), X)
    assert any("kind=" in label for label in display.labels)
    arrow = inspection.SubnetworkDisplay.from_estimator(model, pa.Table.from_pandas(X))
    np.testing.assert_array_equal(arrow.contributions, display.contributions)


def test_constant_categories_and_empty_columns(table):
    X, y = table
    X = X.assign(same=pd.Categorical(["a"] * N), empty=np.nan)
    model = ExponentialReLURegressor(random_state=0).fit(X, y)
    assert np.isfinite(model.predict(X)).all()
    assert model.feature_importances_[-2:].tolist() == [0, 0]


QUICK = {"n_levels": 1, "n_subnetworks": 2, "n_init": 1, "refine": False, "random_state": 0}


def test_arrow_columns_are_as_those_of_pandas():
    rng = np.random.default_rng(0)
    values = rng.normal(size=60).astype(np.float32)
    flags = [None if i % 5 == 0 else i % 2 == 0 for i in range(60)]
    codes = [None if i % 7 == 0 else i % 3 for i in range(60)]
    words = rng.choice(["a", "b"], 60).tolist()
    y = values + 2 * np.array(words == "a") + rng.normal(size=60)
    arrow = pa.table({"x": values, "flag": flags, "code": codes, "word": words})
    chosen = {**QUICK, "categorical_features": ["word"]}
    frame = pd.DataFrame({"x": values, "flag": pd.array(flags, "boolean")})
    frame = frame.assign(code=pd.array(codes, "Int64"), word=words)
    expected = ExponentialReLURegressor(**chosen).fit(frame, y).predict(frame)
    pieces = pa.concat_tables([arrow.slice(0, 20), arrow.slice(20)])
    for table in (arrow, pieces):
        model = ExponentialReLURegressor(**chosen).fit(table, y)
        assert model.feature_names_in_.tolist() == ["x", "flag", "code", "word"]
        np.testing.assert_array_equal(model.predict(table), expected)
    levels = ExponentialReLURegressor(**QUICK).fit(
        arrow.set_column(2, "code", pa.array(codes).dictionary_encode()).drop(["word"]), y
    )
    assert levels.categories_ == [None, None, [0, 1, 2]]
    singles = arrow.select(["x"])
    assert ExponentialReLURegressor(**QUICK).fit(singles, values).predict(singles).dtype == "f4"
    labels = np.where(y > 1, "high", "low")
    classifier = ExponentialReLUClassifier(**chosen)
    probabilities = classifier.fit(frame, labels).predict_proba(frame)
    for same in (
        pa.array(labels),
        pa.array(labels).dictionary_encode(),
        pa.chunked_array([labels]),
    ):
        again = classifier.fit(arrow, same)
        assert again.classes_.tolist() == ["high", "low"]
        np.testing.assert_array_equal(again.predict_proba(arrow), probabilities)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            pa.array(["a", "b"] * 30),
            r"X.astype\({'other': 'category'}\).*name it in categorical_features",
        ),
        (pa.array(["a"] * 60, pa.large_string()), "'other' of X holds strings"),
        (pa.array([[1, 2]] * 60), "'other' of X holds arrays"),
        (pa.array([{"a": 1}] * 60), "'other' of X holds {'a': 1}"),
        (pa.array([0] * 60, pa.timestamp("s")), "'other' of X holds dates or times"),
        (pa.array([0] * 60, pa.duration("s")), "'other' of X holds durations"),
        (pa.array([np.inf] * 60), r"infinity.*in column 'other' \(60 of 60 rows\)"),
    ],
)
def test_errors_name_arrow_columns(values, message):
    arrow = pa.table({"x": np.arange(60.0), "other": values})
    with pytest.raises((TypeError, ValueError), match=message):
        ExponentialReLURegressor(**QUICK).fit(arrow, np.arange(60.0))
    model = ExponentialReLURegressor(**QUICK).fit(arrow.select(["x"]), np.arange(60.0))
    with pytest.raises(ValueError, match="unseen at fit time:\n- other"):
        model.predict(arrow)


def test_other_forms_of_arrow_are_named():
    arrow = pa.table({"x": np.arange(60.0), "word": pa.array(["a", "b"] * 30).dictionary_encode()})
    with pytest.raises(ValueError, match=r"'word' of X holds categories, such as 'a'"):
        ExponentialReLURegressor(categorical_features=None).fit(arrow, np.arange(60.0))
    with pytest.raises(TypeError, match=r"X is one batch.*Table.from_batches\(\[X\]\)"):
        ExponentialReLURegressor(**QUICK).fit(arrow.to_batches()[0], np.arange(60.0))
    with pytest.raises(ValueError, match="Columns of X need names of their own"):
        ExponentialReLURegressor(**QUICK).fit(arrow.append_column("x", arrow["x"]), np.arange(60.0))
