"""Certified optima: what they equal, bound and refuse."""

import warnings
from functools import cache

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import Bounds, LinearConstraint
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor
from torch import nn

from skrelu import ExponentialReLUClassifier, ExponentialReLURegressor
from skrelu.optimize import minimize
from skrelu.regions import regions_in_box
from tests.regions.networks import random_network, run

SQUARE = [(-1.0, 1.0), (-1.0, 1.0)]
SMALL = {"depth": 3, "n_levels": 1, "n_init": 1, "refine": False, "random_state": 0}


@cache
def rows(n=300):
    X = np.random.default_rng(0).uniform(-1, 1, size=(n, 2))
    return X, (X[:, 0] - 0.3) ** 2 + X[:, 0] * X[:, 1] + 0.5 * X[:, 1]


@cache
def fitted(**settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        X, y = rows()
        return ExponentialReLURegressor(**{**SMALL, **settings}).fit(X, y)


def exact_extremes(model, output=0):
    """Minimum and maximum in the square, over the corners of all regions."""
    corners = np.vstack(regions_in_box(model, [-1, -1], [1, 1]).vertices)
    values = model.predict(corners) if hasattr(model, "predict") else run(model, corners)
    values = np.asarray(values).reshape(len(corners), -1)[:, output]
    return values.min(), values.max()


def check(found, expected, predict):
    size = max(1.0, abs(expected))
    assert found.success, found
    assert found.fun == pytest.approx(expected, abs=1e-6 * size)
    assert np.ravel(predict(found.x[None]))[0] == pytest.approx(found.fun, rel=1e-12, abs=1e-12)
    assert abs(found.bound - found.fun) <= 2e-6 * size


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 6))]
)
def test_random_networks_reach_the_best_corner_of_all_regions(seed):
    widths = [(2, 6, 1), (2, 5, 4, 1), (2, 4, 4, 3, 1)][seed % 3]
    network = random_network(seed, widths)
    least, most = exact_extremes(network)
    check(minimize(network, SQUARE), least, lambda X: run(network, X))
    check(minimize(network, SQUARE, maximize=True), most, lambda X: run(network, X))


@pytest.mark.slow
def test_leaky_networks_of_several_outputs():
    network = random_network(1, (2, 5, 4, 2), nn.LeakyReLU)
    for output in (0, 1):
        least, _ = exact_extremes(network, output)
        check(
            minimize(network, SQUARE, output=output),
            least,
            lambda X, k=output: run(network, X)[:, k],
        )


@pytest.mark.parametrize(
    "parameters",
    [
        {"n_subnetworks": 3},
        {"n_subnetworks": 2, "refine": True, "max_iter": 20},
        {"n_subnetworks": 2, "extrapolation": "constant"},
        {"n_subnetworks": 2, "refine": True, "refine_max_iter": 5, "extrapolation": "constant"},
        {"n_subnetworks": 2, "smooth": False},
    ],
    ids=["waves", "refined", "clipped waves", "clipped", "free scales"],
)
@pytest.mark.slow
def test_fits_reach_the_best_corner_of_all_regions(parameters):
    model = fitted(**parameters)
    least, most = exact_extremes(model)
    check(minimize(model, SQUARE), least, model.predict)
    check(minimize(model, SQUARE, maximize=True), most, model.predict)


@pytest.mark.slow
def test_waves_take_a_binary_for_each_layer():
    model = fitted(n_subnetworks=3)
    binaries = [minimize(model, SQUARE, maximize=m).n_binaries for m in (False, True)]
    assert max(binaries) <= 3 * model.peaks_.shape[1]


@pytest.mark.parametrize("convexity", ["convex", pytest.param("concave", marks=pytest.mark.slow)])
def test_convex_fits_need_no_binaries(convexity):
    model = fitted(n_subnetworks=4, convexity=convexity)
    found = minimize(model, [(-3, 3), (-3, 3)], maximize=convexity == "concave")
    assert found.success
    assert found.n_binaries == 0
    grid = np.stack(np.meshgrid(*[np.linspace(-3, 3, 61)] * 2), -1).reshape(-1, 2)
    values = model.predict(grid)
    best = values.max() if convexity == "concave" else values.min()
    assert (found.fun - best) * (1 if convexity == "concave" else -1) >= -1e-9


@pytest.mark.slow
def test_log_links_are_optimized_and_reported_as_predictions():
    X, y = rows()
    model = ExponentialReLURegressor(loss="gamma", n_subnetworks=2, **SMALL)
    model.fit(X, np.exp(y))
    least, most = exact_extremes(model)
    check(minimize(model, SQUARE), least, model.predict)
    check(minimize(model, SQUARE, maximize=True), most, model.predict)


