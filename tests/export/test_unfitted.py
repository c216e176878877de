"""Exports need a fit."""

import pytest
from sklearn.exceptions import NotFittedError

from skrelu import ExponentialReLUClassifier, ExponentialReLURegressor


@pytest.mark.parametrize("estimator", [ExponentialReLUClassifier(), ExponentialReLURegressor()])
@pytest.mark.parametrize("method", ["to_torch", "to_onnx", "to_sklearn", "to_c"])
def test_models_that_are_not_fitted_are_refused(estimator, method):
    with pytest.raises(NotFittedError):
        getattr(estimator, method)()
