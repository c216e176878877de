"""Smallest changes of a class: what they equal, bound and refuse."""

from functools import cache

import numpy as np
import pytest
from sklearn.datasets import make_moons
from sklearn.neural_network import MLPClassifier

from skrelu import ExponentialReLUClassifier, ExponentialReLURegressor
from skrelu.optimize import robust_radius
from tests.regions.networks import random_network, run

SQUARE = [(-1.0, 1.0), (-1.0, 1.0)]
STEP = 1 / 500


def classes(network, X):
    values = run(network, X)
    return (values[:, 0] > 0).astype(int) if values.shape[1] == 1 else values.argmax(1)


def nearest_of_grid(network, x, norm):
    axis = np.arange(-1, 1 + STEP / 2, STEP)
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    other = classes(network, grid) != classes(network, x[None])[0]
    return np.linalg.norm(grid[other] - x, norm, 1).min(initial=np.inf)


@cache
def moons():
    X, y = make_moons(200, noise=0.1, random_state=0)
    model = ExponentialReLUClassifier(
        depth=3, n_subnetworks=3, n_levels=1, n_init=1, random_state=0
    )
    return model.fit(X, np.array(["a", "b"])[y]), X


@pytest.mark.parametrize("norm", [1, np.inf])
@pytest.mark.parametrize(
    ("seed", "widths"),
    [
        pytest.param(1, (2, 5, 4, 3), marks=pytest.mark.slow),
        pytest.param(2, (2, 6, 1), marks=pytest.mark.slow),
        (6, (2, 6, 1)),
    ],
)
def test_it_is_that_of_the_nearest_point_of_a_fine_grid(seed, widths, norm):
    network = random_network(seed, widths)
    x = np.random.default_rng(seed).uniform(-1, 1, 2)
    found = robust_radius(network, x, SQUARE, norm=norm)
    near = nearest_of_grid(network, x, norm)
    assert found.success
    assert near - 10 * STEP <= found.bound <= near
    assert found.bound <= found.radius <= found.bound * (1 + 1e-6)
    assert found.radius == pytest.approx(np.linalg.norm(found.x - x, norm), rel=1e-12)
    assert classes(network, found.x[None])[0] == found.label != classes(network, x[None])[0]


def test_the_same_class_everywhere():
    found = robust_radius(random_network(0, (2, 6, 1)), [0.2, 0.3], SQUARE)
    assert (found.radius, found.bound, found.x, found.label) == (np.inf, np.inf, None, None)
    assert found.success
    assert "the same class" in found.message


@pytest.mark.slow
def test_points_nearer_than_the_bound_keep_the_class_of_a_fit():
    model, X = moons()
    found = robust_radius(model, X[0], [(-2, 3), (-2, 2)])
    assert found.success
    around = X[0] + np.random.default_rng(0).uniform(-found.bound, found.bound, (3000, 2))
    assert len(set(model.predict(around))) == 1
    assert model.predict(found.x[None])[0] == found.label != model.predict(X[:1])[0]


@pytest.mark.slow
def test_changes_count_in_units():
    model, X = moons()
    scale = np.array([1.0, 3.0])
    found = robust_radius(model, X[3], [(-2, 3), (-2, 2)], scale=scale, norm=1)
    assert found.success
    assert found.radius == pytest.approx((np.abs(found.x - X[3]) / scale).sum(), rel=1e-12)
    wide = robust_radius(model, X[3], [(-2, 3), (-2, 2)], norm=1)
    assert found.radius <= wide.radius


def test_networks_of_scikit_learn():
    X, y = make_moons(200, noise=0.1, random_state=0)
    model = MLPClassifier((8,), max_iter=2000, random_state=0, solver="lbfgs").fit(X, y)
    found = robust_radius(model, X[5], [(-2, 3), (-2, 2)])
    assert found.success
    assert model.predict(found.x[None])[0] == found.label != model.predict(X[5:6])[0]


def test_regressors_and_points_out_of_bounds_are_refused():
    with pytest.raises(TypeError, match="ExponentialReLURegressor is no classifier"):
        robust_radius(ExponentialReLURegressor(), [0.0], [(0, 1)])
    network = random_network(0, (2, 3, 1))
    with pytest.raises(ValueError, match="x has to be 2 numbers, each within its bounds"):
        robust_radius(network, [0.0, 2.0], SQUARE)
