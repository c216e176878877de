r"""Windows of triangle waves side by side: smooth curves that linear least squares can fit.

A sub-network with peaks of 1/2 is a parabola on its window and straight outside. Those whose
windows lie side by side along a direction, from the least to the largest value, make all curves
whose second derivative is constant on each window: quadratic splines. With the coefficients
scaled by the windows' widths to the power of 3/2 a ridge on them is one on the integral of the
squared second derivative, as in smoothing splines (Reinsch 1967).

References
----------
Reinsch, "Smoothing by spline functions", 1967, https://doi.org/10.1007/BF02162161
"""

from __future__ import annotations

import torch
from torch import Tensor

# The linear part is penalized so much less than the windows.
LINEAR = 100.0
# No window is narrower than this part of one of the windows of equal width.
NARROWEST = 0.25


def windows_side_by_side(
    X: Tensor, n_directions: int, n_windows: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return sub-networks whose windows cover the data along several directions.

    Half of the windows' ends are spaced evenly, the others are quantiles.

    Parameters
    ----------
    X : Tensor of shape (n_features, n_samples)
        One feature or two.
    n_directions : int
        Of two features, evenly spaced by angle.
    n_windows : int
        Along each direction, at most.

    Returns
    -------
    directions : Tensor of shape (n_subnetworks, n_features)
    offsets : Tensor of shape (n_subnetworks,)
    widths : Tensor of shape (n_subnetworks,)
        As parts of the range along the direction.
    """
    if len(X) == 1:
        rays = X.new_ones(1, 1)
    else:
        angles = torch.arange(n_directions, dtype=X.dtype) * (torch.pi / n_directions)
        rays = torch.stack([angles.cos(), angles.sin()], -1).to(X)
    found = [_along(ray, ray @ X, n_windows) for ray in rays]
    directions, offsets, widths = (torch.cat(parts) for parts in zip(*found, strict=True))
    return directions, offsets, widths


def _along(ray: Tensor, z: Tensor, n_windows: int) -> tuple[Tensor, Tensor, Tensor]:
    low, high = z.amin(), z.amax()
    if not low < high:
        empty = z.new_zeros(0)
        return z.new_zeros(0, len(ray)), empty, empty
    n_even = n_windows // 2
    even = torch.linspace(0, 1, n_even + 1, dtype=z.dtype, device=z.device)
    part = torch.linspace(0, 1, n_windows - n_even + 1, dtype=z.dtype, device=z.device)
    index = (part * (len(z) - 1)).round().long()
    ends = torch.cat([low + (high - low) * even, z.sort().values[index]]).sort().values
    least = NARROWEST * (high - low) / n_windows
    kept = [low]
    for end in ends[1:]:
        if end - kept[-1] >= least:
            kept.append(end)
    if kept[-1] < high:
        kept[-1] = high
    ends = torch.stack(kept)
    widths = ends.diff()
    return ray / widths[:, None], -ends[:-1] / widths, widths / (high - low)
