"""Fits on an accelerator, where there is one, agree with those on the CPU."""

import copy
import os
import pickle
from functools import cache

import numpy as np
import pytest
import torch

from skrelu import ExponentialReLUClassifier, ExponentialReLURegressor, compress
from skrelu.nn import ExponentialReLULayer, fit_windows, release
from tests.estimators.test_global_settings import SETTINGS
from tests.paths import MODELS, fitted, make_table, noisy, outputs

# Deterministic algorithms of cuBLAS need it, read when it is first used.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.parametrize("name", MODELS)
def test_fitted_models_tell_on_cuda_what_they_tell_on_the_cpu(name):
    model, X = fitted(name)
    X = 0.9 * X + 0.03  # off the kinks, some of which are at rows
    expected = outputs(model, X)
    for one, other in zip(expected, outputs(model.set_params(device="cuda"), X), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-9, atol=1e-9 * np.abs(one).max())


@pytest.mark.parametrize("name", MODELS)
def test_fits_on_cuda_are_like_those_on_the_cpu(name):
    on_cpu, X = fitted(name)
    on_cuda, _ = fitted(name, "cuda")
    # Steps at kinks go one way or the other by rounding: the fits differ, but are alike.
    one, other = on_cpu.loss_curve_[-1], on_cuda.loss_curve_[-1]
    assert other == pytest.approx(one, rel=0.2, abs=0.02)
    assert np.isfinite(on_cuda.predict_gradient(X)).all()


@pytest.mark.parametrize("estimator", [ExponentialReLURegressor, ExponentialReLUClassifier])
def test_encoded_columns_on_cuda_are_like_those_on_the_cpu(estimator):
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.normal(size=(600, 3)), rng.integers(0, 6, 600)])
    X[rng.random(X.shape) < 0.02] = np.nan
    y = np.nan_to_num(X[:, 0] * X[:, 1]) + (X[:, 3] % 2 == 1) + rng.normal(size=600)
    y = y > 0 if estimator is ExponentialReLUClassifier else y
    models = [
        estimator(categorical_features=[3], random_state=0, device=device).fit(X, y)
        for device in ("cpu", "cuda")
    ]
    assert all({"encoded", "residual"} & set(model.kinds_) for model in models)
    on_cpu, on_cuda = (model.score(X, y) for model in models)
    assert on_cuda == pytest.approx(on_cpu, abs=0.05)
    expected = outputs(models[0], X)
    for one, other in zip(expected, outputs(models[0].set_params(device="cuda"), X), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-9, atol=1e-9 * np.abs(one).max())


def test_error_bars_on_cuda_are_those_on_the_cpu():
    X, y = make_table(200)
    y = np.c_[y, y + 0.1 * np.random.default_rng(0).normal(size=len(y))]
    for model in (
        ExponentialReLURegressor(n_levels=2, n_subnetworks=6, n_init=2, random_state=0),
        ExponentialReLURegressor(n_levels=1, n_init=3, random_state=0),
    ):
        on_cpu, on_cuda = model.fit(X, y), copy.deepcopy(model).set_params(device="cuda")
        for one, other in (
            (on_cpu.predict(X, return_std=True), on_cuda.predict(X, return_std=True)),
            (on_cpu.predict(X[:9], return_cov=True), on_cuda.predict(X[:9], return_cov=True)),
        ):
            for a, b in zip(one, other, strict=True):
                np.testing.assert_allclose(b, a, rtol=1e-6, atol=1e-9 * np.abs(a).max())
        np.testing.assert_allclose(on_cuda.predict_interval(X), on_cpu.predict_interval(X), 1e-6)
        draws = (m.sample_y(X, 2, random_state=0) for m in (on_cpu, on_cuda))
        np.testing.assert_allclose(*draws, rtol=1e-6)
        # A fit on the device has error bars of like size.
        _, deviations = on_cuda.fit(X, y).predict(X, return_std=True)
        _, expected = on_cpu.predict(X, return_std=True)
        np.testing.assert_allclose(np.median(deviations, 0), np.median(expected, 0), rtol=0.3)


def test_a_model_of_cuda_is_exported_and_moved_to_the_cpu():
    model, X = fitted("one level", "cuda")
    network = model.to_torch()
    assert {p.device.type for p in network.parameters()} == {"cpu"}
    with torch.no_grad():
        np.testing.assert_allclose(network(torch.tensor(X))[:, 0], model.predict(X), atol=1e-10)
        blocks = model.to_torch(structure="blocks")
        assert {part.device.type for part in blocks.state_dict().values()} == {"cpu"}
        moved = blocks.cuda()(torch.tensor(X, device="cuda"))[:, 0].cpu()
        np.testing.assert_allclose(moved, model.predict(X), atol=1e-10)
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
    size = max(float(expected.abs().max()) for expected in results[0])
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance * size)


