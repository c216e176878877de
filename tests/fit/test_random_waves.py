"""Gaussian processes against closed forms, and their projections on periodic waves."""

from functools import partial

import numpy as np
import pytest
import torch
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel

from skrelu._fit import projection
from skrelu._fit.gaussian_process import (
    FEW,
    FIRST_ROWS,
    KERNELS,
    Gaussian,
    Matern,
    _covariance,
    _Search,
    fit_process,
)
from skrelu._fit.projection import Span, points_between
from skrelu._fit.random_waves import fit_random_waves
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


def process_of(X, y, weights=None):
    weights = torch.ones_like(y) if weights is None else weights
    return fit_process(X, y, weights, 400, torch.Generator().manual_seed(0))


def covariance(process, X, other):
    """Return the covariance by its definition."""
    apart = (X[:, :, None] - other[:, None]) / process.lengths[:, None, None]
    return process.amplitude**2 * (1 + process.kernel.of(apart.square().sum(0))[0])


def test_the_posterior_is_that_of_the_textbook():
    X, y, new, _ = smooth(noise=0.1)
    weights = torch.linspace(0.5, 1.5, len(y), dtype=DOUBLE)
    process = process_of(X, y, weights)
    inside = covariance(process, X, X) + torch.diag(process.noise / weights)
    below = covariance(process, new, X)
    torch.testing.assert_close(process.mean(new), below @ torch.linalg.solve(inside, y))
    explained = below @ torch.linalg.solve(inside, below.mT)
    expected = covariance(process, new, new) - explained
    torch.testing.assert_close(process.covariance(new), expected, rtol=1e-6, atol=1e-9)


def test_left_out_rows_are_predicted_by_all_others():
    X, y, _, _ = smooth(noise=0.1)
    weights = torch.linspace(0.5, 1.5, len(y), dtype=DOUBLE)
    process = process_of(X, y, weights)
    left_out, variances = process.left_out()
    for row in (0, 17):
        rest = torch.arange(len(y)) != row
        inside = covariance(process, X[:, rest], X[:, rest])
        inside = inside + torch.diag(process.noise / weights[rest])
        below = covariance(process, X[:, [row]], X[:, rest])
        expected = below @ torch.linalg.solve(inside, y[rest])
        assert float(left_out[row]) == pytest.approx(float(expected), abs=1e-8)
        explained = below @ torch.linalg.solve(inside, below.mT)
        variance = covariance(process, X[:, [row]], X[:, [row]]) - explained
        assert float(variances[row]) == pytest.approx(float(variance), abs=1e-8)


def test_lengths_noise_and_predictions_are_those_of_scikit_learn():
    X, y, new, truth = smooth(n=80, noise=0.1)
    process = process_of(X, y)
    kernel = 1.0 * RBF([1.0, 1.0]) + WhiteKernel(0.1)
    other = GaussianProcessRegressor(kernel, n_restarts_optimizer=2, random_state=0)
    other.fit(X.mT.numpy(), y.numpy())
    assert float(process.noise) == pytest.approx(0.01, rel=0.5)
    ours = process.mean(new).numpy()
    assert np.sqrt(np.mean((ours - other.predict(new.mT.numpy())) ** 2)) < 0.05
    assert np.sqrt(np.mean((ours - truth.numpy()) ** 2)) < 0.08


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_waves_have_the_mean_and_the_variance_of_the_process(noise):
    X, y, _, _ = smooth(n=60, noise=noise)
    process = process_of(X, y)
    found = fit_random_waves(X, y, torch.ones_like(y), 128, 400, 0)
    between = points_between(X, 500, torch.Generator().manual_seed(5))
    variance = process.covariance(between).diagonal().clamp_min(0)
    away = found.coef @ columns(found, between) - process.mean(between)
    assert (away.square() / (variance + process.noise)).mean().sqrt() < 0.2
    ours = (found.posterior.root @ columns(found, between)).square().sum(0)
    ratios = (ours + process.noise) / (variance + process.noise)
    assert float(ratios.log().abs().median()) < 0.1
    left_out, _ = process.left_out()
    torch.testing.assert_close(found.left_out, left_out, rtol=0, atol=0.02)


def test_what_few_waves_cannot_hold_makes_errors_and_variances_larger():
    X, y, new, truth = smooth(n=80)
    spreads = []
    for n_waves in (128, 4):
        found = fit_random_waves(X, y, torch.ones_like(y), n_waves, 400, 0)
        away = found.coef @ columns(found, new) - truth
        sizes = (found.posterior.root @ columns(found, new)).square().sum(0).sqrt()
        assert float((found.left_out - y).square().mean().sqrt()) < 3 * float(away.std()) + 1e-3
        held = (away.abs() < 2 * sizes).double().mean()
        assert held > 0.8
        spreads.append((sizes.median(), (found.left_out - y).norm()))
    assert spreads[1][0] > 10 * spreads[0][0]
    assert spreads[1][1] > 10 * spreads[0][1]


def test_the_size_of_coefficients_is_bounded():
    X, y, _, _ = smooth()
    free, bounded = (
        fit_random_waves(X, y, torch.ones_like(y), 128, 400, 0, most) for most in (np.inf, 100.0)
    )
    assert free.coef.abs().sum() > 100
    assert bounded.coef.abs().sum() <= 100
    assert (free.left_out - y).norm() < (bounded.left_out - y).norm()


