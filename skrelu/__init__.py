"""ReLU networks with exponentially many linear regions, as scikit-learn estimators."""

from skrelu._estimators.classifier import ExponentialReLUClassifier
from skrelu._estimators.regressor import ExponentialReLURegressor

__version__ = "0.1.0"
__all__ = ["ExponentialReLUClassifier", "ExponentialReLURegressor", "__version__"]

for _estimator in (ExponentialReLURegressor, ExponentialReLUClassifier):
    _estimator.__module__ = "skrelu"  # saved models name the public place, wherever the code is
