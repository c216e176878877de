r"""The triangle wave of each feature, as a function that torch can differentiate.

With peaks a and smooth scales s, let :math:`V_i = s_i h_{i+1}` be the wave times its scale. It
falls from its height s_i on both sides of the peak:

.. math::

    F(z) = \sum_i (s_i - P_i), \quad P_i = \max(Q_i, w_i Q_i), \quad w_i = 1 - 1 / a_i,

    Q_0 = (z - a_0) / (1 - a_0), \qquad Q_i = s_i - a_{i+1} P_{i-1},

because :math:`s_i = s_{i-1} (1 - a_i) a_{i+1}`. This takes two passes over the data for each layer
(prelu and addcmul) and one for the sum, and nothing overflows at any depth. The gradient takes a
forward sweep and a backward sweep. The forward sweep computes Q and P again, so that only z is
kept for the backward pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from inspect import signature
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from skrelu._networks.triangle import (
    bounded_peaks,
    bounded_peaks_slope,
    smooth_scales,
    smooth_scales_jacobian,
    triangle_sum_derivatives,
)

# Size of a chunk, in values for each thread: they fit in the processor's cache.
CHUNK = 2**15
# Largest depth computed in float32. It has neither the bits for the pieces of deeper waves nor the
# exponents for the products of their slopes.
DEEPEST_IN_FLOAT32 = 20


def triangle_wave(z: Tensor, logits: Tensor) -> Tensor:
    """Return F(z) of each feature, computed in at least float32.

    Parameters
    ----------
    z : Tensor of shape (..., n_features)
    logits : Tensor of shape (n_features, depth + 1)
        Logits of the peaks.

    Returns
    -------
    Tensor of shape (..., n_features)
        F(z), with the dtype of ``z``.
    """
    function = _Sweeps if torch.compiler.is_compiling() else _Wave
    return function.apply(z.reshape(-1, z.shape[-1]), logits)[0].view(z.shape)


def _working(z: Tensor, logits: Tensor) -> torch.dtype:
    """Return the dtype to compute in: float64 for deep waves, at least float32 for others."""
    if logits.shape[-1] - 1 > DEEPEST_IN_FLOAT32:
        return torch.float64
    return torch.promote_types(torch.promote_types(z.dtype, logits.dtype), torch.float32)


def autocasts(z: Tensor) -> bool:
    """Return whether `torch.autocast` is on for the device of a tensor."""
    device = z.device.type
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)


def _no_autocast(z: Tensor) -> AbstractContextManager:
    """Return a context without autocast on the device of a tensor."""
    return torch.autocast(z.device.type, enabled=False) if autocasts(z) else nullcontext()


def _plain_derivatives(z: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return dF/dz (n_features, n_samples) and dF/dlogits (n_features, depth + 1, n_samples).

    All operations can be differentiated again by torch.
    """
    dtype = _working(z, logits)
    peaks = bounded_peaks(logits.to(dtype))
    scales = smooth_scales(peaks)
    dz, dpeaks, dscales = triangle_sum_derivatives(z.to(dtype).mT, peaks[:, :-1], scales)
    dpeaks = pad(dpeaks, (0, 0, 0, 1)) + smooth_scales_jacobian(peaks).mT @ dscales
    return dz, dpeaks * bounded_peaks_slope(peaks)[..., None]


def _table(logits: Tensor) -> Tensor:
    """Return the factors and summands of the sweeps, see the formulas of this module.

    Returns
    -------
    Tensor of shape (4, depth, n_features)
        1 - a_i, w_i, -a_{i+1} and s_i.
    """
    both = torch.stack([logits.mT, -logits.mT])  # 1 - a needs full precision, as a divisor
    a, rests = bounded_peaks(both).unbind()  # (depth + 1, n_features)
    rests, later = rests[:-1], a[1:]
    ratios = rests * later
    ratios[0] = 1
    return torch.stack([rests, -rests / a[:-1], -later, ratios.cumprod(0)])


