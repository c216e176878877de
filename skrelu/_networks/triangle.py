r"""Triangle waves: the piecewise-linear functions that every sub-network is made of.

With peaks :math:`a_0, \dots, a_{d-1}` in (0, 1) and scales :math:`s_0, \dots, s_{d-1}`,

.. math::

    T_a(h) = \min(h / a, (1 - h) / (1 - a)), \qquad
    h_0 = z, \quad h_{i+1} = T_{a_i}(h_i), \qquad
    F(z) = \sum_{i=0}^{d-1} s_i h_{i+1}.

F has exactly 2**d linear regions on [0, 1]. T is not clamped, so F is linear on either side of
[0, 1]. All functions broadcast over leading dimensions: ``z`` is
(..., n_samples), ``peaks`` and ``scales`` are (..., depth).

References
----------
Milkert, Hyde, Laine, "Compelling ReLU Networks to Exhibit Exponentially Many Linear
Regions at Initialization and During Training", ICML 2025, https://arxiv.org/abs/2311.18022
"""

from __future__ import annotations

import torch
from torch import Tensor

# Smallest distance of peaks from 0 and 1.
MIN_PEAK = 0.02
# Largest depth: the bits of a float64 mantissa, because regions of deeper waves are narrower than
# its resolution. Half of it suffices for most tables.
MAX_DEPTH = 52


def bounded_peaks(logits: Tensor) -> Tensor:
    """Map real numbers to peaks in (MIN_PEAK, 1 - MIN_PEAK) by a logistic function.

    Peaks near 0 or 1 would stop moving. Inside these bounds the smooth scales are sufficient for
    smoothness (Theorem A.6 of the paper).
    """
    return MIN_PEAK + (1 - 2 * MIN_PEAK) * logits.sigmoid()


def bounded_peaks_slope(peaks: Tensor) -> Tensor:
    """Return the derivative of :func:`bounded_peaks`, from its values."""
    return (peaks - MIN_PEAK) * (1 - MIN_PEAK - peaks) / (1 - 2 * MIN_PEAK)


def peak_logits(peaks: Tensor) -> Tensor:
    """Return the inverse of :func:`bounded_peaks`."""
    return ((peaks - MIN_PEAK) / (1 - 2 * MIN_PEAK)).logit()


def smooth_scales(peaks: Tensor) -> Tensor:
    """Return the scales that make F smooth in the limit of infinite depth.

    s_0 = 1, s_{i+1} = s_i (1 - a_{i+1}) a_{i+2}: Theorem 3.1 of the paper. With them F
    is concave at every finite depth.

    Parameters
    ----------
    peaks : Tensor of shape (..., depth + 1), in (0, 1)
        The last peak only sets a scale.

    Returns
    -------
    Tensor of shape (..., depth)
    """
    ratios = (1 - peaks[..., 1:-1]) * peaks[..., 2:]  # (..., depth - 1)
    first = torch.ones_like(peaks[..., :1])
    return torch.cat([first, ratios.cumprod(-1)], -1)


def smooth_scales_jacobian(peaks: Tensor) -> Tensor:
    """Return ds_i / da_j of :func:`smooth_scales`, shape (..., depth, depth + 1).

    s_i is the product of (1 - a_j) over 1 <= j <= i and of a_j over 2 <= j <= i + 1.
    """
    scales = smooth_scales(peaks)[..., None]  # (..., depth, 1)
    depth = scales.shape[-2]
    i = torch.arange(depth, device=peaks.device)[:, None]
    j = torch.arange(depth + 1, device=peaks.device)
    falls = (j >= 1) & (j <= i)
    rises = (j >= 2) & (j <= i + 1) & (i >= 1)
    a = peaks[..., None, :]
    return scales * (rises / a - falls / (1 - a))


def triangle_sum(z: Tensor, peaks: Tensor, scales: Tensor) -> Tensor:
    """Return F(z), of the shape of ``z``."""
    rise, fall = 1 / peaks[..., None], 1 / (1 - peaks[..., None])
    h = z
    total = torch.zeros_like(z)
    for i in range(peaks.shape[-1]):
        h = torch.minimum(h * rise[..., i, :], (1 - h) * fall[..., i, :])
        total = total + scales[..., i, None] * h
    return total


