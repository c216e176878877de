"""Dask collections as aligned partitions, and functions of a model over these."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any, NamedTuple

import numpy as np

from skrelu._estimators.tables import chosen_categories

try:
    import dask
    import dask.array as da
except ImportError as error:
    raise ImportError('skrelu.dask needs dask: pip install "skrelu[dask]".') from error

ALIGN = (
    "Take all of them from one collection, or give them the same chunks: for arrays "
    "compute_chunk_sizes() and rechunk, for dataframes to_dask_array(lengths=True)"
)


# Partial results that are added at once: the products of 4000 columns take 130 MB.
ADDED_AT_ONCE = 2


class Part(NamedTuple):
    """Some rows. Its fields are delayed until a worker has them."""

    number: int
    X: Any
    y: Any
    weights: Any


class Partitions(NamedTuple):
    """All rows of a fit, in parts that a worker holds at once."""

    parts: list[Part]
    empty: Any  # X without rows
    collections: tuple[Any, Any, Any]  # X, y and weights as they were given


def partitions_of(X: Any, y: Any, sample_weight: Any, model: Any) -> Partitions:
    """Return the partitions of X, y and weights, for an estimator of skrelu.

    Raises
    ------
    TypeError
        If an argument is no dask array or dataframe.
    ValueError
        If columns are no numbers, or partitions cannot be aligned.
    """
    given = {"X": X, "y": y, "sample_weight": sample_weight}
    given = {name: value for name, value in given.items() if value is not None}
    if y is None:
        raise ValueError("y is None, but targets are needed.")
    for name, value in given.items():
        _check(name, value, 2 if name == "X" else 1)
    if _is_frame(X):
        _check_dtypes(X, chosen_categories(model, False, X.columns, len(X.columns)) or ())
    chunked = _with_equal_chunks(given)
    blocks = {name: _blocks(value) for name, value in chunked.items()}
    counts = {name: len(found) for name, found in blocks.items()}
    if len(set(counts.values())) > 1:
        told = ", ".join(f"{name} has {count}" for name, count in counts.items())
        raise ValueError(f"Partitions are not aligned: {told}. {ALIGN}.")
    weights = blocks.get("sample_weight", [None] * counts["X"])
    parts = map(Part, range(counts["X"]), blocks["X"], blocks["y"], weights)
    empty = X._meta if _is_frame(X) else np.empty((0, X.shape[1]))
    return Partitions(list(parts), empty, (X, y, sample_weight))


def lengths_checked(part: Part) -> None:
    """Raise an error if the rows of X, y and weights do not belong together."""
    others = {"y": part.y, "sample_weight": part.weights}
    for name, other in others.items():
        if other is None:
            continue
        if len(other) != len(part.X):
            raise ValueError(f"X has {len(part.X)} rows, but {name} has {len(other)}. {ALIGN}.")
        indexed = hasattr(other, "index") and hasattr(part.X, "index")
        if indexed and not part.X.index.equals(other.index):
            raise ValueError(f"X and {name} have different indices. {ALIGN}.")


def mapped(function: str, model: Any, X: Any, dtype: Any, tail: tuple[int, ...]) -> Any:
    """Return what a method of a model makes of each partition, as a lazy dask array.

    Parameters
    ----------
    function : str
        Name of the method.
    model : estimator
    X : dask array or dataframe, or anything that the method takes
        Other inputs than dask's get its result at once.
    dtype : dtype
    tail : tuple of int
        Shape of the result for a row.
    """
    if not dask.is_dask_collection(X):
        return getattr(model, function)(X)
    _check("X", X, 2)
    lengths: Sequence[float] = [np.nan] * X.npartitions
    if not _is_frame(X):
        X = X.rechunk({1: -1})
        lengths = X.chunks[0]
    kept = dask.delayed(model, traverse=False)
    call = dask.delayed(_call, pure=True)
    parts = [
        da.from_delayed(call(function, kept, block, dtype, tail), (length, *tail), dtype)
        for block, length in zip(_blocks(X), lengths, strict=True)
    ]
    return da.concatenate(parts)


def _call(function: str, model: Any, X: Any, dtype: Any, tail: tuple[int, ...]) -> Any:
    if not len(X):
        return np.empty((0, *tail), dtype)
    return np.asarray(getattr(model, function)(X), dtype)


def _is_frame(values: Any) -> bool:
    return hasattr(values, "divisions")


def _blocks(values: Any) -> list[Any]:
    blocks = values.to_delayed()
    return list(blocks) if _is_frame(values) else blocks.ravel().tolist()


def _check(name: str, values: Any, ndim: int) -> None:
    """Raise an error unless values are a dask array or dataframe of ``ndim`` or more dimensions."""
    if not (_is_frame(values) or isinstance(values, da.Array)):
        raise TypeError(
            f"{name} is of type {type(values).__name__}, but a dask array or dataframe is needed: "
            "see dask.array.from_array and dask.dataframe.from_pandas. For data in the memory of "
            "one machine there are skrelu.ExponentialReLURegressor and ExponentialReLUClassifier."
        )
    if not ndim <= values.ndim <= 2 or (name == "sample_weight" and values.ndim > 1):
        raise ValueError(f"{name} has {values.ndim} dimensions, but {ndim} are needed.")


def _check_dtypes(X: Any, categories: Sequence[int]) -> None:
    """Raise an error for columns of strings or objects that are no categories."""
    for place, (name, dtype) in enumerate(X.dtypes.items()):
        if place not in categories and (dtype.kind == "O" and str(dtype) != "category"):
            raise ValueError(
                f"Column {name!r} of X holds objects or strings ({dtype}): make it a category "
                f"by X.astype({{{name!r}: 'category'}}), name it in categorical_features, or "
                "leave it out."
            )


def _with_equal_chunks(given: dict[str, Any]) -> dict[str, Any]:
    """Return collections whose partitions have the same rows, as far as chunk sizes are known."""
    arrays = {name: value for name, value in given.items() if not _is_frame(value)}
    arrays = {
        name: value.rechunk({1: -1}) if value.ndim > 1 else value for name, value in arrays.items()
    }
    known = {name: value for name, value in arrays.items() if not np.isnan(value.shape[0])}
    if len(known) > 1:
        lengths = {name: value.shape[0] for name, value in known.items()}
        if len(set(lengths.values())) > 1:
            told = ", ".join(f"{name} has {length}" for name, length in lengths.items())
            raise ValueError(f"Numbers of rows differ: {told}.")
        chunks = next(iter(known.values())).chunks[0]
        known = {name: value.rechunk({0: chunks}) for name, value in known.items()}
    return {**given, **arrays, **known}


def sum_of(tasks: list) -> Any:
    """Return the sum of the results of tasks, added in a tree of fixed order."""
    add = dask.delayed(_added)
    while len(tasks) > 1:
        size = ADDED_AT_ONCE
        tasks = [add(tasks[i : i + size]) for i in range(0, len(tasks), size)]
    return dask.compute(tasks[0])[0]


def _added(found: list) -> Any:
    return reduce(lambda one, other: one.plus(other), found)
