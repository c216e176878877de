"""Periodic waves along random directions, against closed forms of gaussian processes."""

from functools import partial

import numpy as np
import pytest
import torch
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel

from skrelu._fit.random_waves import (
    KERNELS,
    Gaussian,
    Matern,
    _covariance,
    _covariance_of_waves,
    _most_probable_process,
    fit_random_waves,
)
from skrelu._networks.smooth_waves import Ripple

DOUBLE = torch.float64


def smooth(n=40, seed=0, noise=0.0):
    """Return standardized rows of a smooth function of two inputs, and new ones."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1.7, 1.7, (n + 500, 2))
    y = np.sin(1.5 * X[:, 0]) + X[:, 0] * X[:, 1] / 3
    y = (y - y.mean()) / y.std()
    y[:n] += noise * rng.normal(size=n)
    X, y = torch.tensor(X.T), torch.tensor(y)
    return X[:, :n], y[:n], X[:, n:], y[n:]


def columns(found, X):
    waves = Ripple().derivatives(found.directions @ X + found.offsets[:, None])[0]
    return torch.cat([X, waves, torch.ones_like(X[:1])])


def covariance(found, X, other):
    half, penalties = columns(found, X).mT / found.posterior.penalties, columns(found, other)
    return half @ penalties


def test_coefficients_are_the_mean_of_the_posterior():
    X, y, new, _ = smooth(noise=0.01)
    found = fit_random_waves(X, y, torch.ones_like(y), 128, 400, 0)
    noise = torch.eye(len(y)) / found.posterior.precision
    expected = covariance(found, new, X) @ torch.linalg.solve(covariance(found, X, X) + noise, y)
    torch.testing.assert_close(found.coef @ columns(found, new), expected, rtol=1e-5, atol=1e-6)
    root = found.posterior.root @ columns(found, new)
    below = covariance(found, new, X)
    inner = torch.linalg.solve(covariance(found, X, X) + noise, below.mT)
    expected = covariance(found, new, new).diagonal() - (below * inner.mT).sum(1)
    torch.testing.assert_close(root.square().sum(0), expected, rtol=1e-3, atol=1e-6)


def test_left_out_rows_are_predicted_by_all_others():
    X, y, _, _ = smooth(noise=0.1)
    weights = torch.linspace(0.5, 1.5, len(y), dtype=DOUBLE)
    found = fit_random_waves(X, y, weights, 128, 400, 0)
    for row in (0, 17):
        rest = torch.arange(len(y)) != row
        noise = torch.diag(1 / (found.posterior.precision * weights[rest]))
        inside = covariance(found, X[:, rest], X[:, rest]) + noise
        expected = covariance(found, X[:, [row]], X[:, rest]) @ torch.linalg.solve(inside, y[rest])
        assert float(found.left_out[row]) == pytest.approx(float(expected), abs=1e-8)
        below = covariance(found, X[:, [row]], X[:, rest])
        explained = below @ torch.linalg.solve(inside, below.mT)
        variance = covariance(found, X[:, [row]], X[:, [row]]) - explained
        assert float(found.variance[row]) == pytest.approx(float(variance), abs=1e-8)


def test_lengths_noise_and_predictions_are_those_of_a_gaussian_process():
    X, y, new, truth = smooth(n=80, noise=0.1)
    found = fit_random_waves(X, y, torch.ones_like(y), 1024, 400, 0)
    kernel = 1.0 * RBF([1.0, 1.0]) + WhiteKernel(0.1)
    process = GaussianProcessRegressor(kernel, n_restarts_optimizer=2, random_state=0)
    process.fit(X.mT.numpy(), y.numpy())
    assert float(1 / found.posterior.precision) == pytest.approx(0.01, rel=0.5)
    ours = (found.coef @ columns(found, new)).numpy()
    difference = ours - process.predict(new.mT.numpy())
    assert np.sqrt(np.mean(difference**2)) < 0.05
    assert np.sqrt(np.mean((ours - truth.numpy()) ** 2)) < 0.08


def test_the_covariance_of_waves_is_nearly_gaussian():
    X, y, new, _ = smooth(n=80, noise=0.1)
    found = fit_random_waves(X, y, torch.ones_like(y), 1024, 400, 1)
    waves = slice(2, -1)
    n = len(found.directions)
    values = columns(found, new)[waves]
    middle = columns(found, torch.zeros_like(new[:, :1]))[waves]
    lengths = 1 / (np.pi * found.directions.std(0))  # of cosines whose period is 2
    expected = torch.exp(-(new / lengths[:, None]).square().sum(0) / 2)
    torch.testing.assert_close((values * middle).sum(0) / n, expected, rtol=0, atol=0.1)


def test_features_of_no_use_get_long_lengths():
    X, y, _, _ = smooth(n=80)
    more = torch.tensor(np.random.default_rng(1).normal(size=(2, 80)))
    found = fit_random_waves(torch.cat([X, more]), y, torch.ones_like(y), 256, 400, 0)
    sizes = found.directions.square().mean(0).sqrt()
    assert sizes[2:].max() < 0.3 * sizes[0]


def test_errors_fall_with_rows():
    errors = []
    for n in (20, 40, 80):
        X, y, new, truth = smooth(n)
        found = fit_random_waves(X, y, torch.ones_like(y), 256, 400, 0)
        errors.append(float((found.coef @ columns(found, new) - truth).square().mean().sqrt()))
    assert errors[0] < 0.02
    assert errors[2] < errors[1] < errors[0]
    assert errors[2] < 0.002


def test_targets_that_cannot_be_told_apart_are_noise():
    X, _, _, _ = smooth()
    y = torch.tensor(np.random.default_rng(0).normal(size=40))
    found = fit_random_waves(torch.zeros_like(X), y, torch.ones_like(y), 128, 400, 0)
    np.testing.assert_allclose(found.coef @ columns(found, torch.zeros_like(X)), y.mean(), atol=0.1)


@pytest.mark.parametrize("n_waves", [128, 1024])
def test_rows_without_noise_are_met_though_the_covariance_has_few_digits(n_waves):
    rng = np.random.default_rng(0)
    X = torch.tensor(rng.uniform(-1.7, 1.7, (2, 400)))
    y = X[0] * X[1]
    found = fit_random_waves(X[:, :100], y[:100], torch.ones(100).double(), n_waves, 400, 0)
    errors = (found.coef @ columns(found, X) - y).abs()
    assert errors[:100].max() < 1e-4
    assert errors.square().mean().sqrt() < 1e-3


@pytest.mark.parametrize("kernel", KERNELS, ids=repr)
def test_slopes_of_the_evidence_are_those_of_differences(kernel):
    rng = np.random.default_rng(0)
    X, weights = torch.tensor(rng.normal(size=(2, 30))), torch.linspace(0.5, 2, 30).double()
    draws = torch.tensor(rng.uniform(size=(50, 4)))
    directions, offsets = kernel.directions(draws[:, :3]), draws[:, 3:]
    of_waves = partial(_covariance_of_waves, directions, offsets, X, weights)
    of_process = partial(_covariance, X, weights, kernel)
    g = torch.tensor(rng.normal(size=(30, 30)))
    g = g + g.mT
    for covariance, p in ((of_process, [0.1, -0.2, 0.3, -2]), (of_waves, [0.1, 0.3, -2])):
        p, step = torch.tensor(p).double(), 1e-6
        slopes = covariance(p)[1](g)
        for k, unit in enumerate(torch.eye(len(p)).double() * step):
            change = (covariance(p + unit)[0] - covariance(p - unit)[0]) / (2 * step)
            assert float((g * change).sum()) == pytest.approx(float(slopes[k]), rel=1e-5)


def test_rough_functions_choose_matern():
    rng = np.random.default_rng(0)
    X = torch.tensor(rng.uniform(-1.7, 1.7, (1, 60)))
    of_rough, of_smooth = (
        _most_probable_process(X, y, torch.ones(60).double())[0]
        for y in (2 * X[0].abs() - 1.7, torch.sin(2 * X[0]))
    )
    assert isinstance(of_rough, Matern)
    assert isinstance(of_smooth, Gaussian)
