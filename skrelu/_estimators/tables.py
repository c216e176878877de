"""Conversion of users' tables to arrays, with errors that name the argument and the column.

Frames and series are read through narwhals, as scikit-learn does. pandas, polars and
pyarrow are optional.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Hashable, Iterator, Mapping, Set
from functools import partial
from numbers import Integral

import narwhals.stable.v2 as nw
import numpy as np
import torch
from scipy.sparse import issparse
from sklearn import get_config
from sklearn.utils import check_array, check_consistent_length, column_or_1d
from sklearn.utils.validation import validate_data

from skrelu._data.columns import Columns, codes_of, is_missing, levels_of

FLOATS = (np.float64, np.float32)
# Largest sample weight. Sums of such weights times class weights do not overflow.
LARGEST_WEIGHT = 1e200

DATES = "dates or times", "turn them into numbers first, such as X['when'].dt.dayofyear in pandas"
DURATIONS = "durations", "turn them into numbers first, such as their .dt.total_seconds() in pandas"
ARRAYS = "arrays", "give each of their values a column of its own"
KINDS = {  # by the class name of a value: what the message calls it, and its advice
    **dict.fromkeys(("date", "time", "datetime64", "Period"), DATES),
    **dict.fromkeys(("timedelta", "timedelta64"), DURATIONS),
    **dict.fromkeys(("ndarray", "Series", "void"), ARRAYS),
    "Interval": ("intervals", "use numbers instead, such as their .mid"),
}
ENCODE = {  # advice for strings and categories, by the argument's name
    "X": "make it a category, for example by X.astype({'name': 'category'}) in pandas, name it in "
    "categorical_features, or leave it out",
    "y": "a regressor needs numbers; for labels there is ExponentialReLUClassifier",
}

# What may be wrong if the features of X_val are not those of X.
UNTRANSFORMED = (
    "In a Pipeline, transform_input=['X_val'] makes its steps transform X_val, as they transform X."
)

CATEGORIES = {  # advice for columns of categories that are none by the parameter
    "X": "set categorical_features='from_dtype', or leave it out",
    "y": ENCODE["y"],
}


def validated_data(estimator, X, y, sample_weight=None, *, suffix="", numeric, known=None):
    """Return inputs, targets and weights as arrays; set or check the estimator's features.

    Parameters
    ----------
    estimator : estimator
    X, y, sample_weight : object
        Arguments of `fit`.
    suffix : {"", "_val"}, default=""
        Suffix of their names in messages. Unless features are known, `n_features_in_` and
        `feature_names_in_` of the estimator are set after all checks.
    numeric : bool
        True if targets are numbers, in one or several columns; False if they are labels.
    known : bool, optional
        Whether X is checked against the estimator's features; by default if there is a suffix.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features)
    y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
    sample_weight : ndarray of shape (n_samples,)

    Raises
    ------
    TypeError
        If an argument is not array-like, or contains objects that are not numbers.
    ValueError
        If values, shapes or names are invalid.
    """
    X_name, y_name = f"X{suffix}", f"y{suffix}"
    if y is None:
        raise ValueError(
            f"This {type(estimator).__name__} estimator requires y to be passed, but the target "
            f"{y_name} is None."
        )
    known = bool(suffix) if known is None else known
    table, categories = read_inputs(estimator, X, X_name, check=known)
    if numeric:
        targets = _checked(estimator, y, y_name, ensure_2d=False)
    else:
        is_framed = isinstance(_native(y, y_name), nw.DataFrame | nw.Series)
        labels = y if is_framed else as_array(y, y_name)
        labels = _named(y_name, column_or_1d, labels, warn=True, input_name=y_name)
        parameters = {"ensure_2d": False, "dtype": None, "input_name": y_name}
        targets = _named(y_name, check_array, labels, **parameters)
    _named(f"{X_name} and {y_name}", check_consistent_length, table, targets)
    weights = as_weights(sample_weight, f"sample_weight{suffix}", len(table))
    if not known:
        set_features(estimator, table if _columns(X, X_name) is None else X, X_name, reset=True)
        columns = getattr(estimator, "_columns", None) if estimator.warm_start else None
        if columns is None or len(columns["n_levels"]) != table.shape[1]:
            _learn(estimator, table, categories, weights)
    return _expanded(estimator, table, categories), targets, weights


def validated_inputs(estimator, X, name="X"):
    """Return inputs of a fitted estimator as columns; errors are those of `validated_data`."""
    if _are_columns(estimator, X):  # a row takes a third of the time
        return X
    return _expanded(estimator, *read_inputs(estimator, X, name, check=True))


def _are_columns(estimator, X) -> bool:
    """Return whether inputs are an array that needs no check and no change."""
    fits = (
        type(X) is np.ndarray
        and X.dtype in FLOATS
        and X.ndim == 2
        and len(X) > 0
        and X.shape[1] == estimator.n_features_in_
        and not hasattr(estimator, "feature_names_in_")
        and columns_of(estimator).plain
    )
    if not fits:
        return False
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(X.sum()))


def columns_of(estimator) -> Columns:
    """Return how features of a fitted estimator become columns."""
    kept = getattr(estimator, "_columns", None)  # models of earlier formats have plain columns
    if kept is None:
        n = estimator.n_features_in_
        return Columns((0,) * n, (0.0,) * n, (False,) * n)
    return Columns(*map(tuple, (kept["n_levels"], kept["fills"], kept["marked"])))


def _learn(estimator, table, categories, weights):
    """Set the levels of categories and how features become columns."""
    levels: list[list | None] = [None] * table.shape[1]
    n_levels = [0] * table.shape[1]
    if categories:
        table = np.array(table)
    for j, values in categories.items():
        kept = levels[j] = levels_of(values, weights)
        seen = {v for v, weight in zip(values, weights.tolist(), strict=True) if weight > 0}
        pooled = sum(not is_missing(value) for value in seen) > len(kept)
        n_levels[j] = max(2, len(kept) + pooled)  # a constant has a column of zeros
        table[:, j] = codes_of(values, kept, pooled)
    columns = Columns.of(table if weights.all() else table[weights > 0], n_levels)
    estimator.categories_ = levels
    estimator._columns = {
        "n_levels": list(columns.n_levels),
        "fills": list(columns.fills),
        "marked": list(columns.marked),
    }


def _expanded(estimator, table, categories):
    """Return the columns of a table, given the values of its categories."""
    columns = columns_of(estimator)
    if categories:
        table = np.array(table)
    for j, values in categories.items():
        levels = estimator.categories_[j]
        table[:, j] = codes_of(values, levels, columns.n_levels[j] > max(2, len(levels)))
    return columns.expand(table)


def as_features(values, name, chosen):
    """Return features as numbers, and the values of categories by feature.

    Parameters
    ----------
    values : object
    name : str
    chosen : callable
        Function of the names of columns (None for arrays) and of their number that returns the
        indices of categories, None for those with a categorical dtype.

    Returns
    -------
    table : ndarray of shape (n_samples, n_features)
        Categories are NaN.
    categories : dict of int to list
    """
    frame = _native(values, name)
    if isinstance(frame, nw.DataFrame):
        by_dtype = [isinstance(t, nw.Categorical | nw.Enum) for t in frame.schema.values()]
        indices = chosen(frame.columns, len(frame.columns))
        if indices is None:
            indices = np.flatnonzero(by_dtype).tolist()
        if not indices:
            return as_table(values, name), {}
        columns, categories = [], {}
        for j, series in enumerate(frame.iter_columns()):
            if j in indices:
                categories[j] = _levels(series.to_list(), f"Column {series.name!r} of {name}")
                columns.append(np.full(len(series), np.nan))
            else:
                columns.append(_numbers_of(series, f"Column {series.name!r} of {name}"))
        return np.column_stack(columns), categories
    if isinstance(frame, nw.Series):
        return as_table(values, name), {}
    array = as_array(values, name)
    is_table = not issparse(array) and array.ndim == 2
    indices = chosen(None, array.shape[1]) if is_table else None
    if not indices:
        return as_table(values, name), {}
    categories = {j: _levels(array[:, j].tolist(), f"Column {j} of {name}") for j in indices}
    table = np.full(array.shape, np.nan)
    for j in set(range(array.shape[1])) - categories.keys():
        table[:, j] = _numbers(array[:, j], f"Column {j} of {name}")
    return table, categories


def _levels(values, place):
    """Return the values of a category, which must be hashable."""
    for value in values:
        if not isinstance(value, Hashable):
            raise TypeError(
                f"{place} is a category, but holds {value!r} of type {type(value).__name__}: "
                "levels must be strings, numbers or booleans."
            )
    return values


def chosen_categories(estimator, fitted, names, n_features):
    """Return the indices of `categorical_features`; None for those with a categorical dtype.

    If ``fitted``, categories are those of the fit.
    """
    known = getattr(estimator, "categories_", None) if fitted else None
    if known is not None and len(known) == n_features:
        return [j for j, levels in enumerate(known) if levels is not None]
    given = estimator.categorical_features
    if given is None:
        return []
    if isinstance(given, str) and given == "from_dtype":
        return None
    names = getattr(estimator, "feature_names_in_", None) if names is None else names
    listed = np.asarray(given)
    if listed.ndim != 1 or (listed.size and listed.dtype.kind not in "biuOUS"):
        raise ValueError(
            f"categorical_features={given!r}, but it must be 'from_dtype', None, or a list of "
            "names, indices or booleans."
        )
    if listed.dtype.kind == "b":
        if len(listed) != n_features:
            raise ValueError(
                f"categorical_features has {len(listed)} booleans, but there are {n_features} "
                "features: give one for each."
            )
        return np.flatnonzero(listed).tolist()
    found = []
    for key in listed.tolist():
        if isinstance(key, str) and names is not None and key in list(names):
            found.append(list(names).index(key))
        elif isinstance(key, Integral) and -n_features <= key < n_features:
            found.append(int(key) % n_features)
        else:
            known = f"0 to {n_features - 1}" if names is None else f"{list(names)}"
            raise ValueError(
                f"categorical_features names the feature {key!r}, but features are {known}."
            )
    return sorted(set(found))


def as_table(values, name):
    """Return an array, tensor, frame, series, or lists of these, as an array of numbers.

    Missing values become NaN. Sparse matrices and complex numbers are returned unchanged, because
    scikit-learn raises the error for them.

    Raises
    ------
    TypeError
        If ``values`` is not array-like, or contains objects that are not numbers.
    ValueError
        If it contains strings, categories, dates, durations, arrays, or too large numbers.
    """
    frame = _native(values, name)
    if isinstance(frame, nw.Series):
        return _numbers_of(frame, name)
    if isinstance(frame, nw.DataFrame):
        if all(dtype.is_integer() or dtype.is_float() for dtype in frame.schema.values()):
            return _values_of(frame, name)  # fast for thousands of columns
        columns = [_numbers_of(c, f"Column {c.name!r} of {name}") for c in frame.iter_columns()]
        return np.column_stack(columns) if columns else np.empty(frame.shape)
    array = as_array(values, name)
    if issparse(array) or _holds_numbers(array):
        return array
    if array.ndim != 2:
        return _numbers(array.ravel(), name).reshape(array.shape)
    columns = [_numbers(column, f"Column {i} of {name}") for i, column in enumerate(array.T)]
    return np.column_stack(columns) if columns else np.empty(array.shape)


def as_array(values, name):
    """Return an array, tensor, or lists of these, as an array of any dtype.

    Raises
    ------
    TypeError
        If ``values`` is not array-like.
    ValueError
        If it cannot be converted to an array.
    """
    if issparse(values):
        return values
    if values is not None and not isinstance(values, str | bytes | Mapping | Set | Iterator):
        try:
            array = _read(values)
        except (TypeError, ValueError, RuntimeError, BufferError) as error:
            raise ValueError(
                f"{name} cannot be read as an array ({error}): pass an array of numbers, or a "
                "list of rows of one length."
            ) from None
        if array.ndim or array.dtype != object or hasattr(values, "__float__"):
            return array
    raise TypeError(
        f"{name} is of type {type(values).__name__}, but values are needed: pass an array, a "
        "DataFrame or a list."
    )


def as_weights(weights, name, n_samples):
    """Return one weight for each row.

    ``weights`` is one number for all rows, one for each row, or None for ones. If the largest is
    above 1e200, all are divided by the same number so that it is 1e200: only ratios matter.

    Raises
    ------
    TypeError
        If ``weights`` is not array-like, or contains objects that are not numbers.
    ValueError
        If weights are not numbers, not one a row, not finite, negative, or all 0.
    """
    if weights is None:
        return np.ones(n_samples)
    values = as_table(weights, name)
    if values.ndim and values.shape != (n_samples,):
        raise ValueError(
            f"{name} has shape {values.shape}, but must be a vector of {n_samples} weights, one "
            "for each row, or a number."
        )
    if values.dtype.kind == "c":
        raise ValueError(f"Complex data not supported: {name} must be real.")
    values = np.array(np.broadcast_to(values, n_samples), float)
    _refuse_nonfinite(values, name)
    if np.any(values < 0):
        row = values.argmin()
        raise ValueError(
            f"Negative values in {name}, such as {values[row]:g} in row {row}: make them 0 or more."
        )
    if not np.any(values):
        raise ValueError(f"{name} must contain at least one non-zero number.")
    return values / max(1.0, values.max() / LARGEST_WEIGHT)


def as_integer(value):
    """Return an integer as a Python int, because numpy's overflow; anything else unchanged."""
    return int(value) if isinstance(value, Integral) and not isinstance(value, bool) else value


