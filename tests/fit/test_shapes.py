"""Convexity and monotonicity: by construction, seen in every linear region."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import least_squares, lsq_linear

from skrelu import ExponentialReLURegressor
from skrelu._networks.shapes import Shape
from skrelu._networks.triangle_model import TriangleModel
from skrelu._networks.triangle_network import TriangleNetwork
from skrelu._solvers.levenberg_marquardt import levenberg_marquardt
from skrelu.regions import regions_along, regions_in_box
from tests.fit.test_fitting import Residuals, options

DOUBLE = torch.float64
SMALL = {"depth": 3, "n_subnetworks": 6, "n_init": 2, "random_state": 0}
# Rounding, relative to the largest slope.
ROUNDING = 1e-9
SIGNS = st.sampled_from([-1, 0, 1])


def random_model(seed, monotonic, convexity, depth=3, n_subnetworks=5, n_outputs=1):
    """Return a model, a point within its bounds, and inputs."""
    generator = torch.Generator().manual_seed(seed)
    triangles = TriangleNetwork(len(monotonic), n_subnetworks, depth)
    model = TriangleModel(triangles, n_outputs, Shape(tuple(monotonic), tuple(convexity)))
    X = torch.randn(len(monotonic), 40, generator=generator, dtype=DOUBLE)
    both = model.random(2, X, generator)
    both = both + torch.randn(both.shape, generator=generator, dtype=DOUBLE)
    return model, both.clamp(*model.bounds(both)), X


@pytest.mark.slow
@given(seed=st.integers(0, 10**6), signs=st.lists(st.tuples(SIGNS, SIGNS), min_size=1, max_size=3))
@settings(deadline=None, max_examples=60)
def test_any_parameters_within_the_bounds_have_the_shape(seed, signs):
    monotonic, convexity = zip(*signs, strict=True)
    if not any(monotonic) and not any(convexity):
        monotonic = (1, *monotonic[1:])
    model, both, X = random_model(seed, monotonic, convexity)
    for j, (rise, bend) in enumerate(zip(monotonic, convexity, strict=True)):
        line = X[:, :1].expand(-1, 4001).clone()
        line[j] = torch.linspace(-50, 50, 4001, dtype=DOUBLE)
        for values in model.forward(both, line)[:, 0]:
            slopes = values.diff() * 40
            size = ROUNDING * (1 + slopes.abs().max() + values.abs().max())
            if rise:
                assert (rise * slopes >= -size).all()
            if bend:
                assert (bend * slopes.diff() >= -size).all()


@pytest.mark.long
@pytest.mark.slow
def test_what_rises_and_is_convex_has_no_negative_mixed_derivatives():
    """So log-sum-exp is out of reach with both shapes, as the user guide says, not with one."""
    rng = np.random.default_rng(0)
    X, others = rng.uniform(0, 1, (300, 4)), rng.uniform(0, 1, (1000, 4))
    y, truth = (np.log(np.exp(3 * part).sum(1)) for part in (X, others))
    convex = ExponentialReLURegressor(convexity="convex", random_state=0).fit(X, y)
    assert convex.score(others, truth) > 0.999
    both = convex.set_params(monotonic_cst=[1] * 4).fit(X, y)
    assert both.score(others, truth) < 0.96


@pytest.mark.slow
@pytest.mark.parametrize(
    ("monotonic", "convexity"),
    [((0, 0), (1, -1)), ((1, -1), (0, 0)), ((1, -1, 0), (1, -1, 1)), ((1, 0), (0, 0))],
)
def test_columns_times_coefficients_are_the_model(monotonic, convexity):
    model, both, X = random_model(0, monotonic, convexity, n_outputs=2)
    raw = model.forward(both, X)
    _, coef, _ = model.unpack(both)
    torch.testing.assert_close(coef.mT @ model.columns(both, X), raw, rtol=1e-9, atol=1e-9)


def test_projected_steps_find_the_minimum_that_scipy_finds():
    rng = np.random.default_rng(0)
    A, b = rng.normal(size=(12, 5)), rng.normal(size=12)
    low, high = np.array([-0.1, 0, -np.inf, -0.05, -1]), np.array([0.1, np.inf, 0, 0.05, 1])
    oracle = lsq_linear(A, b, bounds=(low, high), tol=1e-14).x
    matrix, right = torch.tensor(A), torch.tensor(b)
    bounds = torch.tensor(low), torch.tensor(high)
    problem = Residuals(lambda theta: theta @ matrix.T - right, bounds)
    start = torch.zeros(2, 5, dtype=DOUBLE)
    result = levenberg_marquardt(problem, start, options(max_iter=500, tol=1e-14))
    np.testing.assert_allclose(result.theta, np.stack([oracle, oracle]), atol=1e-6)

    def rosenbrock(theta):
        x, y = theta.unbind(-1)
        return torch.stack([10 * (y - x**2), 1 - x], -1)

    start = torch.tensor([[-1.0, 0.4], [0.2, 0.1]], dtype=DOUBLE)
    bounds = torch.tensor([-2.0, -1.0], dtype=DOUBLE), torch.tensor([2.0, 0.5], dtype=DOUBLE)
    result = levenberg_marquardt(Residuals(rosenbrock, bounds), start, options(max_iter=500))
    oracle = least_squares(
        lambda v: rosenbrock(torch.tensor(v)).numpy(), [0.2, 0.1], bounds=([-2, -1], [2, 0.5])
    ).x
    np.testing.assert_allclose(result.theta, np.stack([oracle, oracle]), atol=1e-5)


def table(n=120, noise=0.1):
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, size=(n, 2)) * [2, 5]
    f = X[:, 0] ** 2 + np.tanh(X[:, 1]) + 0.3 * X[:, 0]
    return X, f + noise * rng.normal(size=n)


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.0, 0.3])
@pytest.mark.parametrize("convexity", ["convex", "concave"])
def test_convex_fits_are_convex_over_every_boundary(convexity, noise):
    X, y = table(noise=noise)
    sign = 1 if convexity == "convex" else -1
    model = ExponentialReLURegressor(convexity=convexity, **SMALL).fit(X, sign * y)
    # A piecewise-linear function is convex where each of its affine functions is below it.
    regions = regions_in_box(model, [-20, -50], [20, 50])
    assert regions.n_linear_regions > 50
    at = regions.centers @ regions.gradients[:, 0].T + regions.intercepts[:, 0]
    own = np.diag(at)[:, None]
    size = np.abs(regions.gradients).max() * 50 + np.abs(own).max()
    assert (sign * (own - at) >= -ROUNDING * size).all()


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "quantile"])
@pytest.mark.parametrize("extrapolation", ["linear", "constant"])
def test_monotone_fits_have_no_slope_of_the_wrong_sign(loss, extrapolation):
    X, y = table()
    model = ExponentialReLURegressor(
        monotonic_cst=[0, 1],
        loss=loss,
        quantile=[0.1, 0.9] if loss == "quantile" else None,
        extrapolation=extrapolation,
        **SMALL,
    ).fit(X, y)
    regions = regions_in_box(model, [-20, -50], [20, 50])
    assert regions.n_linear_regions > 20
    slopes = regions.gradients[..., 1]
    assert (slopes >= -ROUNDING * np.abs(regions.gradients).max()).all()
    assert slopes.max() > 0.1
    assert regions.gradients[..., 0].min() < -0.1


@pytest.mark.slow
@pytest.mark.parametrize("noise", [pytest.param(0.0, marks=pytest.mark.long), 0.3])
def test_shapes_in_single_features_hold_along_lines(noise):
    X, y = table(noise=noise)
    frame = pd.DataFrame(X, columns=["a", "b"])
    model = ExponentialReLURegressor(
        convexity={"a": "convex"}, monotonic_cst={"b": 1}, **SMALL
    ).fit(frame, y)
    rng = np.random.default_rng(1)
    for _ in range(10):
        a, b = rng.uniform(-3, 3), rng.uniform(-10, 10)
        along_a = regions_along(model, [[-40, b], [40, b]])
        along_b = regions_along(model, [[a, -100], [a, 100]])
        assert (np.diff(along_a.slopes) >= -1e-7 * np.abs(along_a.slopes).max()).all()
        assert (along_b.slopes >= -1e-7 * np.abs(along_b.slopes).max()).all()


@pytest.mark.long
@pytest.mark.slow
def test_one_feature_has_increasing_slopes_in_all_pieces():
    X = np.linspace(0, 1, 200)[:, None]
    for kwargs, rising in [
        ({"convexity": "convex"}, np.diff),
        ({"monotonic_cst": [1]}, lambda slopes: slopes),
        ({"convexity": {0: "convex"}, "monotonic_cst": [1]}, np.diff),
    ]:
        model = ExponentialReLURegressor(depth=5, n_init=1, random_state=0, **kwargs)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pieces = model.fit(X, np.exp(3 * X[:, 0])).linear_regions()
        assert pieces.n_linear_regions > 60
        slopes = np.r_[pieces.slopes]
        assert (rising(slopes) >= -1e-7 * np.abs(slopes).max()).all()
        assert model.score(X, np.exp(3 * X[:, 0])) > 0.9999


def test_a_true_shape_helps_where_there_is_noise():
    rng = np.random.default_rng(0)
    X, X_new = rng.uniform(-1, 1, size=(2, 80, 1))
    y, y_new = np.tanh(4 * X[:, 0]) + 0.5 * rng.normal(size=80), np.tanh(4 * X_new[:, 0])
    errors = []
    for cst in (None, [1]):
        model = ExponentialReLURegressor(random_state=0, monotonic_cst=cst).fit(X, y)
        errors.append(np.mean((model.predict(X_new) - y_new) ** 2))
    assert errors[1] < errors[0]


def test_warm_starts_keep_the_shape():
    X, y = table()
    model = ExponentialReLURegressor(
        monotonic_cst=[0, 1], warm_start=True, max_iter=10, early_stopping=False, **SMALL
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scores = [model.fit(X, y).score(X, y) for _ in range(4)]
    assert scores[-1] > scores[0]
    slopes = regions_in_box(model, [-20, -50], [20, 50]).gradients[..., 1]
    assert (slopes >= -ROUNDING * np.abs(slopes).max()).all()


@pytest.mark.parametrize(
    ("parameters", "match"),
    [
        (
            {"convexity": {"a": "convex"}},
            "convexity names the feature 'a', but features are 0 to 1",
        ),
        ({"convexity": {2: "convex"}}, "features are 0 to 1"),
        ({"convexity": {0: ["convex"]}}, "must be 'convex' or 'concave'"),
        ({"convexity": {0: "bent"}}, "must be 'convex' or 'concave'"),
        ({"monotonic_cst": [1]}, "monotonic_cst has shape"),
        ({"monotonic_cst": [1, 2]}, "-1, 0 or 1"),
        ({"monotonic_cst": [1, 0], "smooth": False}, "need smooth=True"),
        ({"convexity": "concave", "loss": "gamma"}, "cannot be kept concave"),
        ({"convexity": "convex", "loss": "quantile", "quantile": [0.1, 0.9]}, "several quantiles"),
        ({"convexity": "convex", "extrapolation": "constant"}, "which holds everywhere"),
        ({"convexity": "convex", "refine_max_iter": 10}, "nothing is refined"),
    ],
)
def test_messages(parameters, match):
    X = np.arange(40.0).reshape(20, 2)
    with pytest.raises(ValueError, match=match):
        ExponentialReLURegressor(**parameters).fit(X, X[:, 0] + 1)


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["squared_error", "poisson"])
def test_many_starts_go_on_where_they_ended_and_keep_the_shape_on_other_data(loss):
    X, y = table(noise=0.3)
    y = np.exp(y / 3) if loss == "poisson" else y
    model = ExponentialReLURegressor(
        loss=loss, monotonic_cst=[0, 1], warm_start=True, max_iter=15, random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = model.fit(X, y).loss_curve_
        after = model.fit(X, y).loss_curve_
        # Other rows are held out, and the best iterations are not the last.
        assert after[0] < 0.5 * (before[0] + before[-1])
        model.fit(X * [3, 0.5] + 1, 2 * y)
    points = 10 * np.random.default_rng(0).normal(size=(3000, 2))
    slopes = model.predict_gradient(points)
    assert (slopes[:, 1] >= -ROUNDING * np.abs(slopes).max()).all()
