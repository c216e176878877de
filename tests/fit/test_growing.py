"""Deep networks grow from shallower ones: nothing is lost on the way."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from skrelu import ExponentialReLURegressor
from skrelu._fit import tuning
from skrelu._fit.growing import best_neurons, refine_growing
from skrelu._networks.parabolic_network import ParabolicNetwork
from skrelu._networks.relu_network import ReLUNetwork
from skrelu._networks.triangle_network import TriangleNetwork
from skrelu._solvers.progress import Options
from skrelu._solvers.rows import Rows

CURVES = {"exp": np.exp, "tanh": lambda x: np.tanh(3 * x), "x^3": lambda x: x**3}


def rows_of(values, n=400):
    X = torch.linspace(-1, 1, n, dtype=torch.float64)[None]
    y = values(X)
    weights = torch.full((1, n), 1 / n, dtype=torch.float64)
    return Rows(X, (y - y.mean()) / y.std(), weights, None, n)


def options(max_iter=40):
    generator = torch.Generator().manual_seed(0)
    return Options("lm", max_iter, 1e-4, 20, 0, 0, generator, tuning.REFINEMENT_TRIALS)


def parabolic_start(rows, n_subnetworks=1):
    generator = torch.Generator().manual_seed(1)
    triangles = TriangleNetwork(1, n_subnetworks, 8, n_free_peaks=1)
    theta = triangles.random(len(rows.training), rows.X, generator)
    coef = torch.randn(len(rows.training), 2 + n_subnetworks, 1, generator=generator)
    return triangles.to_parabolic(theta, 0.1 * coef.to(rows.X))


@pytest.mark.parametrize("n_subnetworks", [1, 3])
def test_appended_layers_leave_the_function_as_it_is_exactly(n_subnetworks):
    generator = torch.Generator().manual_seed(0)
    network = ReLUNetwork(2, n_subnetworks, 3, 2)
    theta = torch.randn(4, network.n_parameters, generator=generator, dtype=torch.float64)
    X = 10 * torch.randn(2, 100, generator=generator, dtype=torch.float64)
    deeper, copied = network.deepened(theta, 6)
    assert deeper == ReLUNetwork(2, n_subnetworks, 6, 2)
    assert copied.shape == (4, deeper.n_parameters)
    assert torch.equal(deeper.forward(copied, X), network.forward(theta, X))
    derivatives = deeper.jacobian(copied, X, torch.ones(4, 2, 100, dtype=torch.float64))
    assert (derivatives[..., -1, :] == 1).all()


def test_derivatives_by_the_weights_of_added_neurons():
    rows = rows_of(torch.exp)
    network, theta = parabolic_start(rows, n_subnetworks=2)
    generator = torch.Generator().manual_seed(0)
    neurons = network.random_neurons(theta, rows.X, 1, generator)
    by_output, by_v = network.derivatives_of_neurons(theta, rows.X, *neurons).unbind(-2)
    deeper, moved = network.deepen(theta, rows.X, neurons)
    n, step = deeper.relu.n_parameters, 1e-6
    for k in range(2):
        end = k * (n - 2) // 2 + (n - 2) // 2  # of the weights of the sub-network
        parabola = n + 6 * k
        for index, expected in ((end - 1, by_output), (parabola + 3, by_v)):
            sides = []
            for sign in (1, -1):
                at = moved.clone()
                at[:, index] += sign * step
                sides.append(deeper.forward(at, rows.X))
            slope = (sides[0] - sides[1])[:, 0] / (2 * step)
            torch.testing.assert_close(slope, expected[:, k, 0], rtol=1e-6, atol=1e-6)


def test_the_neuron_that_the_residual_is_made_of_is_chosen(monkeypatch):
    rows = rows_of(torch.exp)
    network, theta = parabolic_start(rows)
    drawn = network.random_neurons(theta, rows.X, 50, torch.Generator().manual_seed(3))
    monkeypatch.setattr(ParabolicNetwork, "random_neurons", lambda *_: drawn)
    added = network.derivatives_of_neurons(theta, rows.X, *drawn)[:, 0, 17]
    for part in added.unbind(1):
        y = network.forward(theta, rows.X)[0] + 0.01 * part
        made = Rows(rows.X, y, rows.training, None, rows.n_trained)
        matrix, bias = best_neurons(network, theta, made, torch.Generator())
        torch.testing.assert_close(matrix[:, 0, 0], drawn[0][:, 0, 17])
        torch.testing.assert_close(bias[:, 0, 0], drawn[1][:, 0, 17])


def test_networks_of_several_starts_grow_to_the_depth(monkeypatch):
    monkeypatch.setattr(tuning, "LIMIT_ITER", 3)
    monkeypatch.setattr(tuning, "GROWN_ITER", 2)
    rows = rows_of(torch.exp)
    two = Rows(rows.X, rows.y, rows.training.repeat(2, 1), None, rows.n_trained)
    network, theta = parabolic_start(two)
    penalty = torch.zeros(2, network.relu.n_parameters, dtype=torch.float64)
    losses = []
    for depth in (8, 9, 12, 14):
        result, ridge = refine_growing(network, theta, depth, two, 0.0, penalty, options(), 2)
        relu = ReLUNetwork(1, 1, depth, 1)
        assert result.theta.shape == ridge.shape == (2, relu.n_parameters)
        loss = (relu.forward(result.theta, rows.X) - rows.y).square().mean((1, 2))
        torch.testing.assert_close(loss, result.loss, rtol=1e-8, atol=1e-20)
        losses.append(loss)
    for shallower, deeper in pairwise(losses):
        assert (deeper <= shallower * (1 + 1e-9)).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["x^3", *(pytest.param(name, marks=pytest.mark.long) for name in ("exp", "tanh"))]
)
@pytest.mark.long
def test_deeper_networks_fit_no_worse(name):
    X = np.linspace(0, 1, 400)[:, None]
    y = CURVES[name](X[:, 0])
    errors = []
    for depth in (2, 5, 8):
        model = ExponentialReLURegressor(depth=depth, n_subnetworks=1, n_init=1, random_state=0)
        errors.append(np.mean((model.fit(X, y).predict(X) - y) ** 2))
        assert len(model.hidden_weights_) == depth
    assert (np.diff(errors) <= 1e-6 * np.array(errors[:-1])).all(), errors


@pytest.mark.slow
def test_a_parabola_keeps_its_rate():
    X = np.linspace(0, 1, 4096)[:, None]
    y = X[:, 0] ** 2
    models = [
        ExponentialReLURegressor(depth=depth, n_subnetworks=1, n_init=1, random_state=0).fit(X, y)
        for depth in (8, 10, 12)
    ]
    points = np.linspace(0, 1, 20_001)[:, None]
    errors = [np.mean((model.predict(points) - points[:, 0] ** 2) ** 2) for model in models]
    assert errors[1] < errors[0] / 16
    assert errors[2] < errors[0] / 16**2
