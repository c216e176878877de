"""Tables of all kinds become arrays of numbers, or get a sentence that names them."""

import datetime as dt
import re
import warnings
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from scipy import sparse
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.validation import check_is_fitted

from skrelu._estimators.tables import (
    as_array,
    as_integer,
    as_table,
    as_weights,
    validated_data,
    validated_inputs,
)

NUMBERS = np.array([[1.0, 2.0], [3.0, 4.0]])


class Mean(RegressorMixin, BaseEstimator):
    """Predicts the mean; all of its data goes through the tables."""

    categorical_features, warm_start = None, False

    def fit(self, X, y, sample_weight=None, *, X_val=None, y_val=None, sample_weight_val=None):
        X, y, weights = validated_data(self, X, y, sample_weight, numeric=True)
        if X_val is not None:
            validated_data(self, X_val, y_val, sample_weight_val, suffix="_val", numeric=True)
        self.mean_ = np.average(y, axis=0, weights=weights)
        return self

    def predict(self, X):
        check_is_fitted(self)
        X = validated_inputs(self, X)
        return np.broadcast_to(self.mean_, (len(X), *self.mean_.shape))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.regressor_tags.poor_score = True
        tags.target_tags.multi_output = tags.target_tags.single_output = True
        return tags


class Prior(ClassifierMixin, BaseEstimator):
    """Predicts the most frequent class."""

    categorical_features, warm_start = None, False

    def fit(self, X, y, sample_weight=None, *, X_val=None, y_val=None):
        X, y, weights = validated_data(self, X, y, sample_weight, numeric=False)
        if X_val is not None:
            validated_data(self, X_val, y_val, suffix="_val", numeric=False)
        self.classes_, index = np.unique(y, return_inverse=True)
        self.best_ = np.bincount(index, weights).argmax()
        return self

    def predict(self, X):
        check_is_fitted(self)
        return self.classes_[np.full(len(validated_inputs(self, X)), self.best_)]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.classifier_tags.poor_score = True
        return tags


@parametrize_with_checks([Mean()])
def test_regressors_that_read_tables_pass_the_checks_of_scikit_learn(estimator, check):
    check(estimator)


@pytest.mark.parametrize(
    ("given", "dtype"),
    [
        (NUMBERS.tolist(), "f8"),
        (tuple(map(tuple, NUMBERS)), "f8"),
        (NUMBERS.astype(np.float32), "f4"),
        (NUMBERS.astype(np.longdouble), "f8"),
        (NUMBERS.astype(int), "i8"),
        (np.array([[1, Decimal(2)], [Fraction(3), np.float32(4)]], dtype=object), "f8"),
        ([[1.0, np.float32(2)], [3, np.int8(4)]], "f8"),
        (torch.tensor(NUMBERS), "f8"),
        (torch.tensor(NUMBERS, requires_grad=True), "f8"),
        (torch.nn.Parameter(torch.tensor(NUMBERS).float()), "f4"),
        (torch.tensor(NUMBERS).bfloat16(), "f4"),
        (torch.tensor(NUMBERS).half(), "f4"),
        (torch.tensor(NUMBERS).to(torch.float8_e4m3fn), "f4"),
        (torch.tensor(NUMBERS).int(), "i4"),
        (torch.tensor(-1j * NUMBERS).conj().imag, "f8"),
        ([torch.tensor(row, requires_grad=True) for row in NUMBERS], "f8"),
        ([[torch.tensor(v, requires_grad=True) for v in row] for row in NUMBERS], "f8"),
        ([torch.tensor(row).bfloat16() for row in NUMBERS], "f4"),
        (sparse.csr_array(NUMBERS).toarray(), "f8"),
        (pd.DataFrame(NUMBERS), "f8"),
        (pd.DataFrame(NUMBERS.astype("f4"), columns=["a", "b"]), "f4"),
        (pd.DataFrame({"a": pd.array([1, 3], "Int64"), "b": pd.array([2, 4], "Float64")}), "f8"),
        (pd.DataFrame({"a": [1, 3], "b": [Decimal(2), Decimal(4)]}), "f8"),
        (pd.DataFrame(NUMBERS).astype(pd.SparseDtype(float)), "f8"),
        (pl.DataFrame({"a": [1, 3], "b": [2.0, 4.0]}), "f8"),
        (pl.DataFrame({"a": [Decimal(1), Decimal(3)], "b": [2, 4]}), "f8"),
    ],
    ids=str,
)
def test_numbers_in_any_container_are_an_array(given, dtype):
    table = as_table(given, "X")
    np.testing.assert_array_equal(table, NUMBERS)
    assert table.dtype == dtype


