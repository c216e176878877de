"""ReLU networks with exponentially many linear regions, as scikit-learn estimators."""

from skrelu._estimators.classifier import ExponentialReLUClassifier
from skrelu._estimators.regressor import ExponentialReLURegressor
from skrelu.compression import CompressedClassifier, CompressedRegressor, compress

__version__ = "0.1.0"
__all__ = [
    "CompressedClassifier",
    "CompressedRegressor",
    "ExponentialReLUClassifier",
    "ExponentialReLURegressor",
    "__version__",
    "compress",
]

for _estimator in (
    ExponentialReLURegressor,
    ExponentialReLUClassifier,
    CompressedRegressor,
    CompressedClassifier,
):
    _estimator.__module__ = "skrelu"  # saved models name the public place, wherever the code is
