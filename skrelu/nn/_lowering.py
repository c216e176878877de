"""Waves as ReLU layers: the exact lowering, and what it looks like with dense matrices."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from skrelu._networks.triangle import bounded_peaks, outer_slopes, smooth_scales
from skrelu._networks.triangle_network import lower_waves
from skrelu.nn._checks import check_values

Affine = tuple[Tensor, Tensor]  # matrix (n_out, n_in) and bias


def lowered(
    directions: Tensor, offsets: Tensor, logits: Tensor
) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """Return waves along directions as 4-wide ReLU networks, in float64 on the CPU.

    Parameters
    ----------
    directions : Tensor of shape (n_subnetworks, in_features)
    offsets : Tensor of shape (n_subnetworks,)
    logits : Tensor of shape (n_subnetworks, depth + 1)

    Returns
    -------
    matrices : list of Tensor
        (n_subnetworks, 4, in_features), then (n_subnetworks, 4, 4), one a layer.
    biases : list of Tensor of shape (n_subnetworks, 4)
    read_out : Tensor of shape (n_subnetworks, 4)
        What reads each wave out of its last four neurons.

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


def block_diagonal(matrices: Sequence[Tensor], biases: Sequence[Tensor]) -> list[Affine]:
    """Return hidden layers with the blocks of all sub-networks on the diagonal."""
    first = matrices[0].flatten(0, 1), biases[0].flatten()
    later = zip(matrices[1:], biases[1:], strict=True)
    return [first, *((torch.block_diag(*blocks), bias.flatten()) for blocks, bias in later)]


def sequential(layers: Sequence[Affine], like: Tensor) -> nn.Sequential:
    """Return layers with ReLU in between, with the dtype and device of a tensor."""
    modules: list[nn.Module] = []
    for matrix, bias in layers:
        sizes = matrix.shape[1], len(matrix)
        linear = skip_init(nn.Linear, *sizes, device=like.device, dtype=like.dtype)
        linear.weight.copy_(matrix)
        linear.bias.copy_(bias)
        modules += [linear, nn.ReLU()]
    return nn.Sequential(*modules[:-1])
