"""ReLU networks with exponentially many linear regions, as scikit-learn estimators."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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

# Imported at first use: skrelu.nn needs no scikit-learn, whose import takes as long as torch's.
_MODULES = {
    "CompressedClassifier": "skrelu.compression",
    "CompressedRegressor": "skrelu.compression",
    "ExponentialReLUClassifier": "skrelu._estimators.classifier",
    "ExponentialReLURegressor": "skrelu._estimators.regressor",
    "compress": "skrelu.compression",
}
_SUBMODULES = ("compression", "inspection", "nn", "onnx", "optimize", "regions")


def __getattr__(name):
    if name in _SUBMODULES:
        return import_module(f"skrelu.{name}")
    if name not in _MODULES:
        raise AttributeError(f"module 'skrelu' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__():
    return sorted({*globals(), *__all__, *_SUBMODULES})