def read_inputs(estimator, X, name, *, check):
    """Return inputs as numbers and categories. Named features are checked before the values."""
    is_frame = _columns(X, name) is not None
    if check and is_frame:
        set_features(estimator, X, name, reset=False)
    found = {}

    def read(values, name):
        choose = partial(chosen_categories, estimator, check or estimator.warm_start)
        table, found["categories"] = as_features(values, name, choose)
        return table

    table = _checked(estimator, X, name, read=read, ensure_all_finite="allow-nan")
    if check and not is_frame:
        set_features(estimator, table, name, reset=False)
    return table, found["categories"]


def _checked(estimator, values, name, *, read=as_table, **parameters):
    """Return values as numbers, checked by scikit-learn."""
    table = read(values, name)
    _refuse_nonfinite(
        table, name, _columns(values, name), allow_nan="ensure_all_finite" in parameters
    )
    parameters |= {"dtype": FLOATS, "estimator": estimator, "input_name": name}
    return _named(name, check_array, table, **parameters)


def set_features(estimator, X, name, *, reset):
    """Set or check the number and names of the estimator's features; X may have no rows."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            _named(name, validate_data, estimator, X, reset=reset, skip_check_array=True)
        except ValueError as error:
            raise ValueError(_with_remedy(str(error), name)) from None
    for warning in caught:  # feature names are missing in X or in the estimator
        text = _with_remedy(_rename(str(warning.message), name), name)
        warnings.warn(text, warning.category, stacklevel=5)


def _with_remedy(text, name):
    """Return a message about features; that of validation data says what steps may have missed."""
    if name != "X_val":
        return text
    text = text.rstrip()
    return f"{text}{'' if text.endswith('.') else '.'} {UNTRANSFORMED}"


def _named(name, check, *args, **kwargs):
    """Call a check of scikit-learn whose error messages then name the argument."""
    try:
        return check(*args, **kwargs)
    except (TypeError, ValueError) as error:
        raise type(error)(_rename(str(error), name)) from None


def _rename(text, name):
    text = re.sub("^[Xy](?= )", name, text)
    return text if re.search(rf"\b{name}\b", text) else f"{name}: {text}"


def _refuse_nonfinite(array, name, columns=None, *, allow_nan=False):
    """Raise an error that says where NaN or infinity are, with scikit-learn's wording."""
    if issparse(array) or array.dtype.kind != "f" or get_config()["assume_finite"]:
        return
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(array.sum()):
            return
    bad, what = np.isnan(array) & (not allow_nan), "NaN"
    if not bad.any():
        bad, what = np.isinf(array), f"infinity or a value too large for {array.dtype!r}"
    if not bad.any():
        return
    where = f"{np.count_nonzero(bad.reshape(len(bad), -1).any(1))} of {len(bad)} rows"
    if bad.ndim == 2:
        first, *others = np.flatnonzero(bad.any(0))
        label = first if columns is None else repr(columns[first])
        where = f"column {label} ({np.count_nonzero(bad[:, first])} of {len(bad)} rows)"
        where += f" and {len(others)} more columns" * bool(others)
    raise ValueError(f"Input {name} contains {what} in {where}: leave such rows out.")


