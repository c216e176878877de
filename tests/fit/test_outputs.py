"""Outputs that differ in noise: precisions and weights of their own."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from skrelu import ExponentialReLURegressor
from skrelu._fit.stacking import _convex_of_outputs
from skrelu._networks.composed_network import ComposedNetwork
from skrelu._solvers.evidence import EvidenceProblem, Precisions, fit_by_evidence
from skrelu._solvers.losses import Pinball
from skrelu._solvers.progress import Options
from skrelu._solvers.rows import Rows

DOUBLE = torch.float64


def smooth(X):
    return np.sin(2 * X[:, 0]) * X[:, 1] + X[:, 2] ** 2


def standardized(y):
    return (y - y.mean(0)) / y.std(0)


def rows_of(X, Y):
    weights = torch.full((1, len(X)), 1 / len(X), dtype=DOUBLE)
    loss = Rows(torch.tensor(X.T), torch.tensor(Y.T), weights, None, len(X))
    return replace(loss, loss=replace(loss.loss, null=(1.0,) * Y.shape[1]), base=weights[0])


def test_precisions_of_outputs_are_relative_to_their_geometric_mean():
    precisions = Precisions(torch.ones(1, 3, dtype=DOUBLE), torch.ones(2).double(), n_outputs=2)
    losses = torch.tensor([[1e-6, 1.0], [0.0, 1.0]], dtype=DOUBLE)
    precisions.balance(losses, torch.arange(2))
    torch.testing.assert_close(precisions.of_outputs[0], torch.tensor([1e3, 1e-3]).double())
    # Rounding limits the ratio.
    ratio = precisions.of_outputs[1, 0] / precisions.of_outputs[1, 1]
    assert 1e12 < ratio < 1e14


def test_the_gradient_is_that_of_the_cost_with_precisions_of_outputs():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, size=(60, 3))
    rows = rows_of(X, np.column_stack([smooth(X), rng.normal(size=60)]))
    network, starts = ComposedNetwork(3, 4, 2, 2), torch.arange(1)
    theta = network.random(1, torch.Generator().manual_seed(0)).double()
    problem = EvidenceProblem(network, rows, resumed=1.0)
    at = problem.evaluate(theta, starts)
    equations, at = problem.linearize(at, starts, None)
    assert not torch.allclose(problem.precisions.of_outputs, torch.ones(1, 2, dtype=DOUBLE))
    step = 1e-6 * torch.eye(network.n_parameters, dtype=DOUBLE)
    costs = [problem.evaluate(theta + sign * step, 0 * torch.arange(len(step))).cost
             for sign in (1, -1)]  # fmt: skip
    slope = (costs[0] - costs[1]) / 2e-6
    torch.testing.assert_close(2 * equations.gradient[0], slope, rtol=1e-4, atol=1e-4)


def test_noise_of_one_output_does_not_spoil_another():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, size=(500, 3))
    Y = standardized(np.column_stack([smooth(X), rng.normal(size=500)]))
    network = ComposedNetwork(3, 8, 2, 2)
    start = network.random(1, torch.Generator().manual_seed(0)).double()
    options = Options("lm", 100, 1e-4, 20, 1e-3, 200, torch.Generator().manual_seed(0))
    rows, unseen = rows_of(X[:300], Y[:300]), torch.tensor(X[300:].T)
    result = fit_by_evidence(network, start, rows, options)
    error = (network.forward(result.theta, unseen)[0].numpy() - Y[300:].T) ** 2
    assert error[0].mean() < 1e-4
    assert 0.7 < error[1].mean() < 2


def test_each_output_has_the_weights_of_the_kind_that_predicts_it():
    rng = np.random.default_rng(0)
    Y = rng.normal(size=(400, 2))
    noisy = Y + rng.normal(size=(2, 400, 2))
    left_out = np.stack([noisy[0], noisy[1]])
    left_out[0, :, 0], left_out[1, :, 1] = Y[:, 0], Y[:, 1]
    left_out = torch.tensor(left_out).mT
    rows = rows_of(rng.normal(size=(400, 3)), Y)
    weights, error = _convex_of_outputs(left_out, rows)
    np.testing.assert_allclose(weights, np.eye(2), atol=0.05)
    assert error < 0.01
    # Quantiles of one target have the same weights.
    quantiles = replace(rows, loss=Pinball(null=(1.0, 1.0), quantiles=(0.2, 0.8)))
    together, _ = _convex_of_outputs(left_out, quantiles)
    np.testing.assert_array_equal(together[:, 0], together[:, 1])


@pytest.fixture(scope="module")
def mixed():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, size=(300, 4))
    Y = np.column_stack([smooth(X), rng.normal(size=300)])
    return ExponentialReLURegressor(random_state=0).fit(X, Y), X, Y


@pytest.mark.slow
def test_a_clean_output_beside_noise_is_fitted_as_if_alone(mixed):
    model, _, Y = mixed
    unseen = np.random.default_rng(1).uniform(-1, 1, size=(1000, 4))
    error = model.predict(unseen)[:, 0] - smooth(unseen)
    assert np.mean(error**2) < 1e-5 * np.var(smooth(unseen))
    # Beside it, noise is noise.
    assert np.mean(model.predict(unseen)[:, 1] ** 2) < 0.2
    assert all(weights.shape == (2,) for weights in model.kinds_.values())
    np.testing.assert_allclose(sum(model.kinds_.values()), 1)
    assert model.kinds_["waves"][0] > 0.99
    # The clean output goes on outside the training range, the other one is bounded.
    far = np.full((1, 4), 1.2)
    assert model.predict(far)[0, 0] == pytest.approx(smooth(far)[0], abs=0.3)
    assert model.X_limits_ is None
    low, high = model.y_limits_
    np.testing.assert_array_equal([low[1], high[1]], [Y[:, 1].min(), Y[:, 1].max()])
    assert high[0] - low[0] == pytest.approx(3 * np.ptp(Y[:, 0]))


@pytest.mark.slow
@pytest.mark.long
def test_networks_with_weights_of_outputs_have_all_methods(mixed):
    model, X, _ = mixed
    expected = model.predict(X[:50])
    for structure in ("dense", "blocks"):
        network = model.to_torch(structure=structure)
        found = network(torch.tensor(X[:50])).detach().numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-11)
    step = 1e-6 * np.eye(4)[0]
    slopes = (model.predict(X[:50] + step) - model.predict(X[:50] - step)) / 2e-6
    apart = np.abs(model.predict_gradient(X[:50])[:, :, 0] - slopes) > 1e-4
    assert apart.mean() < 0.05  # a step may cross a knot
    total = model.predict_contributions(X[:50]).sum(-1)
    np.testing.assert_allclose(np.clip(total, *model.y_limits_), expected, atol=1e-10)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X[:50]), expected)
    _, deviation = model.predict(X[:50], return_std=True)
    assert (deviation[:, 0] < 0.01 * deviation[:, 1]).all()
    assert model.noise_[1] == pytest.approx(1, rel=0.2)
    draws = model.sample_y(X[:50], 8, random_state=0)
    apart = np.abs(draws.mean(-1) - expected) / deviation
    assert apart.mean() < 0.5


@pytest.mark.slow
def test_warm_starts_go_on_with_weights_of_outputs(mixed):
    model, X, Y = mixed
    again = pickle.loads(pickle.dumps(model)).set_params(warm_start=True).fit(X, Y)
    assert again.kinds_["waves"][0] > 0.99
    unseen = np.random.default_rng(1).uniform(-1, 1, size=(1000, 4))
    error = again.predict(unseen)[:, 0] - smooth(unseen)
    assert np.mean(error**2) < 1e-4 * np.var(smooth(unseen))


def test_weights_do_not_depend_on_the_size_of_losses():
    rng = np.random.default_rng(0)
    left_out = torch.tensor(rng.normal(size=(2, 1, 400)) * np.array([0.5, 1])[:, None, None])
    found = []
    for size in (1e-2, 1e-5):
        rows = rows_of(rng.normal(size=(400, 3)), np.zeros((400, 1)))
        rows = replace(rows, y=rows.y + torch.linspace(-9, 9, 400).double())
        found.append(_convex_of_outputs(rows.y + size * left_out, rows)[0])
    np.testing.assert_allclose(*found, atol=1e-3)
    assert found[0][0, 0] > 0.6