def test_quantized_tensors_are_read():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch gives them up
        quantized = torch.quantize_per_tensor(torch.tensor(NUMBERS).float(), 1.0, 0, torch.qint8)
    np.testing.assert_array_equal(as_table(quantized, "X"), NUMBERS)


@pytest.mark.parametrize("name", ["array_api_strict", "jax.numpy"])
def test_arrays_of_other_libraries_are_read(name):
    library = pytest.importorskip(name)
    np.testing.assert_array_equal(as_table(library.asarray([[1.0, 2], [3, 4]]), "X"), NUMBERS)


def test_halves_of_jax_are_read():
    jnp = pytest.importorskip("jax.numpy")
    table = as_table(jnp.asarray([[1.0, 2], [3, 4]], jnp.bfloat16), "X")
    np.testing.assert_array_equal(table, NUMBERS.astype(np.float32))


def test_tables_of_arrow_are_read():
    pa = pytest.importorskip("pyarrow")
    table = pa.table({"a": [1, 3], "b": [2.0, 4.0]})
    assert validated_data(Mean(), table, [1, 2], numeric=True)[0].tolist() == NUMBERS.tolist()
    coded = pa.table({"city": pa.array(["Rome", "Oslo"]).dictionary_encode()})
    with pytest.raises(ValueError, match="Column 'city' of X holds categories, such as 'Rome'"):
        as_table(coded, "X")
    frame = pd.DataFrame({"a": pd.array([1, None], "int64[pyarrow]")})
    assert as_table(frame, "X").tolist() == [[1], [pytest.approx(np.nan, nan_ok=True)]]


def test_booleans_are_numbers():
    for given in (torch.tensor([[True], [False]]), pd.DataFrame({"a": [True, False]})):
        assert validated_data(Mean(), given, [True, False], numeric=True)[0].tolist() == [[1], [0]]


DAYS = pd.to_datetime(["2020-01-01", "2020-01-02"])


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pd.Categorical(["Rome", "Oslo"]), "holds categories, such as 'Rome': set categorical_fe"),
        (pd.Categorical([7, 8]), "holds categories, such as 7: set categorical_features='from_d"),
        (["Rome", "Oslo"], "strings, could not convert string to float: 'Rome': make .*category'"),
        ([1.0, "Oslo"], "strings, could not convert string to float: 'Oslo': make it a category"),
        (["1.5", "2"], r"holds numbers as strings, such as '1.5'.*\.astype\(float\)"),
        ([b"a", b"b"], "could not convert string to float: b'a'"),
        (DAYS, "holds dates or times, such as 2020.*dayofyear"),
        (DAYS.tz_localize("UTC"), "holds dates or times, such as 2020.*dayofyear"),
        (DAYS.to_period("D"), "holds dates or times, such as 2020-01-01"),
        ([pd.NaT, DAYS[0]], "holds dates or times, such as 2020"),
        ([dt.time(3), dt.time(4)], "holds dates or times, such as 03:00"),
        (DAYS - DAYS[0], "holds durations, such as 0 .*total_seconds"),
        (pd.interval_range(0, 2), "holds intervals, such as \\(0, 1\\]"),
        ([1j, 2], "Complex data not supported"),
        (np.array([1, 10**400], dtype=object), "integers beyond 1.8e308"),
        ([np.zeros(2), np.zeros(2)], "holds arrays"),
        ([np.inf, 1], "infinity or a value too large .* in column 'when' \\(1 of 2 rows\\)"),
    ],
    ids=str,
)
def test_columns_of_pandas_that_are_no_numbers_are_named(column, message):
    frame = pd.DataFrame({"size": [1.0, 2.0], "when": column})
    numbers = pd.DataFrame(NUMBERS, columns=frame.columns)
    with pytest.raises(ValueError, match=message) as error:
        Mean().fit(frame, [1, 2])
    if "Complex" not in message:
        assert "column 'when'" in str(error.value) or "Column 'when' of X" in str(error.value)
    with pytest.raises(ValueError, match=re.split(": set|: make", message)[0]):
        Mean().fit(NUMBERS, frame)
    if "infinity" not in message:
        with pytest.raises(ValueError, match=r"X_val"):
            Mean().fit(numbers, [1, 2], X_val=frame, y_val=[1, 2])


