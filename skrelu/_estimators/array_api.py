"""Arrays of other libraries by the array API standard: converted where users call a method.

With `sklearn.set_config(array_api_dispatch=True)` inputs of torch, CuPy and others give outputs and
fitted attributes of the same kind, on the same device. Behind this module there are numpy arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn import config_context, get_config
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from skrelu._estimators.sklearn_private import (
    check_same_namespace,
    get_namespace_and_device,
    move_to,
)
from skrelu._estimators.tables import as_array


class Place(NamedTuple):
    """The library of an array, and the device that it is on."""

    xp: Any
    device: Any

    def put(self, value):
        """Return a numpy array of numbers, or a tuple of these, in this place; others unchanged."""
        if isinstance(value, tuple):
            return tuple(map(self.put, value))
        if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
            # Torch ends the process at negative strides, which scikit-learn 1.9.0 does not avoid.
            value = np.ascontiguousarray(value)
            return move_to(value, xp=self.xp, device=self.device)
        return value


def fit_of_arrays(fit: Callable) -> Callable:
    """Decorate `fit`: fitted arrays are of the library and on the device of X."""

    @wraps(fit)
    def fit_in_numpy(self, *args, **kwargs):
        if not _dispatches() and in_numpy(self) is self:
            return fit(self, *args, **kwargs)
        X = args[0] if args else kwargs.get("X")
        model = _copy(self, X)
        args, kwargs = _arguments(args, kwargs)
        with config_context(array_api_dispatch=False):
            fit(model, *args, **kwargs)
        self.__dict__ = {**_moved(vars(model), _place(X)), "device": self.device}
        return self

    return fit_in_numpy


def of_arrays(method: Callable) -> Callable:
    """Decorate a method of X: what it returns is of the library and on the device of X."""

    @wraps(method)
    def of_numpy(self, *args, **kwargs):
        if not _dispatches() and in_numpy(self) is self:
            return method(self, *args, **kwargs)
        check_is_fitted(self, "intercept_")
        X = args[0] if args else kwargs.get("X")
        check_same_namespace(X, self, attribute="intercept_", method=method.__name__)
        model = _copy(self, X)
        args, kwargs = _arguments(args, kwargs)
        with config_context(array_api_dispatch=False):
            result = method(model, *args, **kwargs)
        place = _place(X)
        return result if place is None else place.put(result)

    return of_numpy


def of_no_arrays(method: Callable) -> Callable:
    """Decorate a method without X; a model that it returns is like the one it is of."""

    @wraps(method)
    def of_numpy(self, *args, **kwargs):
        model = in_numpy(self)
        result = method(model, *args, **kwargs)
        if model is not self and isinstance(result, BaseEstimator) and _dispatches():
            result.__dict__ = _moved(vars(result), _place(self.intercept_))
        return result

    return of_numpy


def in_numpy(model):
    """Return a fitted model with numpy arrays: itself, if it has these already."""
    fitted = getattr(model, "intercept_", None)
    return model if fitted is None or isinstance(fitted, np.ndarray) else _copy(model, None)


def _copy(model, X):
    """Return a copy that holds numpy arrays; it computes where X is if ``device="auto"``."""
    copy = object.__new__(type(model))
    copy.__dict__ = {name: as_numpy(value) for name, value in vars(model).items()}
    if copy.device == "auto" and _dispatches() and isinstance(X, torch.Tensor):
        copy.device = X.device
    return copy


def _arguments(args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    return tuple(map(as_numpy, args)), {name: as_numpy(value) for name, value in kwargs.items()}


def as_numpy(value):
    """Return arrays of other libraries as numpy arrays, anything else unchanged."""
    if not _is_foreign(value):
        return value
    if isinstance(value, torch.Tensor) or not _dispatches():
        return as_array(value, "The array")
    return move_to(value, xp=np, device="cpu")


def _moved(state: dict, place: Place | None) -> dict:
    return state if place is None else {name: place.put(value) for name, value in state.items()}


def _place(X) -> Place | None:
    """Return the place of an array of another library; None without dispatch."""
    if not (_dispatches() and _is_foreign(X)):
        return None
    xp, _, device = get_namespace_and_device(X)
    return Place(xp, device)


def _is_foreign(value) -> bool:
    if isinstance(value, np.ndarray | np.generic):
        return False
    return isinstance(value, torch.Tensor) or hasattr(value, "__array_namespace__")


def _dispatches() -> bool:
    return get_config()["array_api_dispatch"]
