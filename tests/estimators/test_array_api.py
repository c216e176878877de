"""Tensors and other arrays give results of the same kind, as the array API standard says."""

from contextlib import suppress
from functools import partial
from unittest import SkipTest

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt
from sklearn import config_context
from sklearn.base import clone
from sklearn.callback import ScoringMonitor
from sklearn.utils import get_tags
from sklearn.utils._array_api import move_estimator_to, yield_namespace_device_dtype_combinations
from sklearn.utils.estimator_checks import (
    _yield_array_api_checks,
    check_array_api_input_and_values,
)

from skrelu import (
    CompressedRegressor,
    ExponentialReLUClassifier,
    ExponentialReLURegressor,
    compress,
)
from skrelu._data import torch_interop
from skrelu.inspection import FeatureEffectDisplay, SubnetworkDisplay
from skrelu.optimize import minimize

strict = pytest.importorskip("array_api_strict")

QUICK = {"n_subnetworks": 2, "n_levels": 1, "n_init": 2, "max_iter": 30, "tol": 0.5}
REGRESSOR = ExponentialReLURegressor(**QUICK, refine=False, random_state=0)
CLASSIFIER = ExponentialReLUClassifier(**QUICK, random_state=0)
X = np.random.default_rng(0).uniform(size=(80, 2))
y = X[:, 0] ** 2 + X[:, 1]
KINDS = [partial(torch.tensor, dtype=torch.float32), strict.asarray]


@pytest.fixture(autouse=True, scope="module")
def scipy_dispatches():
    # scikit-learn wants it before scipy is imported; nothing of scipy sees other arrays here.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCIPY_ARRAY_API", "1")
        yield


def n_passed(checks, estimator):
    """Run checks and return how many this machine could run: others need a GPU or a package."""
    n = 0
    for check in checks:
        with suppress(SkipTest):
            check(type(estimator).__name__, estimator)
            n += 1
    return n


@pytest.mark.slow
@pytest.mark.parametrize("estimator", [REGRESSOR, CLASSIFIER])
def test_the_checks_of_scikit_learn_pass(estimator):
    assert n_passed(_yield_array_api_checks(estimator), estimator) >= 7


@pytest.mark.slow
@pytest.mark.parametrize("estimator", [REGRESSOR, CLASSIFIER])
def test_values_are_those_of_arrays(estimator):
    checks = [
        partial(
            check_array_api_input_and_values,
            array_namespace=namespace,
            device_name=device,
            dtype_name=dtype or "float64",
            check_sample_weight=True,
        )
        for namespace, device, dtype in yield_namespace_device_dtype_combinations()
    ]
    assert n_passed(checks, estimator) >= 5


@pytest.mark.parametrize("kind", KINDS, ids=["torch", "strict"])
def test_all_methods_of_a_regressor_return_what_they_are_given(kind):
    given = kind(X)
    plain = clone(REGRESSOR).fit(np.asarray(given), np.asarray(kind(y)))
    calls = [
        lambda m, X: m.predict(X),
        lambda m, X: m.predict(X, return_std=True)[1],
        lambda m, X: m.predict(X=X, return_cov=True)[1],
        lambda m, X: m.predict_interval(X, coverage=0.5),
        lambda m, X: m.predict_gradient(X),
        lambda m, X: m.predict_contributions(X),
        lambda m, X: m.encode(X),
        lambda m, X: m.sample_y(X, n_samples=2, random_state=0),
        lambda m, X: m.sample_network(random_state=0).predict(X),
    ]
    with config_context(array_api_dispatch=True):
        model = clone(REGRESSOR).fit(given, kind(y))
        results = [call(model, given) for call in calls]
        assert model.score(given, y) == pytest.approx(plain.score(X, y), abs=1e-6)
    for call, result in zip(calls, results, strict=True):
        assert type(result) is type(given)
        assert result.dtype == given.dtype
        np.testing.assert_array_equal(np.asarray(result), call(plain, np.asarray(given)))
    assert type(model.directions_) is type(given)


@pytest.mark.parametrize("kind", KINDS, ids=["torch", "strict"])
def test_all_methods_of_a_classifier_return_what_they_are_given(kind):
    given, labels = kind(X), np.where(y > 1, "yes", "no")
    names = ("predict_proba", "predict_log_proba", "decision_function", "predict_set")
    with config_context(array_api_dispatch=True):
        model = clone(CLASSIFIER).fit(given, labels)
        words = model.predict(given)
        results = [getattr(model, name)(given) for name in names]
        numbers = clone(CLASSIFIER).fit(given, kind(y > 1))
        assert type(numbers.predict(given)) is type(given)
        assert numbers.score(given, y > 1) == pytest.approx(np.mean(words == labels))
    assert set(words) == {"yes", "no"}  # strings are of numpy alone
    assert all(type(result) is type(given) for result in results)