@pytest.mark.parametrize(
    ("column", "read"),
    [
        ([None, 1], [np.nan, 1]),
        (np.array([pd.NA, 1], dtype=object), [np.nan, 1]),
        (pd.array([True, None], "boolean"), [1, np.nan]),
        (pd.array([3, None], "Int64"), [3, np.nan]),
        (pl.Series([None, None]), [np.nan, np.nan]),
        (pl.Series([True, None]), [1, np.nan]),
        (pl.Series([Decimal(1), None]), [1, np.nan]),
        (np.array(["NaT", "NaT"], "M8[D]"), [np.nan, np.nan]),
        (np.ma.array([3, 4], mask=[0, 1]), [3, np.nan]),
    ],
    ids=str,
)
def test_missing_values_are_read_in_features_and_refused_in_targets(column, read):
    container = pl if isinstance(column, pl.Series) else pd
    if isinstance(column, np.ma.MaskedArray):
        X, place = column[:, None], "NaN in column 0"
    else:
        X, place = container.DataFrame({"when": column}), "NaN in column 'when'"
    np.testing.assert_array_equal(as_table(X, "X"), np.transpose([read]))
    with pytest.raises(ValueError, match=place):
        Mean().fit(NUMBERS, X)
    columns = validated_data(Mean(), X, [1, 2], numeric=True)[0]
    known = np.nanmean(read) if np.isfinite(read).any() else 0.0
    expected = [np.where(np.isnan(read), known, read), np.isnan(read)]
    np.testing.assert_array_equal(columns, np.transpose(expected))


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (pl.Series(["Rome", "Oslo"], dtype=pl.Categorical), "holds categories, such as 'Rome'"),
        (pl.Series(["a", "b"], dtype=pl.Enum(["a", "b"])), "holds categories, such as 'a'"),
        (["Rome", None], "could not convert string to float: 'Rome'"),
        ([dt.date(2020, 1, 1), None], "holds dates or times, such as 2020-01-01"),
        ([dt.time(3), None], "holds dates or times, such as 03"),
        ([dt.timedelta(1), None], "holds durations"),
        ([[1], [2]], "holds arrays"),
        ([{"a": 1}, {"a": 2}], "holds arrays"),
        (pl.Series([[1, 2], [3, 4]], dtype=pl.Array(pl.Int64, 2)), "holds arrays"),
    ],
    ids=str,
)
def test_columns_of_polars_that_are_no_numbers_are_named(column, message):
    frame = pl.DataFrame({"size": [1.0, 2.0], "when": column})
    with pytest.raises(ValueError, match=message) as error:
        Mean().fit(frame, [1, 2])
    assert "olumn 'when'" in str(error.value)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ([["a", "b"]], "Column 0 of X holds strings, could not convert string to float: 'a'"),
        (np.array([[1, "b"]], dtype=object), "Column 1 of X holds strings, could not convert"),
        ([["1", "2"]], "Column 0 of X holds numbers as strings, such as '1'"),
        (np.array([[b"a"]]), "could not convert string to float: b'a'"),
        (np.array([["2020-01-01"]], "M8[D]"), "Column 0 of X holds dates or times, such as 2020"),
        (np.array([[5]], "m8[s]"), "Column 0 of X holds durations, such as 5 seconds"),
        (np.zeros((2, 1), [("a", float), ("b", int)]), "Column 0 of X holds arrays"),
        (np.array([[1j, 2]], dtype=object), "Complex data not supported"),
        ([[1j, 2]], "Complex data not supported"),
        (torch.ones(2, 2) * 1j, "Complex data not supported"),
        ([[1, 2], [3]], "X cannot be read as an array .* rows of one length"),
        (torch.ones(2, 2, device="meta"), "X cannot .* meta"),
        (torch.ones(2, 2).to_sparse(), "X cannot .*to_dense"),
        (np.array([1.0, 2.0]), "X: Expected 2D array, got 1D array"),
        (pd.Series([1.0, 2.0]), "X: Expected 2D array, got 1D array"),
        (3.0, "X: Expected 2D array, got scalar"),
        (np.ones((2, 2, 2)), "X: Found array with dim 3"),
        (np.ones((0, 2)), "X: Found array with 0 sample"),
        (np.ones((2, 0)), "X: Found array with 0 feature"),
        (pd.DataFrame(index=[0, 1]), "0 feature"),
        (pd.DataFrame([[1, 2], [3, 4]], columns=["a", "a"]), "Columns of X need names of their"),
    ],
    ids=str,
)
def test_arrays_that_are_no_tables_of_numbers_are_refused(X, message):
    with pytest.raises(ValueError, match=message):
        Mean().fit(X, [1, 2])


