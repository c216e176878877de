"""Exact lowering of triangle waves to layers of four neurons."""

from __future__ import annotations

import torch
from torch import Tensor


def lower_waves(
    directions: Tensor,
    offsets: Tensor,
    peaks: Tensor,
    scales: Tensor,
    slopes: tuple[Tensor, Tensor],
) -> tuple[list[Tensor], list[Tensor], Tensor, Tensor, Tensor]:
    """Return the hidden layers of F, and the weights that read F from the last one.

    Parameters
    ----------
    directions : Tensor of shape (..., n_subnetworks, n_features)
    offsets : Tensor of shape (..., n_subnetworks)
    peaks, scales : Tensor of shape (..., n_subnetworks, depth)
    slopes : tuple of Tensor of shape (..., n_subnetworks)
        Slopes of F left and right of [0, 1].

    Returns
    -------
    hidden, biases : list of Tensor
    read_out, wave : Tensor of shape (..., n_subnetworks, 4)
        Weights of the last layer that give F + shift and the last wave.
    shift : Tensor of shape (..., n_subnetworks)
    """
    depth = peaks.shape[-1]
    zero, one = torch.zeros_like(offsets), torch.ones_like(offsets)

    def row(*entries: Tensor) -> Tensor:
        return torch.stack(entries, -1)  # (..., n_subnetworks, 4)

    # First layer: (-z)+, (z)+, (z - a_0)+, (z - 1)+.
    hidden = [torch.stack([-directions, directions, directions, directions], -2)]
    biases = [row(-offsets, offsets, offsets - peaks[..., 0], offsets - 1)]
    left, right = slopes
    # F is its clamped part - left * (-z)+ + right * (z - 1)+.
    rising = row((-left).relu(), zero, zero, right.relu())
    falling = row(left.relu(), zero, zero, (-right).relu())
    total, shift = rising, zero
    a = peaks[..., 0]
    wave = row(zero, 1 / a, -1 / (a * (1 - a)), 1 / (1 - a))
    for i in range(1, depth):
        total = total + scales[..., i - 1, None] * wave
        floor = (-scales[..., i - 1]).relu()  # waves lie in [0, 1] here
        hidden.append(torch.stack([total, wave, wave, falling], -2))
        biases.append(row(floor, zero, -peaks[..., i], zero))
        shift = shift + floor
        a = peaks[..., i]
        wave = row(zero, 1 / a, -1 / (a * (1 - a)), zero)
        total, falling = row(one, zero, zero, zero), row(zero, zero, zero, one)
    return hidden, biases, total + scales[..., -1, None] * wave - falling, wave, shift
