"""Small networks that predict what a fitted model predicts."""

from skrelu.compression._compress import compress
from skrelu.compression._estimators import CompressedClassifier, CompressedRegressor

__all__ = ["CompressedClassifier", "CompressedRegressor", "compress"]
