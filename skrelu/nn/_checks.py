"""Checks of arguments and inputs; messages say what was wrong and what was expected."""

from __future__ import annotations

import reprlib
from math import inf
from numbers import Real
from operator import index
from typing import Any

import torch
from torch import Tensor, nn

from skrelu._networks.triangle import MAX_DEPTH
from skrelu.nn._wave_function import autocasts

# Dtypes in which torch can draw random weights.
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def short(value: Any) -> str:
    """Return a short representation of a value on one line, for messages."""
    return " ".join(reprlib.repr(value).split())


def as_size(name: str, value: Any) -> int:
    """Return an integer of any type as an int, or raise an error if it is less than 1."""
    size = _as_integer(name, value)
    if size < 1:
        raise ValueError(f"{name}={size}, but it must be at least 1.")
    return size


def as_depth(value: Any) -> int:
    """Return an integer of any type as an int, or raise an error if it is not a depth."""
    depth = _as_integer("depth", value)
    if not 1 <= depth <= MAX_DEPTH:
        raise ValueError(
            f"depth={depth}, but it must be between 1 and {MAX_DEPTH}: float64 cannot hold the "
            f"2**depth pieces of deeper waves."
        )
    return depth


def _as_integer(name: str, value: Any) -> int:
    try:
        if _is_flag(value) or getattr(value, "dtype", None) is torch.bool:
            raise TypeError
        return index(value)
    except TypeError:
        raise TypeError(f"{name}={short(value)}, but it must be an integer.") from None


def as_flag(name: str, value: Any) -> bool:
    """Return a bool of Python or numpy, or raise an error."""
    if not _is_flag(value):
        raise TypeError(f"{name}={short(value)}, but it must be True or False.")
    return bool(value)


def _is_flag(value: Any) -> bool:
    return type(value).__name__ in ("bool", "bool_")  # numpy is not imported here


def as_rate(name: str, value: Any, *, positive: bool = False, below: float = inf) -> float:
    """Return a number of any type as a float, or raise an error if it is not in its interval."""
    number = value.item() if isinstance(value, Tensor) and value.numel() == 1 else value
    message = f"{name}={short(value)}, but it must be a number in {'[('[positive]}0, {below})."
    if not isinstance(number, Real) or isinstance(number, bool):
        raise TypeError(message)
    try:
        rate = float(number)
    except OverflowError:  # an integer above the range of floats
        rate = inf
    if not 0 <= rate < below or (positive and rate == 0):
        raise ValueError(message)
    return rate


def check_factory(device: Any, dtype: Any) -> None:
    """Raise an error if torch cannot make weights of this dtype or on this device."""
    if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype in DTYPES):
        raise ValueError(
            f"dtype={short(dtype)}, but it must be one of {', '.join(map(str, DTYPES))}."
        )
    if device is not None:
        try:
            torch.empty(0, device=device)
        except (RuntimeError, TypeError, AssertionError) as error:
            raise ValueError(
                f"device={short(device)}, but it must be one that torch has here: {error}"
            ) from error


def check_module(model: Any) -> None:
    """Raise an error if ``model`` is not a torch module."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model={short(model)}, but it must be an instance of torch.nn.Module.")


def check_values(parameter: Tensor) -> None:
    """Raise an error if a parameter of a layer has no values."""
    if parameter.is_meta:
        raise ValueError("The layer is on the meta device, without values; load a state first.")


def check_inputs(inputs: Any, n_features: int, weight: Tensor | None) -> None:
    """Raise an error if inputs have a wrong type, last dimension or device."""
    if not isinstance(inputs, Tensor):
        raise TypeError(
            f"Inputs are a {type(inputs).__name__}, but must be a torch.Tensor; convert them, as "
            f"by torch.as_tensor(inputs, dtype=torch.float32)."
        )
    if not inputs.is_floating_point():
        raise TypeError(
            f"Inputs are {inputs.dtype}, but must be floating; convert them, as by inputs.float()."
        )
    if inputs.ndim == 0 or inputs.shape[-1] != n_features:
        raise ValueError(
            f"Inputs have the shape {tuple(inputs.shape)}, but their last dimension must be "
            f"{n_features}."
        )
    if weight is not None and inputs.device != weight.device:
        raise ValueError(
            f"Inputs are on {inputs.device}, but the weights are on {weight.device}; move one to "
            f"the other, as by inputs.to({str(weight.device)!r})."
        )


def check_precision(inputs: Tensor, weight: Tensor | None) -> None:
    """Raise an error if inputs have another dtype than a weight and autocast does not cast them."""
    if weight is None or inputs.dtype == weight.dtype:
        return
    # Autocast does not cast float64.
    if not autocasts(inputs) or torch.float64 in (inputs.dtype, weight.dtype):
        raise TypeError(
            f"Inputs are {inputs.dtype}, but the weights are {weight.dtype}; convert one to the "
            f"other, as by inputs.to({weight.dtype})."
        )