@pytest.fixture(scope="module")
def of_tensors(scipy_dispatches):
    with config_context(array_api_dispatch=True):
        return clone(REGRESSOR).fit(torch.tensor(X), torch.tensor(y))


@pytest.mark.long
@pytest.mark.slow
def test_what_takes_a_model_takes_one_of_tensors(of_tensors):
    plain = clone(REGRESSOR).fit(X, y)
    with config_context(array_api_dispatch=True):
        exported = of_tensors.to_torch()(torch.tensor(X))[:, 0]
        found = minimize(of_tensors, [(0, 1), (0, 1)])
        small = compress(of_tensors, torch.tensor(X), n_subnetworks=1, depth=2, random_state=0)
        for display in (FeatureEffectDisplay, SubnetworkDisplay):
            assert display.from_estimator(of_tensors, torch.tensor(X)) is not None
    np.testing.assert_allclose(exported.detach().numpy(), plain.predict(X))
    assert found.fun == minimize(plain, [(0, 1), (0, 1)]).fun
    assert small.score(X, y) > 0.999
    plt.close("all")


@pytest.mark.long
@pytest.mark.slow
def test_small_models_return_arrays():
    model = CompressedRegressor(REGRESSOR, n_subnetworks=1, depth=2, random_state=0)
    assert not get_tags(model).array_api_support
    with config_context(array_api_dispatch=True):
        predictions = model.fit(torch.tensor(X), torch.tensor(y)).predict(torch.tensor(X))
    assert isinstance(predictions, np.ndarray)
    np.testing.assert_allclose(predictions, y, atol=0.05)


def test_callbacks_see_models_of_arrays():
    monitor = ScoringMonitor(scoring="r2")
    model = clone(REGRESSOR).set_callbacks(monitor)
    with config_context(array_api_dispatch=True):
        model.fit(torch.tensor(X), torch.tensor(y))
        assert isinstance(model.intercept_, torch.Tensor)
        score = model.score(torch.tensor(X), torch.tensor(y))
    assert monitor.get_logs().data[-1]["r2"] == pytest.approx(score)


def test_without_dispatch_everything_is_an_array(of_tensors):
    plain = clone(REGRESSOR).fit(torch.tensor(X), torch.tensor(y))
    for model in (plain, of_tensors):
        predictions = model.predict(torch.tensor(X))
        assert isinstance(predictions, np.ndarray)
        np.testing.assert_array_equal(predictions, plain.predict(X))
    assert isinstance(plain.directions_, np.ndarray)


def test_other_arrays_than_those_of_the_fit_are_refused(of_tensors):
    with config_context(array_api_dispatch=True):
        with pytest.raises(ValueError, match=r"Regressor.predict\(\) must use the same namespace"):
            of_tensors.predict(X)
        moved = move_estimator_to(of_tensors, np, "cpu")
        assert isinstance(moved.predict(X), np.ndarray)


def test_a_warm_start_goes_on_with_other_arrays():
    model = clone(REGRESSOR).set_params(warm_start=True).fit(X, y)
    again = clone(model).fit(X, y).fit(X, y)
    with config_context(array_api_dispatch=True):
        model.fit(torch.tensor(X), torch.tensor(y))
    assert isinstance(model.intercept_, torch.Tensor)
    np.testing.assert_array_equal(model.predict(X), again.predict(X))


def test_the_automatic_device_is_that_of_the_tensors(monkeypatch):
    # It would be chosen otherwise.
    monkeypatch.setattr(torch_interop, "_accelerators", lambda: [torch.device("cuda", 0)])
    model = clone(REGRESSOR).set_params(device="auto")
    with config_context(array_api_dispatch=True):
        model.fit(torch.tensor(X), torch.tensor(y)).predict(torch.tensor(X))
    assert model.device == "auto"


def test_a_failed_fit_leaves_the_model_as_it_was(of_tensors):
    before = dict(vars(of_tensors))
    with config_context(array_api_dispatch=True), pytest.raises(ValueError, match="NaN"):
        of_tensors.fit(torch.tensor(X), torch.full((80,), torch.nan))
    assert vars(of_tensors) == before


@pytest.mark.parametrize("kind", KINDS, ids=["torch", "strict"])
def test_streams_of_other_arrays_are_learned_like_those_of_numpy(kind):
    stream = clone(REGRESSOR).set_params(solver="adam")
    expected = clone(stream)
    with config_context(array_api_dispatch=True):
        for _ in range(2):
            stream.partial_fit(kind(X), kind(y))
        assert type(stream.predict(kind(X))) is type(kind(X))
    for _ in range(2):
        expected.partial_fit(np.asarray(kind(X)), np.asarray(kind(y)))
    assert stream.loss_curve_ == expected.loss_curve_
