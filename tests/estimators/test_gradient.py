"""Slopes of predictions and what they say about features."""

import numpy as np
import pandas as pd
import pytest
import torch

from skrelu import ExponentialReLURegressor
from skrelu._data.scaling import Scaling
from skrelu._estimators.stored_network import StoredNetwork
from skrelu._networks.relu_network import ReLUNetwork
from skrelu._networks.shapes import Shape
from skrelu._networks.triangle_model import TriangleModel
from skrelu._networks.triangle_network import TriangleNetwork
from skrelu.regions import regions_along

X = np.random.default_rng(0).uniform(-1, 1, size=(150, 3)) * [1, 10, 0.1]
SMALL = {"depth": 3, "n_subnetworks": 4, "n_init": 2, "random_state": 0}


@pytest.mark.slow
@pytest.mark.parametrize("n_levels", [1, 2])
@pytest.mark.parametrize("two", [False, True])
def test_gradients_are_those_of_the_network(n_levels, two):
    y = X[:, 0] * X[:, 1] + 5
    y = np.stack([y, X[:, 2] ** 2], -1) if two else y
    model = ExponentialReLURegressor(n_levels=n_levels, **SMALL).fit(X, y)
    points = 0.9 * X  # not where linear regions meet
    gradient = model.predict_gradient(points)
    assert gradient.shape == ((150, 2, 3) if two else (150, 3))
    inputs, network = torch.tensor(points), model.to_torch()
    jacobian = torch.func.vmap(torch.func.jacrev(network))(inputs).detach().numpy()
    scale = np.abs(jacobian).max()
    np.testing.assert_allclose(gradient.reshape(jacobian.shape), jacobian, atol=1e-9 * scale)
    many = model.predict_gradient(np.tile(points, (60, 1)))  # in several chunks
    np.testing.assert_allclose(many[-150:], gradient, rtol=1e-12)
    assert model.predict_gradient(X.astype(np.float32)).dtype == np.float32


@pytest.mark.slow
def test_gradients_are_the_slopes_of_linear_regions():
    model = ExponentialReLURegressor(n_levels=1, **SMALL).fit(X[:, :1], np.sin(3 * X[:, 0]))
    regions = regions_along(model, [[-1.0], [1.0]])
    middles = regions.positions[:-1] + regions.lengths / 2 - 1
    gradient = model.predict_gradient(middles[:, None])
    np.testing.assert_allclose(gradient, regions.slopes, rtol=1e-6, atol=1e-9)


@pytest.mark.slow
def test_importances_tell_what_matters():
    frame = pd.DataFrame(X, columns=["a", "b", "c"]).assign(d=1.0)
    model = ExponentialReLURegressor(random_state=0).fit(frame, X[:, 0] + 0.03 * X[:, 1])
    np.testing.assert_allclose(model.feature_importances_, [1 / 1.3, 0.3 / 1.3, 0, 0], atol=0.02)
    assert model.feature_importances_.sum() == pytest.approx(1)
    assert (model.predict_gradient(frame)[:, 3] == 0).all()
    constant = ExponentialReLURegressor().fit(X, np.ones(150))
    assert (constant.feature_importances_ == 0).all()


@pytest.mark.parametrize("n_levels", [1, 2, 3])
@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize("depth", [1, 4])
def test_slopes_of_networks_are_those_of_autograd(n_levels, n_outputs, depth):
    generator = torch.Generator().manual_seed(0)
    network = ReLUNetwork(5, 6, depth, n_outputs, n_levels)
    theta = torch.randn(2, network.n_parameters, generator=generator, dtype=torch.float64)
    inputs = torch.randn(5, 40, generator=generator, dtype=torch.float64)
    weights = network.unpack(theta)
    slopes = network.slopes(weights, network.hidden_layers(weights, inputs))
    assert slopes.shape == (2, n_outputs, 5, 40)
    leaf = inputs.requires_grad_()
    outputs = network.forward(theta, leaf)
    for start in range(2):
        for output in range(n_outputs):
            total = outputs[start, output].sum()
            (expected,) = torch.autograd.grad(total, leaf, retain_graph=True)
            size = expected.abs().max().item()
            torch.testing.assert_close(
                slopes[start, output], expected, rtol=1e-12, atol=1e-12 * size
            )


