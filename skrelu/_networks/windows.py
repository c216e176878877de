r"""Triangle waves with windows side by side: quadratic splines by linear least squares.

A sub-network with peaks of 1/2 is a parabola on its window and straight outside. If windows lie
side by side along a direction, their sums are exactly the quadratic splines: curves whose second
derivative is constant on each window. If each sub-network is multiplied by the width of its window
to the power of 3/2, a ridge on the coefficients is one on the integral of the squared second
derivative, as in smoothing splines (Reinsch 1967).

References
----------
Reinsch, "Smoothing by spline functions", 1967, https://doi.org/10.1007/BF02162161
"""

from __future__ import annotations

import torch
from torch import Tensor

# Factor on the linear columns, relative to window columns: the ridge hardly affects them.
LINEAR = 100.0
# Smallest width of a window, as a fraction of the width of equal windows.
NARROWEST = 0.25


def windows_side_by_side(
    X: Tensor, n_directions: int, n_windows: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return sub-networks whose windows cover the data along several directions.

    Half of the ends of windows are evenly spaced, the others are quantiles.

    Parameters
    ----------
    X : Tensor of shape (n_features, n_samples)
        One feature or two.
    n_directions : int
        Number of directions of two features, evenly spaced by angle.
    n_windows : int
        Largest number of windows along each direction.

    Returns
    -------
    directions : Tensor of shape (n_subnetworks, n_features)
    offsets : Tensor of shape (n_subnetworks,)
    widths : Tensor of shape (n_subnetworks,)
        As fractions of the range along the direction.
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