def _rows(table: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Return the four parts of a table, by depth."""
    rows, depth = table.flatten(0, 1).unbind(), table.shape[1]
    return (rows[begin : begin + depth] for begin in range(0, len(rows), depth))


def _chunks(z: Tensor) -> list[slice]:
    """Return slices of the rows, one for each chunk."""
    if torch.compiler.is_compiling():  # the compiler fuses all passes into one
        return [slice(None)]
    n_samples, n_features = z.shape
    size = CHUNK * torch.get_num_threads() if z.device.type == "cpu" else z.numel()
    rows = max(1, size // max(1, n_features))
    return [slice(begin, begin + rows) for begin in range(0, max(1, n_samples), rows)]


def _first(z: Tensor, rest: Tensor) -> Tensor:
    """Return Q_0 = 1 - (1 - z) / (1 - a_0)."""
    steepness = rest.reciprocal()
    return torch.addcmul(1 - steepness, z, steepness)


def _fast_wave(z: Tensor, table: Tensor) -> Tensor:
    """Return F(z), (n_samples, n_features), without intermediates of full size."""
    rests, rises, falls, scales = _rows(table)
    height = table[3].sum(0)
    F = torch.empty(z.shape, dtype=table.dtype, device=z.device)
    for rows in _chunks(z):
        part = F[rows]
        Q = _first(z[rows].to(table.dtype), rests[0])
        P = torch.prelu(Q, rises[0])
        torch.sub(height, P, out=part)
        for rise, fall, scale in zip(rises[1:], falls[1:], scales[1:], strict=True):
            torch.addcmul(scale, P, fall, out=Q)
            P = torch.prelu(Q, rise)
            part.sub_(P)
    return F.to(z.dtype)


def _fast_gradient(z: Tensor, table: Tensor, by_F: Tensor) -> tuple[Tensor, Tensor]:
    """Return derivatives of a loss by z (n_samples, n_features) and peaks (depth + 1, n_features).

    ``by_F`` has its derivatives by F(z), (n_samples, n_features).
    """
    dtype = table.dtype
    swept = [_sweep(z[rows].to(dtype), by_F[rows].to(dtype), table) for rows in _chunks(z)]
    by_z, sums = swept[0]
    if len(swept) > 1:
        by_z = torch.cat([by_z for by_z, _ in swept])
        sums = torch.stack([sums for _, sums in swept]).sum(0)
    return by_z.to(z.dtype), _by_peaks(table, sums)


def _sweep(z: Tensor, g: Tensor, table: Tensor) -> tuple[Tensor, Tensor]:
    """Return g dF/dz and the sums over samples from which derivatives by peaks follow.

    In-place operations change only tensors computed from ``g``, so that ``g`` may be a batch.

    Parameters
    ----------
    z, g : Tensor of shape (n_samples, n_features)

    Returns
    -------
    by_z : Tensor of shape (n_samples, n_features)
    sums : Tensor of shape (depth, 4, n_features)
        Of r_i, r_i P_i, g P_i and g, where r_i is minus the derivative by Q_i.
    """
    rests, rises, falls, scales = _rows(table)
    depth = len(rests)
    Qs = [_first(z, rests[0])]
    Ps = [torch.prelu(Qs[0], rises[0])]
    for i in range(1, depth):
        Qs.append(torch.addcmul(scales[i], Ps[-1], falls[i]))
        Ps.append(torch.prelu(Qs[-1], rises[i]))
    sums, total, by_P = [], g.sum(0), g  # minus the derivative by P_i
    for i in reversed(range(depth)):
        # by_P where Q_i > 0, w_i by_P elsewhere: torch.where takes twenty times as long.
        r = torch.ops.aten.threshold_backward(by_P, Qs.pop(), 0)
        r.lerp_(by_P, rises[i])
        P = Ps.pop()
        sums += [total, (g * P).sum(0), (r * P).sum(0), r.sum(0)]
        by_P = torch.addcmul(g, r, falls[i]) if i else r
    return by_P / -rests[0], torch.stack(sums[::-1]).view(depth, 4, -1)


def _by_peaks(table: Tensor, sums: Tensor) -> Tensor:
    """Return derivatives by the peaks, (depth + 1, n_features).

    s_i is the product of (1 - a_j) over 1 <= j <= i and of a_j over 2 <= j <= i + 1.
    """
    rests, _, falls, scales = table
    by_Q, by_Q_times_P, by_F_times_P, by_F = sums.unbind(1)  # (depth, n_features)
    by_scales = scales * by_F - by_F_times_P  # times the scales
    later = by_scales.flip(0).cumsum(0).flip(0)  # (depth, n_features)
    later[0] = 0  # s_0 is 1
    at_fixed_scales = scales * by_Q - by_Q_times_P  # times 1 - a
    return pad((at_fixed_scales - later) / rests, (0, 0, 0, 1)) - pad(later / falls, (0, 0, 1, 0))


class _Sweeps(torch.autograd.Function):
    """F(z), (n_samples, n_features), and its table; saves z and logits for the backward pass."""

    @staticmethod
    def forward(z: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad(), _no_autocast(z):
            table = _table(logits.to(_working(z, logits)))
            return _fast_wave(z, table), table

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Any) -> None:
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(*inputs, output[1])
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, by_F: Tensor | None, _: None) -> tuple[Tensor | None, Tensor | None]:
        z, logits, table = ctx.saved_tensors
        if by_F is None:
            return None, None
        if torch.compiler.is_compiling() or not torch.is_grad_enabled():
            by_z, by_peaks = _fast_gradient(z, table, by_F)
            peaks = bounded_peaks(logits.to(table.dtype))
            return by_z, (by_peaks.mT * bounded_peaks_slope(peaks)).to(logits.dtype)
        with _no_autocast(z):  # a second derivative is wanted
            dz, dlogits = _plain_derivatives(z, logits)
            g = by_F.to(dz.dtype).mT
            by_logits = (dlogits * g[:, None]).sum(-1)
            return (dz * g).mT.to(z.dtype), by_logits.to(logits.dtype)


# Set once, because torch computes the signature in every call otherwise (as slow as some passes).
_Sweeps.forward.__signature__ = signature(_Sweeps.forward)  # type: ignore[attr-defined]


class _Wave(_Sweeps):
    """The same function with forward mode and vmap, which torch.compile cannot read."""

    @staticmethod
    def jvp(
        ctx: Any, z_tangent: Tensor | None, logits_tangent: Tensor | None
    ) -> tuple[Tensor, None]:
        z, logits = ctx.saved_tensors
        with _no_autocast(z):
            dz, dlogits = _plain_derivatives(z, logits)
            tangent = torch.zeros_like(dz)
            if z_tangent is not None:
                tangent = tangent + dz * z_tangent.mT
            if logits_tangent is not None:
                tangent = tangent + (dlogits * logits_tangent[..., None]).sum(-2)
            return tangent.mT.to(z.dtype), None

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, int | None], z: Tensor, logits: Tensor
    ) -> tuple[tuple[Tensor, Tensor], tuple[int, int | None]]:
        size, (z_dim, logits_dim) = info.batch_size, in_dims
        if logits_dim is None:  # more samples
            assert z_dim is not None
            z = z.movedim(z_dim, 0)
            F, table = _Wave.apply(z.flatten(0, 1), logits)
            return (F.unflatten(0, (size, -1)), table), (0, None)
        z = z[:, None].expand(-1, size, -1) if z_dim is None else z.movedim(z_dim, 1)
        F, table = _Wave.apply(z.flatten(1), logits.movedim(logits_dim, 0).flatten(0, 1))
        return (F.unflatten(1, (size, -1)), table.unflatten(2, (size, -1))), (1, 2)
