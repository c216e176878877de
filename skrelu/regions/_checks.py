"""Checks of arguments, and limits of memory."""

from __future__ import annotations

from operator import index
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, float64

Array = NDArray[np.float64]

# Default limit of memory, in bytes.
MEMORY = 2**30


def checked_count(value: Any, name: str, least: int = 1) -> int:
    """Return an integer of any type as an int, or raise an error if it is less than ``least``."""
    count = as_integer(value)
    if count is None or count < least:
        raise ValueError(f"{name}={shown(value)} has to be an integer, {least} or more.")
    return count


def as_integer(value: Any) -> int | None:
    """Return an integer of any type as an int, None for anything else."""
    try:
        return index(value)
    except (TypeError, RuntimeError):  # RuntimeError: a tensor without values
        return None


def shown(value: Any) -> str:
    """Return a representation of a value for messages, shortened if it is long."""
    try:
        text = repr(value)
    except ValueError:  # an integer of more than 4300 digits
        return f"an integer of {value.bit_length()} bits"
    return text if len(text) <= 200 else f"{text[:100]} ... {text[-20:]}"


def as_floats(values: Any, name: str, finite: bool = True) -> Array:
    """Return values as an array of float64; values of tensors are copied.

    Raises
    ------
    ValueError
        If values are not real numbers, or not finite although ``finite=True``.
    """
    try:
        found = np.ma.asanyarray(_without_tensors(values))
        if found.dtype.kind not in "biufO":
            raise TypeError(f"these are of type {found.dtype}")
        array = np.asarray(found.astype(float, copy=False).filled(np.nan))
    except Exception as cause:  # other libraries may raise any exception
        raise ValueError(
            f"{name} cannot be read as numbers: {cause}. Give an array, a tensor, a table or lists "
            "of real numbers."
        ) from cause
    if finite and not np.isfinite(array).all():
        raise ValueError(f"{name} has to be finite.")
    return array


def as_number(value: Any, name: str, finite: bool = True) -> float:
    """Return one number as a float."""
    array = as_floats(value, name, finite)
    if array.size != 1:
        raise ValueError(f"{name} has shape {array.shape}, but has to be one number.")
    return float(array.reshape(()))


def region_limit(max_regions: Any, most: int, bytes_each: int) -> int:
    """Return the limit that ``max_regions`` sets; "auto" is `most`, or fewer if memory is short."""
    if isinstance(max_regions, str) and max_regions == "auto":
        return min(most, MEMORY // bytes_each)
    return checked_count(max_regions, "max_regions")


def too_many(limit: int, bytes_each: int, place: str, instead: str) -> ValueError:
    """Return the error for more regions than the limit."""
    return ValueError(
        f"There are more than max_regions={limit} activation regions {place}; raise max_regions "
        f"(a region takes about {bytes_each} bytes), or {instead}."
    )


def _without_tensors(values: Any) -> Any:
    if values is None:
        raise TypeError("it is None")
    if isinstance(values, Tensor):
        if values.is_complex():
            raise TypeError("these are complex")
        return values.detach().to_dense().cpu().to(float64).numpy().copy()
    if isinstance(values, list | tuple):
        return [_without_tensors(value) for value in values]
    return values
