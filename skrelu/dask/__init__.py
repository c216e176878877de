"""Estimators for dask: fits to more rows than the memory of a machine holds."""

from skrelu.dask._estimators import DaskExponentialReLUClassifier, DaskExponentialReLURegressor

__all__ = ["DaskExponentialReLUClassifier", "DaskExponentialReLURegressor"]