def _columns(values, name):
    """Return the column names of a frame, None for anything else."""
    frame = _native(values, name)
    return frame.columns if isinstance(frame, nw.DataFrame) else None


def _native(values, name):
    """Return frames and series of any library as those of narwhals, anything else unchanged."""
    if isinstance(values, np.ndarray):
        return values
    try:
        frame = nw.from_native(values, pass_through=True, allow_series=True)
    except nw.exceptions.DuplicateError as error:
        raise ValueError(f"Columns of {name} need names of their own. {error}") from None
    if isinstance(frame, nw.LazyFrame):
        raise TypeError(f"{name} is lazy: pass {name}.collect().")
    if type(frame).__name__ == "RecordBatch":  # as an array it would lose its names
        raise TypeError(
            f"{name} is one batch of a table: pass pyarrow.Table.from_batches([{name}])."
        )
    return frame


def _read(values):
    if isinstance(values, np.ma.MaskedArray) and np.any(values.mask):
        return values.astype(float).filled(np.nan)  # type: ignore[attr-defined]
    if hasattr(values, "__dlpack__") and not hasattr(values, "__array__"):
        return np.from_dlpack(values)
    array = np.asarray(_without_tensors(values))
    if array.dtype.kind == "V" and array.dtype.names is None:  # bfloat16 of jax
        return array.astype(np.float32)
    return array


