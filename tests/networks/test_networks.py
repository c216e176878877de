"""Structured networks against their dense, closed-form and autograd equivalents."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skrelu._networks.plain_layers import dense_layers
from skrelu._networks.relu_network import ReLUNetwork, average
from skrelu._networks.triangle import triangle_sum_derivatives
from skrelu._networks.triangle_network import TriangleNetwork
from skrelu._solvers.gram import gram, inverse_diagonal

DOUBLE = torch.float64


def random_network(depth, smooth, seed, n_features=3, n_subnetworks=4, n_outputs=2, n_starts=2):
    """Return a network, its parameters, coefficients and inputs in and far out of the data."""
    generator = torch.Generator().manual_seed(seed)
    network = TriangleNetwork(n_features, n_subnetworks, depth, smooth)
    X = torch.randn(n_features, 50, generator=generator, dtype=DOUBLE)
    theta = network.random(n_starts, X, generator)
    theta = theta + 0.5 * torch.randn(theta.shape, generator=generator, dtype=DOUBLE)
    shape = (n_starts, 1 + n_features + n_subnetworks, n_outputs)
    coef = torch.randn(shape, generator=generator, dtype=DOUBLE)
    return network, theta, coef, torch.cat([X, 1e3 * X], -1)


@given(depth=st.integers(1, 12), smooth=st.booleans(), seed=st.integers(0, 10**6))
@settings(deadline=None, max_examples=60)
def test_lowering_agrees_with_the_closed_form_everywhere(depth, smooth, seed):
    network, theta, coef, X = random_network(depth, smooth, seed)
    known = torch.cat([torch.ones_like(X[:1]), X]).expand(len(theta), -1, -1)
    columns = torch.cat([known, network.basis(theta, X)], -2)
    closed = coef.mT @ columns
    relu, lowered = network.to_relu(theta, coef)
    # The natural size of rounding errors: the sum of absolute contributions, wave by wave.
    directions, offsets, peaks, scales = network.unpack(theta)
    z = directions @ X + offsets[..., None]
    waves = triangle_sum_derivatives(z, peaks[..., :depth], scales)[2]
    sums = (scales[..., None] * waves).abs().sum(-2)
    size = coef.abs().mT @ torch.cat([known, sums], -2).abs() + 1
    assert ((relu.forward(lowered, X) - closed).abs() / size).max() < 1e-12


@pytest.mark.parametrize("smooth", [True, False])
@pytest.mark.parametrize("depth", [1, 2, 5])
def test_derivatives_of_waves_agree_with_autograd(depth, smooth):
    network, theta, _, X = random_network(depth, smooth, seed=0)
    X = X[:, :50]

    def total(t):
        return network.basis(t, X).sum((0, 1))

    expected = torch.autograd.functional.jacobian(total, theta)
    derivatives = network.basis_derivatives(theta, X)
    torch.testing.assert_close(derivatives, expected.movedim(0, -1), atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("smooth", [True, False])
def test_pack_and_unpack_are_inverse(smooth):
    network, theta, coef, _ = random_network(4, smooth, seed=3)
    torch.testing.assert_close(network.pack(*network.unpack(theta)), theta, atol=1e-9, rtol=1e-9)
    relu, lowered = network.to_relu(theta, coef)
    assert lowered.shape[-1] == relu.n_parameters
    assert torch.equal(relu.pack(relu.unpack(lowered)), lowered)


def test_the_average_is_one_network():
    network, theta, coef, X = random_network(3, True, seed=4)
    relu, lowered = network.to_relu(theta, coef)
    whole, merged = average(relu, lowered, torch.tensor([[0.3], [0.7]], dtype=DOUBLE))
    assert whole == ReLUNetwork(3, 8, 3, 2)
    torch.testing.assert_close(
        whole.forward(merged, X),
        0.3 * relu.forward(lowered[0], X) + 0.7 * relu.forward(lowered[1], X),
    )


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_dense_layers_are_the_same_function(depth):
    network, theta, coef, X = random_network(depth, True, seed=5)
    relu, lowered = network.to_relu(theta, coef)
    h = X
    layers = dense_layers(relu, relu.unpack(lowered[0]))
    for i, (matrix, bias) in enumerate(layers):
        h = matrix @ h + bias[:, None]
        if i < len(layers) - 1:
            h = h.relu()
    torch.testing.assert_close(h, relu.forward(lowered[0], X), rtol=1e-10, atol=1e-10)
    assert len(layers) == depth + 1
    assert layers[0][0].shape == (4 * 4 + 2 * 2, 3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gram_is_the_product_with_the_transpose(dtype):
    A = torch.randn(3, 7, 5, generator=torch.Generator().manual_seed(0), dtype=dtype)
    torch.testing.assert_close(gram(A), A @ A.mT)
    torch.testing.assert_close(gram(A.mT), A.mT @ A)
    assert gram(A[:, :0]).shape == (3, 0, 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_diagonal_of_an_inverse_is_found_without_the_inverse(dtype):
    A = torch.randn(3, 7, 9, generator=torch.Generator().manual_seed(0), dtype=dtype)
    factor = torch.linalg.cholesky(A @ A.mT + torch.eye(7, dtype=dtype))
    expected = torch.cholesky_inverse(factor).diagonal(dim1=-1, dim2=-2)
    torch.testing.assert_close(inverse_diagonal(factor), expected)
    assert inverse_diagonal(factor[:, :0, :0]).shape == (3, 0)
