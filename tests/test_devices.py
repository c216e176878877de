"""Fits on an accelerator, where there is one, agree with those on the CPU."""

import copy

import numpy as np
import pytest
import torch

from skrelu import ExponentialReLUClassifier, ExponentialReLURegressor
from skrelu.nn import ExponentialReLULayer, fit_windows, release
from tests.paths import MODELS, fitted, make_table, outputs

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.parametrize("name", MODELS)
def test_cuda_gives_what_the_cpu_gives(name):
    on_cpu, X = fitted(name)
    on_cuda, _ = fitted(name, "cuda")
    for expected, found in zip(outputs(on_cpu, X), outputs(on_cuda, X), strict=True):
        size = np.abs(expected).max()
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * size)


def test_a_model_of_cuda_is_exported_and_moved_to_the_cpu():
    model, X = fitted("one level", "cuda")
    network = model.to_torch()
    assert {p.device.type for p in network.parameters()} == {"cpu"}
    with torch.no_grad():
        np.testing.assert_allclose(network(torch.tensor(X))[:, 0], model.predict(X), atol=1e-10)
    expected = model.predict(X)
    model.set_params(device="cpu")
    np.testing.assert_allclose(model.predict(X), expected, atol=1e-10)


def test_a_warm_start_goes_on_on_another_device():
    X, y = make_table()
    for estimator, target in (
        (ExponentialReLURegressor, y),
        (ExponentialReLUClassifier, y > np.median(y)),
    ):
        model = estimator(n_init=2, n_subnetworks=2, tol=0.5, warm_start=True, random_state=0)
        model.fit(X, target)
        before = model.score(X, target)
        model.set_params(device="cuda").fit(X, target)
        assert model.score(X, target) > before - 0.01


def test_tables_on_cuda_are_taken():
    X, y = make_table()
    model = ExponentialReLURegressor(n_init=2, n_subnetworks=2, tol=0.5, random_state=0)
    expected = model.fit(X, y).predict(X)
    X, y = torch.tensor(X, device="cuda"), torch.tensor(y, device="cuda")
    np.testing.assert_array_equal(model.fit(X, y).predict(X), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_layers_on_cuda_give_what_they_give_on_the_cpu(dtype):
    torch.manual_seed(0)
    layer = ExponentialReLULayer(5, 3, depth=4, dtype=dtype)
    X = torch.randn(64, 5, dtype=dtype)
    fit_windows(layer, X)
    results = []
    for device in ("cpu", "cuda"):
        moved = copy.deepcopy(layer).to(device)
        out = moved(X.to(device))
        out.square().mean().backward()
        grads = [p.grad.cpu() for p in moved.parameters()]
        released = release(moved)(X.to(device)).detach().cpu()
        results.append([out.detach().cpu(), released, *grads])
    tolerance = 1e-4 if dtype == torch.float32 else 1e-10
    for expected, found in zip(*results, strict=True):
        size = float(expected.abs().max())
        torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance * size)