class DifferentiableSum(torch.autograd.Function):
    """`triangle_sum` with gradients: it stores its inputs only, and has one backward sweep.

    The tensors have equal leading dimensions.
    """

    @staticmethod
    def forward(ctx, z: Tensor, peaks: Tensor, scales: Tensor) -> Tensor:
        """Return F(z)."""
        ctx.save_for_backward(z, peaks, scales)
        return triangle_sum(z, peaks, scales)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, by_sum: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the derivatives of a function of F by z, peaks and scales."""
        dz, dpeaks, dscales = triangle_sum_derivatives(*ctx.saved_tensors)
        weights = by_sum[..., None, :]
        return by_sum * dz, (weights * dpeaks).sum(-1), (weights * dscales).sum(-1)


def triangle_sum_derivatives(
    z: Tensor, peaks: Tensor, scales: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return dF/dz, dF/dpeaks and dF/dscales from one forward and one backward sweep.

    The forward sweep stores the waves h_{i+1} = dF/ds_i. The backward sweep carries g_i = dF/dh_i:
    g_d = s_{d-1}, g_i = s_{i-1} + g_{i+1} T'(h_i). The cost is linear in the depth; that of
    derivatives in the forward sweep would be quadratic.

    Returns
    -------
    dz : Tensor of shape (..., n_samples)
    dpeaks : Tensor of shape (..., depth, n_samples)
        At fixed scales.
    dscales : Tensor of shape (..., depth, n_samples)
    """
    depth = peaks.shape[-1]
    rise, fall = 1 / peaks[..., None], 1 / (1 - peaks[..., None])
    h, waves, slopes = z, [], []
    for i in range(depth):
        up, down = rise[..., i, :], fall[..., i, :]
        slopes.append(torch.where(h < peaks[..., i, None], up, -down))
        h = torch.minimum(h * up, (1 - h) * down)
        waves.append(h)
    g = scales[..., -1, None].expand_as(z)
    dpeaks: list[Tensor] = []
    for i in reversed(range(depth)):
        gslope = g * slopes[i]
        # dT/da is -T/a on the rising side and T/(1-a) on the falling: -T times the slope.
        dpeaks.append(-gslope * waves[i])
        g = gslope if i == 0 else gslope + scales[..., i - 1, None]
    return g, torch.stack(dpeaks[::-1], -2), torch.stack(waves, -2)


def outer_slopes(peaks: Tensor, scales: Tensor) -> tuple[Tensor, Tensor]:
    """Return the slopes of F left of 0 and right of 1, each of shape (...)."""
    left = (scales / peaks.cumprod(-1)).sum(-1)
    later = (scales[..., 1:] / peaks[..., 1:].cumprod(-1)).sum(-1)
    right = -(scales[..., 0] + later) / (1 - peaks[..., 0])
    return left, right


def outer_slopes_derivatives(peaks: Tensor, scales: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return the derivatives of both :func:`outer_slopes` by the peaks and by the scales.

    With :math:`t_i = s_i / (a_0 \cdots a_i)` the left one is :math:`\sum_i t_i`, so that its
    derivatives are :math:`t_i / s_i` and :math:`-\sum_{i \ge j} t_i / a_j`. The right one is
    the left one times :math:`-a_0 / (1 - a_0)`.

    Returns
    -------
    dpeaks, dscales : Tensor of shape (..., depth, 2)
        At fixed scales and peaks; last dimension: left, right.
    """
    by_scales = 1 / peaks.cumprod(-1)  # (..., depth)
    tails = (scales * by_scales).flip(-1).cumsum(-1).flip(-1)
    by_peaks = -tails / peaks
    first = peaks[..., :1]
    ratio = -first / (1 - first)
    on_right = ratio * by_peaks
    on_right[..., :1] -= tails[..., :1] / (1 - first).square()
    dscales = torch.stack([by_scales, ratio * by_scales], -1)
    return torch.stack([by_peaks, on_right], -1), dscales