@pytest.mark.parametrize("n_features", [2, 80])
def test_roots_of_the_posterior_are_square_and_lower_triangular(monkeypatch, n_features):
    monkeypatch.setattr(projection, "FEWEST_POINTS", 10)
    X = torch.tensor(np.random.default_rng(0).normal(size=(n_features, 40)))
    found = fit_random_waves(X, X[0].sin(), torch.ones(40).double(), 32, 400, 0)
    root = found.posterior.root
    assert root.shape == (n_features + 33, n_features + 33)
    assert torch.equal(root, root.tril())


def test_points_lie_between_rows_and_mix_features():
    X = torch.tensor([[0.0, 1.0, 2.0], [5.0, 6.0, 9.0]], dtype=DOUBLE)
    points = points_between(X, 400, torch.Generator().manual_seed(0))
    assert points.shape == (2, 400)
    assert (points.amin(1) == X.amin(1)).all()
    assert (points.amax(1) == X.amax(1)).all()
    mixed = {tuple(point) for point in points[:, :200].mT.tolist()}
    assert mixed == {(a, b) for a in X[0].tolist() for b in X[1].tolist()}
    for point in points[:, 200:].mT:
        away = (X - point[:, None]).norm(dim=0)
        apart = (X[:, :, None] - X[:, None]).norm(dim=0)
        assert (away + away[:, None] - apart).min() < 1e-9


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
def test_slopes_of_the_covariance_are_those_of_differences(kernel):
    rng = np.random.default_rng(0)
    X, weights = torch.tensor(rng.normal(size=(2, 30))), torch.linspace(0.5, 2, 30).double()
    of = partial(_covariance, X, weights, kernel)
    g = torch.tensor(rng.normal(size=(30, 30)))
    g, p, step = g + g.mT, torch.tensor([0.1, -0.2, 0.3, -2]).double(), 1e-6
    slopes = of(p)[1](g)
    for k, unit in enumerate(torch.eye(len(p)).double() * step):
        change = (of(p + unit)[0] - of(p - unit)[0]) / (2 * step)
        assert float((g * change).sum()) == pytest.approx(float(slopes[k]), rel=1e-5)


@pytest.mark.parametrize("kernel", KERNELS, ids=repr)
def test_waves_along_drawn_directions_have_the_covariance(kernel):
    draws = torch.quasirandom.SobolEngine(3, seed=0).draw(4096, dtype=DOUBLE).clamp(1e-6, 1 - 1e-6)
    directions = kernel.directions(draws) / np.pi
    offsets = torch.rand(4096, 1, generator=torch.Generator().manual_seed(0), dtype=DOUBLE) * 2
    X = torch.tensor(np.random.default_rng(0).normal(size=(2, 200)))
    waves = Ripple().derivatives(directions @ X + offsets, 1)[0]
    middle = Ripple().derivatives(offsets, 1)[0]
    expected = kernel.of(X.square().sum(0))[0]
    torch.testing.assert_close((waves * middle).mean(0), expected, rtol=0, atol=0.06)


def test_rough_functions_choose_matern():
    rng = np.random.default_rng(0)
    X = torch.tensor(rng.uniform(-1.7, 1.7, (1, 60)))
    of_rough, of_smooth = (
        _Search(X, y, torch.ones(60).double(), FEW).first()[0]
        for y in (2 * X[0].abs() - 1.7, torch.sin(2 * X[0]))
    )
    assert isinstance(of_rough, Matern)
    assert isinstance(of_smooth, Gaussian)


def test_many_rows_go_on_from_the_parameters_of_some():
    X, y, new, truth = smooth(n=FIRST_ROWS + 100, noise=0.1)
    process = process_of(X, y)
    alone = process_of(X[:, :FIRST_ROWS], y[:FIRST_ROWS])
    assert float(process.noise) == pytest.approx(0.01, rel=0.3)
    assert process.kernel == alone.kernel
    assert not torch.allclose(process.lengths, alone.lengths, rtol=1e-3)

    def evidence(lengths, amplitude, noise):
        distances = ((X[:, :, None] - X[:, None]) / lengths[:, None, None]).square().sum(0)
        inside = amplitude**2 * (1 + process.kernel.of(distances)[0]) + noise * torch.eye(len(y))
        return -(y @ torch.linalg.solve(inside, y) + torch.linalg.slogdet(inside)[1]) / 2

    ours, theirs = (evidence(one.lengths, one.amplitude, one.noise) for one in (process, alone))
    assert ours > theirs
    assert (process.mean(new) - truth).square().mean().sqrt() < 0.03


def test_more_rows_find_lines():
    rng = np.random.default_rng(0)
    X = torch.tensor(rng.uniform(-1.7, 1.7, (3, 120)))
    y = torch.sin(2 * X[0]) + X[1]
    lengths = process_of(X, y - y.mean()).lengths
    assert lengths[0] < 5
    assert lengths[1:].min() > 200


def test_spans_hold_what_their_columns_hold():
    rng = np.random.default_rng(0)
    basis, mix = torch.tensor(rng.normal(size=(4, 60))), torch.tensor(rng.normal(size=(3, 4)))
    span = Span.of(basis)
    half = mix @ basis
    root, wider = span.root(half.mT @ half, torch.ones(4).double(), torch.tensor(0.0))
    assert float(wider) == pytest.approx(1, abs=1e-6)
    torch.testing.assert_close(root.mT @ root, mix.mT @ mix, rtol=1e-6, atol=1e-6)
    beyond = torch.tensor(rng.normal(size=(60, 60)))
    covariance = beyond @ beyond.mT
    root, wider = span.root(covariance, span.share(1e-3), torch.tensor(5.0))
    total = (root @ basis).square().sum()
    assert float(total) == pytest.approx(float(covariance.diagonal().sum() + 5), rel=0.02)
    assert wider > 5