@pytest.mark.skipif(np.finfo(np.longdouble).maxexp <= 1024, reason="longdouble is float64 here")
def test_values_beyond_float64_are_refused():
    with pytest.raises(ValueError, match=r"Column 0 of X holds 1e\+400, too large"):
        as_table(np.array([[10], [1]], dtype=np.longdouble) ** 400, "X")
    assert np.isinf(as_table(np.full((2, 1), np.inf, np.longdouble), "X")).all()


@pytest.mark.parametrize(
    "given",
    [
        None,
        "table.csv",
        b"0",
        {"a": [1, 2]},
        {1, 2},
        (i for i in range(2)),
        object(),
        zip([1], [2], strict=True),
    ],
    ids=lambda given: type(given).__name__,
)
def test_what_is_no_container_is_named(given):
    for name in ("X", "X_val"):
        with pytest.raises(TypeError, match=rf"^{name} is of type {type(given).__name__}, but"):
            as_table(given, name)
        with pytest.raises(TypeError, match=rf"^{name} is of type {type(given).__name__}, but"):
            as_array(given, name)


def test_objects_and_lazy_frames_are_named():
    with pytest.raises(TypeError, match=r"Column 1 .* argument must be .* string.* number"):
        as_table(np.array([[1, {"foo": "bar"}]], dtype=object), "X")
    with pytest.raises(TypeError, match=r"X is lazy: pass X.collect\(\)"):
        as_table(pl.LazyFrame({"a": [1]}), "X")
    with pytest.raises(ValueError, match=r"X cannot be read as numbers .*128.*cast it"):
        as_table(pl.DataFrame({"a": pl.Series([1, 2], dtype=pl.Int128)}), "X")
    with pytest.raises(TypeError, match="Sparse data was passed for X"):
        Mean().fit(sparse.csr_array(NUMBERS), [1, 2])