@pytest.mark.parametrize("n_classes", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_logits_of_classes(n_classes):
    X, y = rows()
    labels = np.digitize(y, np.quantile(y, np.arange(1, n_classes) / n_classes))
    model = ExponentialReLUClassifier(n_subnetworks=2, **SMALL).fit(X, labels)
    last = max(0, n_classes - 2)
    found = minimize(model, SQUARE, output=last, maximize=True)

    def logits(X):
        return model.decision_function(X).reshape(len(X), -1)[:, last]

    corners = np.vstack(regions_in_box(model, [-1, -1], [1, 1]).vertices)
    check(found, logits(corners).max(), logits)


@pytest.mark.parametrize("kind", [MLPRegressor, MLPClassifier])
def test_networks_of_scikit_learn(kind):
    X, y = rows()
    model = kind(hidden_layer_sizes=(5, 4), max_iter=5, random_state=0)
    with pytest.warns(ConvergenceWarning):
        model.fit(X, y if kind is MLPRegressor else y > 0)
    found = minimize(model, SQUARE)
    assert found.success
    if kind is MLPRegressor:
        check(found, exact_extremes(model)[0], model.predict)


def test_maximum_is_minus_the_minimum_of_the_negative():
    network = random_network(3, (3, 6, 5, 1))
    box = [(-1, 1)] * 3
    most = minimize(network, box, maximize=True)
    with torch.no_grad():
        network[-1].weight.neg_()
        network[-1].bias.neg_()
    least = minimize(network, box)
    assert most.fun == pytest.approx(-least.fun, rel=1e-9)
    assert most.bound == pytest.approx(-least.bound, rel=1e-6)


def test_equality_constraints():
    network = random_network(4, (2, 6, 5, 1))
    line = LinearConstraint([[1.0, 2.0]], 0.5, 0.5)
    found = minimize(network, SQUARE, constraints=line)
    first = np.linspace(-1, 1, 20_001)
    on_line = np.column_stack([first, (0.5 - first) / 2])
    values = run(network, on_line[np.abs(on_line[:, 1]) <= 1])
    assert found.x @ [1, 2] == pytest.approx(0.5, abs=1e-9)
    assert found.success
    assert found.bound <= values.min() <= found.fun + 1e-3
    assert found.fun <= values.min() + 1e-9


def test_integers():
    network = random_network(5, (2, 6, 5, 1))
    box, whole = Bounds([-3.5, -1.0], [3.5, 1.0]), [1, 0]
    found = minimize(network, box, integrality=whole)
    lines = [np.column_stack([np.full(4001, k), np.linspace(-1, 1, 4001)]) for k in range(-3, 4)]
    values = run(network, np.vstack(lines))
    assert found.success
    assert found.x[0] == round(found.x[0])
    assert found.bound <= found.fun <= values.min() + 1e-9
    assert found.fun >= values.min() - 0.05


def test_integers_under_constraints():
    network = random_network(6, (2, 6, 1))
    limit = LinearConstraint([[1.0, 1.0], [1.0, -1.0]], [-np.inf, 0.0], [3.0, 0.0])
    found = minimize(network, [(-4, 4), (-4, 4)], constraints=[limit], integrality=1)
    feasible = np.column_stack([np.arange(-4, 2)] * 2).astype(float)
    assert found.success
    assert found.fun == pytest.approx(run(network, feasible).min(), abs=1e-9)


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 3), st.booleans(), st.floats(-3, 3))
def test_no_sampled_prediction_is_beyond_the_bound(seed, n_features, maximize, exponent):
    network = random_network(seed, (n_features, 5, 4, 1))
    rng = np.random.default_rng(seed)
    low = rng.normal(size=n_features) * 10**exponent
    high = low + rng.uniform(size=n_features) * 10**exponent
    found = minimize(network, np.stack([low, high], 1), maximize=maximize)
    values = run(network, rng.uniform(low, high, (2000, n_features)))
    values = -values if maximize else values
    bound, fun = (-found.bound, -found.fun) if maximize else (found.bound, found.fun)
    room = 1e-9 * np.abs(values).max()
    assert bound <= fun
    assert fun <= values.min() + 1e-6 * np.ptp(values) + room
    assert bound <= values.min() + room
    assert np.all((low <= found.x) & (found.x <= high))


def test_an_optimum_where_predictions_are_clipped_is_told():
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(60, 1))
    y = X[:, 0] + rng.normal(size=60)
    settings = {"n_levels": 1, "n_subnetworks": 1, "n_init": 1, "max_iter": 500, "tol": 0.5}
    model = ExponentialReLURegressor(**settings, random_state=0).fit(X, y)
    most = float(np.median(model.predict(X)))
    model.y_limits_ = np.array([[-9.0], [most]])
    found = minimize(model, [(0, 2)], maximize=True)
    assert found.fun == most
    assert "extrapolation='linear'" in found.message
    model.y_limits_[1] = 100
    assert "extrapolation" not in minimize(model, [(0, 2)], maximize=True).message


def test_nothing_meets_the_constraints():
    network = random_network(0, (2, 4, 1))
    for constraint in (
        LinearConstraint([[1.0, 1.0]], 3.0, np.inf),
        [LinearConstraint([[1.0, 0.0]], 0.5, 1.0), LinearConstraint([[1.0, 0.0]], -1.0, 0.4)],
    ):
        found = minimize(network, SQUARE, constraints=constraint)
        assert (found.x, found.status, found.success) == (None, 2, False)
        assert "No x within bounds" in repr(found)
    assert minimize(network, [(0.2, 0.8), (0, 1)], integrality=[1, 0]).status == 2
    half = LinearConstraint([[1.0, 1.0]], 0.5, 0.5)
    assert minimize(network, SQUARE, constraints=half, integrality=1).status == 2


