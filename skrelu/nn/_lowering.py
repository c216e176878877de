"""The exact lowering of triangle waves to ReLU layers, and plain torch layers made of it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from skrelu._networks.lowering import lower_waves
from skrelu._networks.plain_layers import modules_of
from skrelu._networks.triangle import bounded_peaks, outer_slopes, smooth_scales
from skrelu.nn._checks import check_values

Affine = tuple[Tensor, Tensor]  # matrix (n_out, n_in) and bias


def lowered(
    directions: Tensor, offsets: Tensor, logits: Tensor
) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """Return triangle waves along directions as ReLU networks of width 4, in float64 on the CPU.

    Parameters
    ----------
    directions : Tensor of shape (n_subnetworks, in_features)
    offsets : Tensor of shape (n_subnetworks,)
    logits : Tensor of shape (n_subnetworks, depth + 1)

    Returns
    -------
    matrices : list of Tensor
        One for each layer: (n_subnetworks, 4, in_features), then (n_subnetworks, 4, 4).
    biases : list of Tensor of shape (n_subnetworks, 4)
    read_out : Tensor of shape (n_subnetworks, 4)
        Weights of the last four neurons, whose sum is the wave.

    Raises
    ------
    ValueError
        If the waves are on the meta device.
    """
    check_values(logits)
    directions, offsets, logits = (
        part.detach().to("cpu", torch.float64) for part in (directions, offsets, logits)
    )
    peaks = bounded_peaks(logits)
    scales, peaks = smooth_scales(peaks), peaks[:, :-1]
    slopes = outer_slopes(peaks, scales)
    # The shift is 0, since smooth scales are not negative.
    matrices, biases, read_out, _, _ = lower_waves(directions, offsets, peaks, scales, slopes)
    return matrices, biases, read_out


def sequential(layers: Sequence[Affine], like: Tensor) -> nn.Sequential:
    """Return linear layers with ReLU in between, with the dtype and device of ``like``."""
    return nn.Sequential(*modules_of([(matrix.to(like), bias.to(like)) for matrix, bias in layers]))
