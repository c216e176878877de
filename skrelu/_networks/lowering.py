"""Exact lowering: triangle waves and parabolas as four neurons a layer."""

from __future__ import annotations

import torch
from torch import Tensor

from skrelu._networks.plain_layers import Affine


def lower_waves(
    directions: Tensor,
    offsets: Tensor,
    peaks: Tensor,
    scales: Tensor,
    slopes: tuple[Tensor, Tensor],
) -> tuple[list[Tensor], list[Tensor], Tensor, Tensor, Tensor]:
    """Return hidden weights and biases of F, and what reads F out of the last layer.

    Parameters
    ----------
    directions : Tensor of shape (..., n_subnetworks, n_features)
    offsets : Tensor of shape (..., n_subnetworks)
    peaks, scales : Tensor of shape (..., n_subnetworks, depth)
    slopes : tuple of Tensor of shape (..., n_subnetworks)
        Left and right of [0, 1].

    Returns
    -------
    hidden, biases : list of Tensor
    read_out, wave : Tensor of shape (..., n_subnetworks, 4)
        F + shift and the last wave are linear in the last layer.
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
    # F changes by -left on (-z)+ and by right on (z - 1)+, beyond the clamped wave.
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


def _divided(depth: int) -> tuple[int, int]:
    """Divide 2 ``depth`` layers between the two parabolas, so that their errors are alike."""
    first = min(depth + 1, 2 * depth - 1)
    return first, 2 * depth - first


def parabola_layers(depth: int) -> tuple[list[Affine], tuple[Tensor, float]]:
    """Return the layers after the first, and weights and constant that read h out."""
    first, second = _divided(depth)
    folds = torch.tensor([0, 1, 2, 0], dtype=torch.float64) / 3
    carried = torch.tensor([0, 0, 0, 1], dtype=torch.float64)
    layers = []
    for layer in range(1, first):
        folded, added_up = _rows(layer - 1)
        layers.append(
            (torch.stack([folded, folded, folded, added_up]), -folds * 3 ** (1.0 - layer))
        )
    # Of Z^2 in [0, w] the best line is left: w Z - w^2 / 6.
    folded, added_up = _rows(first - 1)
    width = 3.0 ** (1 - first)
    v = added_up + width * folded
    constant = -(width**2) / 6
    # (1 - v)+ is folded at once; the fourth neuron has 1/2 more than needed, to be above 0.
    signs = torch.tensor([-1, -1, -1, 1], dtype=torch.float64)
    layers.append((signs[:, None] * v, (1 - constant) * (1 - carried) - folds + carried / 2))
    for layer in range(1, second):
        folded, added_up = _rows(layer)
        total = carried - (added_up - carried) / 4
        layers.append((torch.stack([folded, folded, folded, total]), -folds * 3.0**-layer))
    folded, added_up = _rows(second)
    width = 3.0**-second
    read_out = carried - (added_up - carried + width * folded) / 4
    return layers, (read_out, constant - 0.25 + width**2 / 24)


def ramp_layers(n_layers: int, sign: int) -> tuple[list[Affine], tuple[Tensor, float]]:
    """Return the layers after the first, and weights and constant that read a ramp out.

    The ramp is sign * v(z) + 2 z, v being z^2 within [-1, 1] and 2 |z| - 1 outside. Its lowering
    interpolates the parabola, so it rises and is as convex or concave.
    """
    folds = torch.tensor([0, 1, 2, 0], dtype=torch.float64) / 3
    carried = torch.tensor([0, 0, 0, 1], dtype=torch.float64)
    line = 2.0 * sign * torch.tensor([1, -1, 0, 0], dtype=torch.float64)
    layers = []
    for layer in range(1, n_layers):
        folded, added_up = _rows(layer - 1)
        first = layer == 1  # v + 2 sign z is not below -2
        added_up = added_up + line if first else added_up
        bias = -folds * 3 ** (1.0 - layer) + (2 * carried if first else 0)
        layers.append((torch.stack([folded, folded, folded, added_up]), bias))
    folded, added_up = _rows(n_layers - 1)
    width = 3.0 ** (1 - n_layers)
    return layers, (sign * (added_up + width * folded), -sign * (width**2 / 6 + 2))


def _rows(layer: int) -> tuple[Tensor, Tensor]:
    """Return what reads Z, and what has been added up, out of a layer's neurons."""
    if layer == 0:  # (z)+, (-z)+, (z - 1)+, (-z - 1)+
        rows = [[1.0, 1.0, -1.0, -1.0], [0.0, 0.0, 2.0, 2.0]]
    else:  # (Z)+, (Z - w)+, (Z - 2 w)+, the sum
        rows = [[1.0, -2.0, 2.0, 0.0], [0.0, 4 * 3.0**-layer, 0.0, 1.0]]
    folded, added_up = torch.tensor(rows, dtype=torch.float64)
    return folded, added_up
