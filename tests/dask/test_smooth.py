"""Composed sub-networks, fitted to a sample, that go on with sums over all partitions."""

from dataclasses import replace
from functools import reduce

import dask
import numpy as np
import pytest
import torch

from skrelu import ExponentialReLURegressor
from skrelu._estimators.parameters import make_loss
from skrelu._estimators.tables import validated_data
from skrelu._fit.fit_network import fit_network
from skrelu._networks.composed_network import ComposedNetwork
from skrelu._solvers.evidence import EvidenceProblem
from skrelu._solvers.rows import Rows
from skrelu._solvers.summed import SummedProblem, Sums
from skrelu.dask import DaskExponentialReLURegressor
from skrelu.dask._reading import Reader
from skrelu.dask._smooth import n_first
from tests.dask.data import in_parts, irregular

NOISE = 0.03
SMALL = {"n_init": 1, "n_levels": 2, "n_subnetworks": 6}


@pytest.fixture(autouse=True)
def synchronous():
    with dask.config.set(scheduler="synchronous"):
        yield


def smooth(n, seed=0, noise=NOISE):
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, (n, 2))
    return X, 5 * np.sin(2 * X[:, 0]) * X[:, 1] + noise * rng.normal(size=n)


def regressor(**settings):
    settings = {"gather_rows": 100, "n_members": 1, "n_passes": 1, "random_state": 0} | settings
    return DaskExponentialReLURegressor(**settings)


def keeping(kept, **few):
    """Return a fit of samples, with some settings, that keeps what it finds."""

    def fit(table, validation, settings, **others):
        fitted = fit_network(table, validation, replace(settings, **few), **others)
        kept.append((fitted, table))
        return fitted

    return fit


@pytest.fixture(scope="module")
def firsts():
    """Fit samples by small networks, in few iterations, and keep these fits and their tables."""
    kept = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("skrelu.dask._smooth.fit_network", keeping(kept, **SMALL, max_iter=60))
        yield kept


@pytest.fixture
def hasty(monkeypatch):
    """Fit samples and partitions in a few iterations."""
    monkeypatch.setattr("skrelu._fit.tuning.SUMMED_ITER", 2)
    fit = keeping([], **SMALL, max_iter=5)
    monkeypatch.setattr("skrelu.dask._smooth.fit_network", fit)


@pytest.fixture(scope="module")
def model(firsts):
    with dask.config.set(scheduler="synchronous"):
        return regressor().fit(*in_parts(*smooth(1500))).model_


def predicted(fitted, X):
    """Return what a fit predicts, in units of y."""
    inputs = torch.tensor(fitted.X_scaling.apply(X)).T
    raw = fitted.plan.relu.forward(torch.tensor(fitted.relu), inputs)
    return fitted.y_scaling.undo(np.tensordot(fitted.shares, raw.numpy(), 1).T)[:, 0]


def problems(n_outputs, n_parts):
    """Return the problem of all rows, and that of sums over parts of them, at the same points."""
    generator = torch.Generator().manual_seed(0)
    network = ComposedNetwork(3, 4, 2, n_outputs)
    theta = network.random(2, generator).double()
    X, y = (torch.randn(d, 400, generator=generator).double() for d in (3, n_outputs))
    y = y * torch.logspace(0, -1, n_outputs)[:, None]
    weights = torch.randint(1, 4, (400,), generator=generator).double()
    shares = weights / weights.sum()
    rows = Rows(X, y, shares.expand(2, -1), None, 400)
    edges = torch.randint(0, 400, (n_parts - 1,), generator=generator).sort().values

    def sums(points):
        split = zip(*(part.tensor_split(edges, -1) for part in (X, y, weights)), strict=True)
        return reduce(Sums.plus, (Sums.of(network, points, *part) for part in split))

    n_effective = float(1 / shares.square().sum())
    summed = SummedProblem(network, sums, rows, n_effective, 1e-3)
    return EvidenceProblem(network, rows, 1e-3), summed, theta


@pytest.mark.parametrize(("n_outputs", "n_parts"), [(1, 1), (1, 7), (3, 5)])
def test_steps_by_sums_over_parts_are_those_of_one_machine(n_outputs, n_parts):
    one, summed, theta = problems(n_outputs, n_parts)
    starts, found = torch.arange(2), []
    for problem in (one, summed):
        equations, at = problem.linearize(problem.evaluate(theta, starts), starts, None)
        equations, at = problem.linearize(at, starts, equations)
        found.append((equations.gram, equations.gradient, at.cost, at.loss,
                      problem.precisions.error, problem.precisions.of_weights))  # fmt: skip
    for expected, value in zip(*found, strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-9, atol=1e-9 * expected.abs().max())


