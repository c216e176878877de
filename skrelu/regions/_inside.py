"""Models that contain a network, and the data that this network reads."""

from __future__ import annotations

from typing import Any

import numpy as np
from narwhals.dependencies import is_pyarrow_table
from scipy.sparse import issparse
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from skrelu.regions._checks import Array, as_floats, as_integer, shown

# Attributes of scikit-learn's models that hold a fitted model of the same data, by class name.
INSIDE = {
    "BaseSearchCV": "best_estimator_",
    "TransformedTargetRegressor": "regressor_",
    "FrozenEstimator": "estimator",
    "BaseThresholdClassifier": "estimator_",
}


def innermost(estimator: Any) -> Any:
    """Return the network inside a model.

    Raises
    ------
    ValueError
        If the network was not kept.
    """
    while True:
        if isinstance(estimator, Pipeline):
            check_is_fitted(estimator)
            estimator = estimator[-1]
        elif (held := _held(estimator)) is not None:
            estimator = held
        else:
            return estimator


def _held(estimator: Any) -> Any:
    """Return the fitted model that a search or the like holds; None for other models."""
    names = INSIDE.keys() & {cls.__name__ for cls in type(estimator).__mro__}
    if not names:
        return None
    check_is_fitted(estimator)
    attribute = INSIDE[names.pop()]
    if not hasattr(estimator, attribute):
        raise ValueError(f"{type(estimator).__name__} has no {attribute}; fit it with refit=True.")
    return getattr(estimator, attribute)


def inside(estimator: Any, X: Any) -> tuple[Any, Any, list[str]]:
    """Return the network inside a model, the data that it reads, and their feature names.

    The data are transformed by the steps of a pipeline before the last one.

    Raises
    ------
    ValueError
        If the columns of a table differ from those of the fit, or the network was not kept.
    """
    names: list[str] = []
    while True:
        if isinstance(estimator, Pipeline):
            check_is_fitted(estimator)
            if len(estimator) > 1:
                steps = estimator[:-1]
                X, names = steps.transform(X), _names_out(steps)
            estimator = estimator[-1]
        elif (held := _held(estimator)) is not None:
            estimator = held
        else:
            break
    fitted = [str(name) for name in getattr(estimator, "feature_names_in_", ())]
    columns = [str(name) for name in _columns(X)]
    if fitted and columns and fitted != columns:
        raise ValueError(
            f"X has columns {shown(columns)}, but the model was fitted to {shown(fitted)}; give "
            "these, in this order."
        )
    return estimator, X.toarray() if issparse(X) else X, fitted or columns or names


def as_table(X: Any, n_features: int) -> Array:
    """Return data as an array of shape (n_samples, n_features) with at least one row."""
    data = as_floats(X, "X", finite=False)
    fits = data.ndim == 2 and data.shape[1] == n_features and len(data) > 0
    if not fits or not np.isfinite(data).all():
        raise ValueError(
            f"X has shape {data.shape}, but has to be finite with one or more rows of the "
            f"{n_features} features that the model reads."
        )
    return data


def checked_output(output: Any, n_outputs: int) -> int:
    """Return the index of an output, not negative; a negative one counts from the end."""
    chosen = as_integer(output)
    if chosen is None or not -n_outputs <= chosen < n_outputs:
        raise ValueError(
            f"output={shown(output)}, but the network has {n_outputs} outputs: the model's outputs "
            f"are 0 to {n_outputs - 1}."
        )
    return chosen % n_outputs


def _columns(X: Any) -> Any:
    return X.column_names if is_pyarrow_table(X) else getattr(X, "columns", ())


def _names_out(steps: Pipeline) -> list[str]:
    try:
        return [str(name) for name in steps.get_feature_names_out()]
    except Exception:  # steps without feature names may raise any exception
        return []