CUDA_SETTINGS = {
    **SETTINGS,
    "autocast of cuda": lambda: torch.autocast("cuda", dtype=torch.bfloat16),
    "a context of cuda": lambda: torch.device("cuda"),
}


@cache
def on_cuda(name):
    return noisy("cuda") if name == "noisy" else outputs(*fitted(name, "cuda"))


@pytest.mark.parametrize("setting", CUDA_SETTINGS)
@pytest.mark.parametrize("name", ["composed, refined", "in the limit", "adam", "classes", "noisy"])
def test_settings_change_nothing_on_cuda(name, setting):
    expected = on_cuda(name)
    state = torch.cuda.get_rng_state()
    with CUDA_SETTINGS[setting]():
        found = on_cuda.__wrapped__(name)
    assert torch.equal(torch.cuda.get_rng_state(), state)
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("offset", [0, 1e12])
@pytest.mark.parametrize("size", [1e-310, 1.0, 1e307])
def test_scales_are_met_on_cuda(offset, size):
    X, y = make_table()
    if size == 1:
        X = X + offset
    model = ExponentialReLURegressor(n_init=2, n_subnetworks=2, random_state=0, device="cuda")
    model.fit(X * size, y * size)
    for values in (model.predict_gradient(X * size), model.predict_contributions(X * size)):
        assert np.isfinite(values).all()
    np.testing.assert_allclose(model.predict(X * size) / size, y, atol=0.3)


def test_compressed_models_predict_on_cuda_what_they_predict_on_the_cpu():
    model, X = fitted("one level", "cuda")
    size = {"n_parameters": 60, "n_subnetworks": 1, "depth": 2}
    small = compress(model, X, **size, random_state=0)
    on_cuda = outputs(small, X)
    for one, other in zip(outputs(small.set_params(device="cpu"), X), on_cuda, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-9, atol=1e-9 * np.abs(one).max())


BY_PASSES = {"solver": "adam", "learning_rate": 0.01, "n_subnetworks": 4, "random_state": 0}


@pytest.mark.parametrize("estimator", [ExponentialReLURegressor, ExponentialReLUClassifier])
def test_streams_on_cuda_give_what_they_give_on_the_cpu(estimator):
    X, y = make_table(200)
    y = (y > np.median(y)) if estimator is ExponentialReLUClassifier else y
    classes = {"classes": [False, True]} if estimator is ExponentialReLUClassifier else {}
    found = []
    for device in ("cpu", "cuda"):
        model = estimator(**BY_PASSES, device=device).partial_fit(X[:50], y[:50], **classes)
        for start in range(50, 200, 50):
            model = pickle.loads(pickle.dumps(model))
            model.partial_fit(X[start : start + 50], y[start : start + 50])
        found.append(outputs(model, X))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-7, atol=1e-7 * np.abs(one).max())


def test_a_stream_goes_on_on_another_device():
    X, y = make_table(200)
    model = ExponentialReLURegressor(**BY_PASSES).partial_fit(X[:100], y[:100])
    moved = copy.deepcopy(model).set_params(device="cuda").partial_fit(X[100:], y[100:])
    model.partial_fit(X[100:], y[100:])
    np.testing.assert_allclose(moved.predict(X), model.predict(X), rtol=1e-7, atol=1e-7)


def test_scores_on_cuda_stop_where_they_stop_on_the_cpu():
    X, y = make_table(200)
    settings = {**BY_PASSES, "early_stopping": True, "scoring": "r2", "max_iter": 500}
    one, other = (
        ExponentialReLURegressor(**settings, tol=0.01, refine=False, device=device).fit(X, y)
        for device in ("cpu", "cuda")
    )
    assert one.n_iter_ == other.n_iter_ < 500
    np.testing.assert_allclose(other.predict(X), one.predict(X), rtol=1e-6, atol=1e-6)


def test_draws_and_sets_on_cuda_are_those_on_the_cpu():
    X, y = make_table(200)
    model = ExponentialReLURegressor(n_levels=2, n_subnetworks=6, n_init=2, random_state=0)
    draw = model.fit(X, y).sample_network(random_state=0)
    expected = outputs(draw, X)
    for one, other in zip(expected, outputs(draw.set_params(device="cuda"), X), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-9, atol=1e-9 * np.abs(one).max())
    classes = ExponentialReLUClassifier(n_init=2, random_state=0).fit(X, np.digitize(y, [0.6, 1.1]))
    sets = classes.predict_set(X)
    np.testing.assert_array_equal(classes.set_params(device="cuda").predict_set(X), sets)
