"""The models that displays draw, and the data that these read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from sklearn.utils.validation import check_is_fitted

from skrelu._estimators.array_api import as_numpy, in_numpy
from skrelu.regions._inside import inside

Kind = TypeVar("Kind")


def checked(estimator: Any) -> Any:
    """Return an estimator that is a fitted model of this package.

    Raises
    ------
    TypeError
        If it is another one.
    ValueError
        If it is not fitted.
    """
    if not hasattr(estimator, "predict_contributions"):
        raise TypeError(
            f"Cannot draw a {type(estimator).__name__}; give a fitted ExponentialReLURegressor "
            "or ExponentialReLUClassifier, or a Pipeline that ends with one."
        )
    check_is_fitted(estimator, "intercept_")
    return estimator


def model_and_data(estimator: Any, X: Any) -> tuple[Any, Any, list[str]]:
    """Return the model inside an estimator, the data that it reads, and names of all features.

    Errors are those of `checked` and `inside`.
    """
    estimator, X, names = inside(estimator, X)
    estimator = in_numpy(checked(estimator))
    return estimator, as_numpy(X), names or [f"x{j}" for j in range(estimator.n_features_in_)]


def all_of(kind: type[Kind], given: Iterable[Kind], name: str) -> list[Kind]:
    """Return what a display draws as a list.

    Raises
    ------
    TypeError
        If it is not all of this kind.
    ValueError
        If there is nothing.
    """
    found = list(given) if isinstance(given, Iterable) else [given]
    if not found:
        raise ValueError(f"{name} is empty; give one or more.")
    for one in found:
        if not isinstance(one, kind):
            raise TypeError(
                f"{name} has a {type(one).__name__}; give a list of {kind.__name__}, or use "
                "from_estimator."
            )
    return found
