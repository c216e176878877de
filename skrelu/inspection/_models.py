"""The models that displays draw, and the data that these read."""

from __future__ import annotations

from typing import Any

from sklearn.utils.validation import check_is_fitted

from skrelu._estimators.array_api import as_numpy, in_numpy
from skrelu.regions._inside import inside


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