@pytest.mark.parametrize(
    ("validation", "message"),
    [
        ({"X_val": [[np.inf, 1.0]]}, "Input X_val contains infinity .* in column 0"),
        ({"X_val": [[np.inf, np.inf]]}, r"column 0 \(1 of 1 rows\) and 1 more columns"),
        (
            {"X_val": np.ones((1, 3))},
            "^X_val has 3 features, but Mean is expecting 2 .*In a Pipeline, transform_input",
        ),
        ({"X_val": np.ones((0, 2))}, "X_val: Found array with 0 sample"),
        ({"X_val": [1.0, 2.0]}, "X_val: Expected 2D array"),
        ({"X_val": np.ones((2, 2))}, "X_val and y_val: .*inconsistent numbers of samples"),
        ({"y_val": [np.nan]}, "Input y_val contains NaN in 1 of 1 rows: leave"),
        ({"y_val": ["a"]}, "y_val holds strings, could not convert string to float: 'a': a reg"),
        ({"y_val": None}, "y_val is None"),
        ({"y_val": [1j]}, "Complex data not supported"),
        ({"y_val": 3.0}, "y_val"),
        ({"sample_weight_val": [0.0]}, "sample_weight_val must contain at least one non-zero"),
        ({"sample_weight_val": [-2.0]}, "Negative values in sample_weight_val, such as -2 in row"),
        ({"sample_weight_val": [np.nan]}, "Input sample_weight_val contains NaN"),
        ({"sample_weight_val": [1.0, 1.0]}, "sample_weight_val has shape .* vector of 1 weights"),
        ({"sample_weight_val": ["a"]}, "sample_weight_val holds strings"),
    ],
    ids=str,
)
def test_messages_on_validation_data_name_it(validation, message):
    given = {"X_val": [[1.0, 2.0]], "y_val": [1.0], **validation}
    with pytest.raises((ValueError, TypeError), match=message) as error:
        Mean().fit(NUMBERS, [1, 2], **given)
    assert error.value.__suppress_context__ or error.value.__context__ is None


def test_names_of_features_are_those_of_the_validation_data():
    frame = pd.DataFrame(NUMBERS, columns=["a", "b"])
    model = Mean().fit(frame, [1, 2], X_val=pl.from_pandas(frame), y_val=[1, 2])
    assert model.feature_names_in_.tolist() == ["a", "b"]
    with pytest.raises(ValueError, match="X_val: The feature names should match") as error:
        model.fit(frame, [1, 2], X_val=frame.rename(columns={"b": "c"}), y_val=[1, 2])
    assert "unseen at fit time:\n- c" in str(error.value)
    assert "In a Pipeline, transform_input=['X_val']" in str(error.value)
    with pytest.raises(ValueError, match="X: The feature names should match") as error:
        model.predict(frame[["b", "a"]])
    assert "Pipeline" not in str(error.value)
    with pytest.warns(UserWarning, match=r"^X_val does not have valid feature names.*Pipeline"):
        model.fit(frame, [1, 2], X_val=NUMBERS, y_val=[1, 2])
    with pytest.warns(UserWarning, match=r"^X does not have valid feature names") as caught:
        model.predict(NUMBERS)
    assert caught[0].filename == __file__
    with pytest.raises(TypeError, match="Feature names are only supported"):
        model.fit(pd.DataFrame(NUMBERS, columns=["a", 1]), [1, 2])


def test_a_refused_fit_leaves_the_features_of_the_last():
    model = Mean().fit(NUMBERS, [1, 2])
    for X, y, weights in [
        (np.ones((2, 3)), [1, np.nan], None),
        (np.ones((2, 3)), [1], None),
        (np.ones((2, 3)), [1, 2], 0.0),
    ]:
        with pytest.raises(ValueError, match=r"NaN|inconsistent|non-zero"):
            model.fit(X, y, weights)
        assert model.n_features_in_ == 2


def test_targets_keep_their_shape_and_precision():
    for y, expected in [
        ([1, 2], [1.0, 2.0]),
        ([[1], [2]], [[1.0], [2.0]]),
        (torch.tensor([1.0, 2.0], requires_grad=True), np.array([1, 2], "f4")),
        (pd.Series([1, 2], dtype="Int64"), [1.0, 2.0]),
        (pl.Series([1, 2]), [1.0, 2.0]),
        (pd.DataFrame({"a": [1, 2], "b": [3, 4]}), [[1.0, 3.0], [2.0, 4.0]]),
        (np.array([1, Decimal(2)], dtype=object), [1.0, 2.0]),
    ]:
        targets = validated_data(Mean(), NUMBERS, y, numeric=True)[1]
        np.testing.assert_array_equal(targets, expected)
        assert targets.dtype == np.asarray(expected).dtype
    with pytest.raises(ValueError, match=r"y holds categories, such as 'a': .*Classifier"):
        Mean().fit(NUMBERS, pd.Series(["a", "b"], dtype="category"))


