"""Checks that the layers share; their messages say what was expected."""

from __future__ import annotations

from torch import Tensor

from skrelu._triangle import MAX_DEPTH


def check_sizes(depth: int, **sizes: int) -> None:
    """Raise a ValueError if a size is less than 1 or the depth is not in 1 to MAX_DEPTH."""
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name}={size}, but it must be at least 1.")
    if not 1 <= depth <= MAX_DEPTH:
        raise ValueError(
            f"depth={depth}, but it must be between 1 and {MAX_DEPTH}: float64 cannot hold the "
            f"2**depth pieces of deeper waves."
        )


def check_inputs(inputs: Tensor, n_features: int) -> None:
    """Raise an error if inputs are not floating or have not this last dimension."""
    if not inputs.is_floating_point():
        raise TypeError(
            f"Inputs are {inputs.dtype}, but must be floating; convert them, as by inputs.float()."
        )
    if inputs.ndim == 0 or inputs.shape[-1] != n_features:
        raise ValueError(
            f"Inputs have the shape {tuple(inputs.shape)}, but their last dimension must be "
            f"{n_features}."
        )