def test_time_limit_returns_the_best_point_so_far():
    network = random_network(0, (8, 40, 40, 1))
    found = minimize(network, [(-1, 1)] * 8, time_limit=0.5)
    assert found.status == 1
    assert found.seconds < 5
    assert found.bound < found.fun
    assert "time limit" in repr(found)
    values = run(network, np.random.default_rng(0).uniform(-1, 1, (1000, 8)))
    assert found.bound < values.min()
    assert found.fun <= values.min()


def test_constants_and_boxes_without_width():
    network = random_network(2, (2, 4, 1))
    point = minimize(network, [(0.3, 0.3), (-0.2, -0.2)])
    assert point.fun == pytest.approx(run(network, np.array([[0.3, -0.2]]))[0, 0])
    assert point.success
    X, _ = rows()
    flat = ExponentialReLURegressor(**SMALL).fit(X, np.full(len(X), 5.0))
    assert minimize(flat, SQUARE).fun == 5.0


@pytest.mark.slow
def test_features_and_targets_far_from_0():
    X, y = rows()
    model = ExponentialReLURegressor(n_subnetworks=2, **SMALL)
    model.fit(1e6 + 1e-2 * X, 1e8 + y)
    box = 1e6 + 1e-2 * np.array(SQUARE)
    found = minimize(model, box)
    assert found.success
    assert found.fun == model.predict(found.x[None])[0]
    near = minimize(fitted(n_subnetworks=2), SQUARE)
    assert found.fun - 1e8 == pytest.approx(near.fun, abs=0.1)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"bounds": [(0, 1)]}, ValueError, r"bounds has shape \(1, 2\), but has to be \(2, 2\)"),
        ({"bounds": [(0, np.inf), (0, 1)]}, ValueError, "Feature 0 has bounds 0 and inf"),
        ({"bounds": [(0, 1), (1, 0)]}, ValueError, "Feature 1 has a lower bound 1 above"),
        ({"output": 1}, ValueError, "has 1 outputs"),
        ({"gap": 0}, ValueError, "gap=0 has to be a number above 0"),
        ({"time_limit": -1}, ValueError, "time_limit=-1"),
        ({"integrality": [2, 0]}, ValueError, "integrality has to be 0"),
        ({"constraints": "x > 1"}, TypeError, "scipy.optimize.LinearConstraint"),
        ({"constraints": LinearConstraint([[1.0]], 0, 1)}, ValueError, "has 1 columns"),
        ({"constraints": LinearConstraint([[1.0, np.nan]], 0, 1)}, ValueError, "no numbers"),
    ],
)
def test_invalid_arguments_are_named(arguments, error, message):
    network = random_network(0, (2, 3, 1))
    with pytest.raises(error, match=message):
        minimize(network, **{"bounds": SQUARE, **arguments})


@pytest.mark.slow
def test_categories_are_refused_and_their_columns_are_not():
    table = pd.DataFrame({"a": np.linspace(0, 1, 60), "b": pd.Categorical(list("uvw") * 20)})
    y = table["a"] ** 2 + (table["b"] == "v")
    model = ExponentialReLURegressor(n_subnetworks=2, **SMALL).fit(table, y)
    with pytest.raises(ValueError, match="categories or missing values"):
        minimize(model, SQUARE)
    one = LinearConstraint([[0.0, 1.0, 1.0, 1.0]], 1, 1)
    found = minimize(
        model.to_torch(), [(0, 1)] * 4, constraints=one, integrality=[0, 1, 1, 1], maximize=True
    )
    assert found.success
    assert found.fun == pytest.approx(model.predict(table).max(), abs=0.05)
    assert model.encode(table)[:, 1:][1].tolist() == found.x[1:].tolist()


@pytest.mark.slow
def test_pipelines_are_told_what_to_pass():
    from sklearn.pipeline import make_pipeline

    with pytest.raises(TypeError, match="Pipeline"):
        minimize(make_pipeline(fitted(n_subnetworks=3)), SQUARE)


@pytest.mark.slow
@pytest.mark.parametrize("unit", [1e-200, 1e200])
def test_targets_of_extreme_sizes(unit):
    X, y = rows()
    model = ExponentialReLURegressor(n_subnetworks=2, **SMALL).fit(X, unit * y)
    found = minimize(model, SQUARE)
    assert found.success
    assert found.fun == model.predict(found.x[None])[0]
    assert found.bound == pytest.approx(found.fun, rel=1e-9)


def test_networks_near_the_limits_of_floats_are_refused():
    network = random_network(0, (2, 4, 1))
    with torch.no_grad():
        network[-1].weight.mul_(1e300)
    with pytest.raises(ValueError, match="rescale y"):
        minimize(network, SQUARE)