@pytest.mark.parametrize("n_levels", [1, 2])
@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("clipped", [False, True])
@pytest.mark.parametrize("log_link", [False, True])
def test_slopes_of_predictions_are_those_of_autograd(n_levels, ordered, clipped, log_link):
    generator = torch.Generator().manual_seed(1)
    network = ReLUNetwork(3, 4, 3, 3, n_levels)
    theta = torch.randn(network.n_parameters, generator=generator, dtype=torch.float64)
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(70, 3)) * [1, 10, 0.1] + 4
    y_scale = np.full(3, 0.3) if ordered else np.array([0.1, 0.2, 0.3])
    limits = np.array([[-0.5, -np.inf, 0.3], [1.5, 0.8, 1.2]])
    if ordered:  # quantiles have the range of one target
        limits = limits[:, [0, 0, 0]]
    stored = StoredNetwork(
        network,
        network.unpack(theta / 2),
        Scaling(np.full(3, 4.0), np.array([1.0, 10.0, 0.0])),
        Scaling(np.array([1.0, 0.5, 0.9]), np.ones(3) if log_link else y_scale),
        np.array([[3.0, -10, 3], [5, 10, 5]]) if clipped else None,
        limits if clipped else None,
        ordered,
        log_link,
    )
    leaf = torch.tensor(inputs, requires_grad=True)
    outputs = stored.to_torch()(leaf)
    cpu = torch.device("cpu")
    np.testing.assert_allclose(stored.predict(inputs, cpu), outputs.detach().numpy(), rtol=1e-12)
    gradient = stored.gradient(inputs, cpu)
    assert (gradient != 0).any()
    for output in range(3):
        (expected,) = torch.autograd.grad(outputs[:, output].sum(), leaf, retain_graph=True)
        size = np.abs(gradient).max()
        np.testing.assert_allclose(gradient[:, output], expected.numpy(), 1e-12, 1e-12 * size)


@pytest.mark.parametrize("smooth", [True, False])
@pytest.mark.parametrize("n_free_peaks", [None, 2])
def test_derivatives_of_outer_slopes_are_those_of_autograd(smooth, n_free_peaks):
    network = TriangleNetwork(2, 3, 4, smooth, n_free_peaks if smooth else None)
    generator = torch.Generator().manual_seed(0)
    theta = torch.randn(2, network.n_parameters, generator=generator, dtype=torch.float64)
    derivatives = network.outer_slopes_derivatives(theta)
    theta.requires_grad_()
    for side, slopes in enumerate(network.outer_slopes(theta)):
        (expected,) = torch.autograd.grad(slopes.sum(), theta, retain_graph=True)
        found = derivatives[..., side].flatten(-2)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("convexity", [(0, 1, 0), (1, -1, 0)])
def test_derivatives_of_models_with_ramps_are_those_of_autograd(convexity):
    model = TriangleModel(TriangleNetwork(3, 6, 3), 2, Shape((1, 0, -1), convexity))
    assert any(kind.name == "ramp" for kind in model.kinds)
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(3, 30, generator=generator, dtype=torch.float64)
    theta = model.random(2, inputs, generator)
    theta += 0.1 * torch.randn(theta.shape, generator=generator, dtype=torch.float64)
    cotangent = torch.randn(2, 2, 30, generator=generator, dtype=torch.float64)
    jacobian = model.jacobian(theta, inputs, cotangent)
    expected = torch.autograd.functional.jacobian(
        lambda t: (model.forward(t, inputs) * cotangent).sum((0, 1)), theta
    )
    torch.testing.assert_close(jacobian, expected.movedim(0, -1), rtol=1e-11, atol=1e-11)