def test_all_rows_lower_their_loss_and_the_error_on_fresh_rows(firsts, model):
    assert not model.kinds_
    assert model.n_levels_ == 2
    first, sample = firsts[0]
    assert len(sample.X) == 100
    X, y = smooth(1500)
    losses = model.stages_[1]["loss"]
    unit = np.square(first.y_scaling.scale[0])
    before, after = (np.square(p - y).mean() for p in (predicted(first, X), model.predict(X)))
    assert after < before
    assert losses[0] * unit == pytest.approx(before, rel=0.05)  # but for lowering
    assert min(losses) * unit == pytest.approx(after, rel=0.05)
    X, y = smooth(2000, 1, noise=0.0)
    assert np.square(model.predict(X) - y).mean() < 0.7 * np.square(predicted(first, X) - y).mean()


def test_error_bars_are_those_of_all_rows(model):
    X, y = smooth(4000, 1)
    low, high = model.predict_interval(X, 0.9).T
    assert ((low < y) & (y < high)).mean() == pytest.approx(0.9, abs=0.02)
    means, deviations = model.predict(X, return_std=True)
    assert np.square((y - means) / deviations).mean() == pytest.approx(1, abs=0.1)


@pytest.mark.usefixtures("hasty")
def test_schedulers_and_workers_do_not_change_the_result():
    X, y = in_parts(*smooth(500), n_parts=5)
    one = regressor().fit(X, y).model_
    with dask.config.set(scheduler="threads", num_workers=3):
        other = regressor().fit(X, y).model_
    points = smooth(300, 1)[0]
    np.testing.assert_array_equal(one.predict(points), other.predict(points))


@pytest.mark.usefixtures("hasty")
def test_rows_of_weight_0_are_not_there():
    X, y = smooth(600)
    weights = np.ones(600)
    weights[:200] = 0  # all of the first partition, and part of the second
    wrong = np.where(weights > 0, y, 1e6)
    model = regressor().fit(*in_parts(X, wrong, weights))
    assert model.n_rows_ == 400
    expected = regressor().fit(*in_parts(X, y, weights))
    np.testing.assert_array_equal(model.predict(X), expected.predict(X))


@pytest.mark.usefixtures("hasty")
def test_an_interrupt_leaves_the_estimator_as_it_was(monkeypatch):
    def interrupted(tasks):
        raise KeyboardInterrupt

    monkeypatch.setattr("skrelu.dask._smooth.sum_of", interrupted)
    model = regressor()
    with pytest.raises(KeyboardInterrupt):
        model.fit(*in_parts(*smooth(200)))
    assert not hasattr(model, "model_")


def test_irregular_targets_have_the_fit_without_a_sample(monkeypatch):
    kept = []
    monkeypatch.setattr("skrelu.dask._smooth.fit_network", keeping(kept))
    X, y = irregular(300)
    one, other = (regressor(gather_rows=n).fit(*in_parts(X, y)).model_ for n in (80, 0))
    assert list(one.kinds_)
    assert not kept  # it ends where it would begin with encoded columns
    np.testing.assert_array_equal(one.predict(X), other.predict(X))


@pytest.mark.parametrize(
    ("settings", "missing", "expected"),
    [
        ({}, False, 100),
        ({}, True, 0),
        ({"categorical_features": [0]}, False, 0),
        ({"loss": "absolute_error"}, False, 0),
    ],
)
def test_only_squared_errors_of_numbers_fit_a_sample(settings, missing, expected):
    X, y = smooth(50)
    X = X.round(1)
    X[0, 0] = np.nan if missing else 0.5
    model = ExponentialReLURegressor(**settings)
    validated_data(model, X, y, numeric=True)
    loss = make_loss(model.loss, None)
    assert n_first(Reader(model, 1), model._settings(loss), 100) == expected


@pytest.mark.long
@pytest.mark.slow
def test_all_rows_lower_the_error_of_an_ordinary_fit_to_the_sample(monkeypatch):
    kept, ratios = [], []
    monkeypatch.setattr("skrelu.dask._smooth.fit_network", keeping(kept))
    X, y = smooth(5000, 10, noise=0.0)
    for seed in range(2):
        model = regressor(gather_rows=200, random_state=seed).fit(*in_parts(*smooth(3000, seed)))
        assert not model.model_.kinds_
        error, before = (
            np.square(p - y).mean() for p in (model.predict(X), predicted(kept[-1][0], X))
        )
        ratios.append(error / before)
    assert max(ratios) < 1
    assert np.exp(np.log(ratios).mean()) < 0.5