def _without_tensors(values):
    """Return tensors, also in lists, as arrays: numpy cannot read gradients and bfloat16."""
    first = values
    while isinstance(first, list | tuple) and first:
        first = first[0]
    if not isinstance(first, torch.Tensor):
        return values
    if not isinstance(values, torch.Tensor):
        return [_without_tensors(value) for value in values]
    if values.is_meta:
        raise ValueError("tensors on the meta device have no values")
    if values.layout != torch.strided or values.is_nested:
        raise ValueError("it is sparse or nested; see its to_dense and to_padded_tensor")
    values = values.dequantize() if values.is_quantized else values
    values = values.detach().cpu().resolve_conj().resolve_neg()
    short = values.is_floating_point() and values.dtype not in (torch.float32, torch.float64)
    return (values.float() if short else values).numpy()


def _holds_numbers(array):
    return array.dtype.kind in "biuc" or (array.dtype.kind == "f" and array.dtype.itemsize <= 8)


def _numbers_of(series, place):
    """Return a series as an array of numbers; messages name it by ``place``."""
    if isinstance(series.dtype, nw.Categorical | nw.Enum):
        value = next(iter(series.drop_nulls()), None)
        advice = CATEGORIES.get(_argument(place), "numbers are needed")
        raise ValueError(f"{place} holds categories, such as {value!r}: {advice}.")
    values = _values_of(series, place)
    if values.ndim > 1:
        raise ValueError(f"{place} holds {ARRAYS[0]}: {ARRAYS[1]}.")
    return _numbers(values, place)