def test_labels_stay_what_they_are():
    for y in (
        ["a", "b"],
        np.array(["a", "b"], dtype=object),
        pd.Series(["a", "b"]),
        pd.Series(["a", "b"], dtype="category"),
        pl.Series(["a", "b"]),
        pl.Series(["a", "b"], dtype=pl.Categorical),
    ):
        assert Prior().fit(NUMBERS, y, [1, 3]).predict(NUMBERS).tolist() == ["b", "b"]
    for y in (torch.tensor([0, 1]), torch.tensor([0.0, 1.0], requires_grad=True), [False, True]):
        assert Prior().fit(NUMBERS, y, [1, 3]).predict(NUMBERS).tolist() == [1, 1]
    with pytest.raises(ValueError, match=r"^y should be a 1d array, got .* shape \(2, 2\)"):
        Prior().fit(NUMBERS, pd.DataFrame({"a": [1, 2], "b": [3, 4]}))
    with pytest.raises(ValueError, match=r"^y_val should be a 1d array"):
        Prior().fit(NUMBERS, [0, 1], X_val=NUMBERS, y_val=NUMBERS)
    with pytest.raises(ValueError, match=r"Input y contains NaN"):
        Prior().fit(NUMBERS, [0.0, np.nan])
    with pytest.raises(ValueError, match=r"Complex data not supported"):
        Prior().fit(NUMBERS, [0.0, 1j])
    with pytest.raises(TypeError, match="y is of type dict"):
        Prior().fit(NUMBERS, {"a": 1})


@pytest.mark.parametrize(
    "weights",
    [2, 2.0, np.float32(2), Decimal(2), torch.tensor(2.0), [2, 2, 2], pd.Series([2, 2, 2])],
    ids=repr,
)
def test_weights_are_numbers_or_vectors(weights):
    np.testing.assert_array_equal(as_weights(weights, "sample_weight", 3), [2.0, 2.0, 2.0])
    np.testing.assert_array_equal(as_weights(None, "sample_weight", 3), [1.0, 1.0, 1.0])


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (np.ones((3, 1)), r"sample_weight has shape \(3, 1\), .* vector of 3 weights"),
        ("balanced", "sample_weight is of type str"),
        ({0: 1}, "sample_weight is of type dict"),
        (1j, "Complex data not supported"),
        (sparse.csr_array(np.ones((3, 1))), "sample_weight"),
        (np.inf, "Input sample_weight contains infinity"),
    ],
    ids=str,
)
def test_weights_that_cannot_be_are_refused(weights, message):
    with pytest.raises((TypeError, ValueError), match=message):
        as_weights(weights, "sample_weight", 3)


def test_huge_weights_do_not_overflow():
    weights = as_weights([1.7e308, 0.85e308, 5e-324], "sample_weight", 3)
    assert weights[0] == 2 * weights[1] > 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isfinite((1e6 * weights).sum())


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.uint64])
def test_small_integers_are_those_of_python(dtype):
    assert type(as_integer(dtype(52))) is int
    assert as_integer(dtype(52)) * 1000 == 52000
    assert as_integer("auto") == "auto"
    assert as_integer(None) is None
    assert as_integer(True) is True


def test_data_of_the_caller_stay_as_they_are():
    given = np.array([[1, Decimal(2)], [3, 4]], dtype=object)
    tensor = torch.tensor(NUMBERS, requires_grad=True)
    weights = np.array([1e300, 1e301])
    Mean().fit(given, [1, 2], weights).fit(tensor, [1, 2])
    assert given[0, 1] == Decimal(2)
    assert tensor.requires_grad
    assert weights.max() == 1e301
