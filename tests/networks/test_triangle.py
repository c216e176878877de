"""Triangle waves: regions, concavity, derivatives, squares."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skrelu._networks.triangle import (
    outer_slopes,
    smooth_scales,
    smooth_scales_jacobian,
    triangle_sum,
    triangle_sum_derivatives,
)

DOUBLE = torch.float64


def random_peaks(*shape, seed=0, low=0.1, high=0.9):
    generator = torch.Generator().manual_seed(seed)
    return low + (high - low) * torch.rand(*shape, generator=generator, dtype=DOUBLE)


def breakpoints(peaks):
    """Return all breakpoints of F in [0, 1]: the preimages of the peaks, by inversion."""
    ends = torch.tensor([0.0, 1.0], dtype=DOUBLE)
    levels = [ends]
    for depth in range(len(peaks)):
        points = peaks[depth : depth + 1]
        for a in peaks[:depth].flip(0):
            points = torch.cat([a * points, 1 - (1 - a) * points])
        levels.append(points)
    return torch.cat(levels).sort()[0]


@given(depth=st.integers(1, 9), seed=st.integers(0, 10**6))
@settings(deadline=None, max_examples=40)
def test_there_are_exactly_two_to_the_depth_regions(depth, seed):
    peaks = random_peaks(depth + 1, seed=seed)
    scales = smooth_scales(peaks)
    x = breakpoints(peaks[:depth])
    assert len(x) == 2**depth + 1
    # Affine between neighbours, and a different slope in each: strictly concave corners.
    middle = (x[1:] + x[:-1]) / 2
    F = triangle_sum(x, peaks[:depth], scales)
    torch.testing.assert_close(
        triangle_sum(middle, peaks[:depth], scales), (F[1:] + F[:-1]) / 2, atol=1e-12, rtol=1e-12
    )
    slopes = triangle_sum_derivatives(middle, peaks[:depth], scales)[0]
    assert (slopes.diff() < 0).all()


@given(depth=st.integers(1, 12), seed=st.integers(0, 10**6))
@settings(deadline=None, max_examples=40)
def test_smooth_scales_make_it_concave_on_the_whole_line(depth, seed):
    peaks = random_peaks(depth + 1, seed=seed)
    scales = smooth_scales(peaks)
    z = torch.linspace(-3, 4, 2001, dtype=DOUBLE)
    slopes = triangle_sum_derivatives(z, peaks[:depth], scales)[0]
    assert slopes.diff().max() <= 1e-9
    left, right = outer_slopes(peaks[:depth], scales)
    torch.testing.assert_close(slopes[[0, -1]], torch.stack([left, right]))


def test_equal_peaks_give_squares_to_four_to_the_minus_depth():
    z = torch.linspace(0, 1, 1001, dtype=DOUBLE)
    errors = []
    for depth in range(1, 13):
        peaks = torch.full((depth + 1,), 0.5, dtype=DOUBLE)
        F = triangle_sum(z, peaks[:depth], smooth_scales(peaks))
        errors.append((F / 4 - z * (1 - z)).abs().max().item())
    np.testing.assert_allclose(errors, 0.25 * 4.0 ** -np.arange(1, 13), rtol=0.05)


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_derivatives_pass_gradcheck(depth):
    z = torch.linspace(-0.9, 1.7, 23, dtype=DOUBLE)
    peaks = random_peaks(3, depth, seed=1).requires_grad_()
    scales = random_peaks(3, depth, seed=2).requires_grad_()
    z = z.expand(3, -1).clone().requires_grad_()
    assert torch.autograd.gradcheck(triangle_sum, (z, peaks, scales))
    total = triangle_sum(z, peaks, scales)
    (by_z,) = torch.autograd.grad(total.sum(), z, retain_graph=True)
    dz, dpeaks, dscales = triangle_sum_derivatives(z, peaks, scales)
    torch.testing.assert_close(dz, by_z)
    by_peaks, by_scales = torch.autograd.grad(total.sum(), (peaks, scales))
    torch.testing.assert_close(dpeaks.sum(-1), by_peaks)
    torch.testing.assert_close(dscales.sum(-1), by_scales)


@pytest.mark.parametrize("depth", [1, 2, 3, 6])
def test_jacobian_of_the_smooth_scales_agrees_with_autograd(depth):
    peaks = random_peaks(depth + 1)
    expected = torch.autograd.functional.jacobian(smooth_scales, peaks)
    torch.testing.assert_close(smooth_scales_jacobian(peaks), expected)
