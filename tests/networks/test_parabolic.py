"""The limit of infinite depth: exact conversions, rates of convergence, derivatives."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from skrelu import ExponentialReLURegressor
from skrelu._networks import parabolic_network as parabolic_module
from skrelu._networks.triangle_network import TriangleNetwork

DOUBLE = torch.float64


def random_network(n_free_peaks, seed=0, depth=30, n_features=2, n_subnetworks=3):
    """Return triangles, the same in the limit, and rows that reach out of their windows."""
    generator = torch.Generator().manual_seed(seed)
    triangles = TriangleNetwork(n_features, n_subnetworks, depth, n_free_peaks=n_free_peaks)
    X = torch.randn(n_features, 60, generator=generator, dtype=DOUBLE)
    theta = triangles.random(2, X, generator)
    theta = theta + 0.3 * torch.randn(theta.shape, generator=generator, dtype=DOUBLE)
    shape = (2, 1 + n_features + n_subnetworks, 1)
    coef = torch.randn(shape, generator=generator, dtype=DOUBLE)
    return triangles, theta, coef, X, generator


def relative(difference, values):
    return float(difference.abs().max() / values.abs().max())


@given(n_free_peaks=st.integers(1, 4), seed=st.integers(0, 10**6))
@settings(deadline=None, max_examples=30)
def test_triangle_networks_tend_to_the_parabolic_one_by_a_factor_of_four(n_free_peaks, seed):
    triangles, theta, coef, X, _ = random_network(n_free_peaks, seed)
    limit, lowered = triangles.to_parabolic(theta, coef)
    assert limit.relu.depth == n_free_peaks
    X = torch.cat([X, 100 * X], -1)
    expected = limit.forward(lowered, X)
    errors = []
    for n_more in (3, 4, 24):
        network = replace(triangles, depth=n_free_peaks + n_more)
        relu, weights = network.to_relu(theta, coef)
        errors.append((relu.forward(weights, X) - expected).abs())
    # Far outside, slopes approach their limit by a factor of 2, inside the waves by 4.
    inside = [error[..., :60].max() for error in errors[:2]]
    assert inside[1] < 0.55 * inside[0]
    assert relative(errors[2], expected) < 1e-6


def test_inside_the_windows_the_error_falls_by_four():
    triangles = TriangleNetwork(1, 1, 5, n_free_peaks=2)
    X = torch.linspace(0, 1, 4001, dtype=DOUBLE)[None]
    theta = torch.tensor([[1.0, 0.0, 0.3, -0.4]], dtype=DOUBLE)
    coef = torch.ones(1, 3, 1, dtype=DOUBLE)
    limit, lowered = triangles.to_parabolic(theta, coef)
    errors = []
    for depth in (4, 5, 6, 7):
        relu, weights = replace(triangles, depth=depth).to_relu(theta, coef)
        errors.append((relu.forward(weights, X) - limit.forward(lowered, X)).abs().max())
    ratios = torch.stack(errors[:-1]) / torch.stack(errors[1:])
    torch.testing.assert_close(ratios, torch.full_like(ratios, 4), rtol=0.02, atol=0)


def test_derivatives_of_triangles_with_fixed_peaks_agree_with_autograd():
    triangles, theta, _, X, _ = random_network(2, depth=5)
    peaks = triangles.unpack(theta)[2]
    assert peaks.shape[-1] == 6
    assert (peaks[..., 2:] == 0.5).all()
    expected = torch.autograd.functional.jacobian(
        lambda t: triangles.basis(t, X).sum((0, 1)), theta
    )
    derivatives = triangles.basis_derivatives(theta, X)
    torch.testing.assert_close(derivatives, expected.movedim(0, -1), rtol=1e-10, atol=1e-10)


@given(n_free_peaks=st.integers(1, 3), seed=st.integers(0, 10**6))
@settings(deadline=None, max_examples=30)
def test_reviving_and_deepening_change_nothing_on_the_rows(n_free_peaks, seed):
    triangles, theta, coef, X, generator = random_network(n_free_peaks, seed)
    network, lowered = triangles.to_parabolic(theta, coef)
    expected = network.forward(lowered, X)
    lowered = network.revive(lowered, X, generator)
    assert relative(network.forward(lowered, X) - expected, expected) < 1e-12
    for layer in network.relu.hidden_layers(network.unpack(lowered)[0], X):
        assert (layer.amax(-1) > 0).all()
    for in_two in (True, False, True, False):
        neuron = network.random_neurons(lowered, X, 1, generator) if in_two else None
        network, lowered = network.deepen(lowered, X, neuron)
        assert relative(network.forward(lowered, X) - expected, expected) < 1e-11
    assert network.relu.depth == n_free_peaks + 4


def test_unfolding_writes_the_parabola_out_by_a_factor_of_nine_a_layer():
    triangles = TriangleNetwork(1, 1, 8, n_free_peaks=1)
    X = torch.linspace(-1, 1, 20_001, dtype=DOUBLE)[None]
    theta = triangles.random(1, X, torch.Generator().manual_seed(0))
    coef = torch.ones(1, 3, 1, dtype=DOUBLE)
    network, lowered = triangles.to_parabolic(theta, coef)
    errors = []
    for depth in (2, 3, 4, 5):
        relu, weights = network.unfold(lowered, X, depth)
        assert relu.depth == depth
        error = relu.forward(weights, X) - network.forward(lowered, X)
        errors.append(error.square().mean().sqrt())
    ratios = torch.stack(errors[:-1]) / torch.stack(errors[1:])
    torch.testing.assert_close(ratios, torch.full_like(ratios, 9), rtol=0.02, atol=0)


@pytest.mark.slow
def test_columns_that_do_not_vary_stay_finite():
    X = np.c_[np.linspace(0, 1, 200), np.ones(200)]
    model = ExponentialReLURegressor(n_subnetworks=2, n_init=1, random_state=0)
    assert model.fit(X, X[:, 0] ** 3).score(X, X[:, 0] ** 3) > 1 - 1e-5


@pytest.mark.slow
def test_a_curve_that_one_wave_cannot_follow_is_not_taken_for_noise():
    X = np.linspace(0, 1, 60)[:, None]
    y = np.sin(9 * X[:, 0]) * np.exp(-X[:, 0])
    scores = [ExponentialReLURegressor(random_state=seed).fit(X, y).score(X, y) for seed in (0, 1)]
    assert min(scores) > 0.99


@pytest.mark.slow
@pytest.mark.parametrize("depth", [1, 2, 7])
def test_every_depth_fits_a_parabola_to_its_own_accuracy(depth):
    X = np.linspace(-2, 3, 300)[:, None]
    y = X[:, 0] ** 2
    model = ExponentialReLURegressor(depth=depth, n_subnetworks=1, n_init=1, random_state=0)
    spline = 25**2 * 5.0**4 / 180 / 25**2 / 16.0**depth  # MSE of 2^depth even pieces
    assert np.mean((model.fit(X, y).predict(X) - y) ** 2) < 2 * spline
    assert len(model.hidden_weights_) == depth
    assert model.peaks_.shape == (1, depth + 1)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("n_init", [1, 3])
@pytest.mark.parametrize("depth", [3, 9])
def test_the_limit_counts_toward_the_iterations_of_refinement(depth, n_init):
    X = np.linspace(0, 1, 200)[:, None]
    model = ExponentialReLURegressor(
        depth=depth, n_subnetworks=1, n_init=n_init, refine_max_iter=60, tol=0,
        early_stopping=False, n_iter_no_change=1000, random_state=0,
    ).fit(X, np.exp(X[:, 0]))  # fmt: skip
    assert model.n_iter_ - model.n_iter_pretrain_ == 60


def test_an_interrupt_in_the_limit_keeps_what_was_pretrained(monkeypatch):
    X = np.linspace(0, 1, 200)[:, None]
    y = np.exp(X[:, 0])
    model = ExponentialReLURegressor(
        depth=7, n_subnetworks=1, n_init=1, early_stopping=False, random_state=0
    )
    jacobian = parabolic_module.ParabolicNetwork.jacobian
    n_calls = 0

    def interrupted(*arguments):
        nonlocal n_calls
        n_calls += 1
        if n_calls > 5:
            raise KeyboardInterrupt
        return jacobian(*arguments)

    monkeypatch.setattr(parabolic_module.ParabolicNetwork, "jacobian", interrupted)
    with pytest.warns(UserWarning, match="interrupted"):
        model.fit(X, y)
    assert n_calls == 6
    loss = np.mean((model.predict(X) - y) ** 2) / y.var()
    np.testing.assert_allclose(loss, model.loss_curve_[model.n_iter_pretrain_], rtol=1e-6)