def _values_of(native, place):
    try:
        return native.to_numpy()
    except Exception as error:  # each library raises its own exceptions
        raise ValueError(f"{place} cannot be read as numbers ({error}): cast it first.") from None


def _numbers(values, place):
    """Return a vector as numbers."""
    if _holds_numbers(values):
        return values
    if values.dtype.kind == "f":  # longdouble
        with np.errstate(over="ignore"):
            floats = values.astype(float)
        for large in values[np.isinf(floats) & np.isfinite(values)]:
            raise ValueError(f"{place} holds {large!s}, too large for float64: scale it.")
        return floats
    entries = values.tolist() if values.dtype.kind in "US" else values
    try:
        return np.array([_number(value, place) for value in entries], float)
    except OverflowError:
        raise ValueError(f"{place} holds integers beyond 1.8e308: scale it.") from None


def _number(value, place):
    if type(value) in (float, int):  # most values; the code below takes thirty times as long
        return float(value)
    kinds = [cls.__name__ for cls in type(value).__mro__]
    is_numpy_time = isinstance(value, np.datetime64 | np.timedelta64)
    if value is None or kinds[0] in ("NAType", "NaTType") or (is_numpy_time and np.isnat(value)):
        return np.nan
    for kind, advice in (KINDS[kind] for kind in kinds if kind in KINDS):
        raise ValueError(f"{place} holds {kind}, such as {value}: {advice}.")
    if isinstance(value, complex | np.complexfloating):
        raise ValueError(f"Complex data not supported: {place} holds {value}.")
    try:
        number = float(value)
    except ValueError as error:
        raise ValueError(f"{place} holds strings, {error}: {_encode(place)}.") from None
    except TypeError as error:
        raise TypeError(f"{place} holds {value!r}: {error}. Take numbers out first.") from None
    if isinstance(value, str | bytes):
        raise ValueError(
            f"{place} holds numbers as strings, such as {value!r}: turn them into numbers first, "
            "for example with .astype(float)."
        )
    return number


def _encode(place):
    advice = ENCODE.get(_argument(place), "numbers are needed")
    named = re.match("Column ('.*') of", place)
    return advice.replace("'name'", named[1]) if named else advice


def _argument(place):
    return place.split()[-1].removesuffix("_val")
