"""Layers that clip and sort."""

import numpy as np
import pytest
import torch

from skrelu._networks.plain_layers import clipping, sorting


def run(layers, X):
    """Run affine layers with ReLU between them."""
    h = torch.as_tensor(X)
    for i, (matrix, bias) in enumerate(layers):
        h = h @ matrix.T + bias
        h = h.relu() if i < len(layers) - 1 else h
    return h.numpy()


def test_clipping_may_be_open_below():
    low, high = np.array([-np.inf, -1.0, 0.0]), np.array([0.5, 2.0, 0.0])
    points = np.random.default_rng(0).normal(size=(100, 3)) * 3
    clipped = np.clip(points, low, high)
    np.testing.assert_allclose(
        run(clipping(torch.tensor(low), torch.tensor(high)), points), clipped, atol=1e-14
    )


@pytest.mark.parametrize("n", [2, 3, 4, 5, 8])
def test_sorting_layers_sort(n):
    values = np.random.default_rng(0).normal(size=(500, n))
    np.testing.assert_allclose(run(sorting(n), values), np.sort(values), atol=1e-12)
    backwards = np.arange(n, 0.0, -1)[None]
    np.testing.assert_allclose(run(sorting(n), backwards), np.sort(backwards), atol=1e-12)
