"""Losses: derivatives, best constants, oracles of scikit-learn, quantiles."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from sklearn.linear_model import GammaRegressor, HuberRegressor, PoissonRegressor, QuantileRegressor
from sklearn.metrics import (
    d2_pinball_score,
    mean_gamma_deviance,
    mean_pinball_loss,
    mean_poisson_deviance,
)
from sklearn.model_selection import GridSearchCV

from skrelu import ExponentialReLURegressor
from skrelu._data.scaling import Scaling, weighted_quantiles
from skrelu._networks.triangle_model import TriangleModel
from skrelu._networks.triangle_network import TriangleNetwork
from skrelu._solvers.joint import JointProblem, working_rows
from skrelu._solvers.losses import (
    HUBER_THRESHOLD,
    KINK,
    SQUARED_ERROR,
    Gamma,
    Huber,
    Pinball,
    Poisson,
    SquaredError,
)
from skrelu._solvers.rows import Rows

DOUBLE = torch.float64
LOSSES = [SquaredError(), Pinball(), Pinball(quantiles=(0.1, 0.8)), Huber(), Poisson(), Gamma()]
SMALL = {"depth": 3, "n_subnetworks": 4, "n_init": 3, "random_state": 0}
NAMES = ["squared_error", "absolute_error", "huber", "poisson", "gamma"]


def names(loss):
    return type(loss).__name__


def drawn(seed, n=200):
    generator = torch.Generator().manual_seed(seed)
    raw = torch.randn(2, n, generator=generator, dtype=DOUBLE)
    y = 0.2 + torch.rand(2, n, generator=generator, dtype=DOUBLE) * 3
    weights = torch.rand(n, generator=generator, dtype=DOUBLE)
    return raw, y, weights / weights.sum()


@pytest.mark.parametrize("loss", LOSSES, ids=names)
def test_working_residuals_times_curvatures_are_half_the_derivatives(loss):
    raw, y, weights = drawn(0)
    scale = loss.scale(raw, y, weights)
    leaf = raw.clone().requires_grad_()
    loss.values(leaf, y, scale).sum().backward()
    residual, curvature = loss.working(raw, y, scale)
    smooth = (raw - y).abs() > KINK * scale if isinstance(loss, Pinball) else raw == raw
    torch.testing.assert_close((residual * curvature)[smooth], leaf.grad[smooth] / 2)


@pytest.mark.parametrize("loss", [Pinball(), Pinball(quantiles=(0.1, 0.8)), Huber()], ids=names)
def test_curvatures_are_those_of_parabolas_above_the_loss(loss):
    raw, y, weights = drawn(0)
    scale = loss.scale(raw, y, weights)
    residual, curvature = loss.working(raw, y, scale)
    value = loss.values(raw, y, scale)
    for step in [-3.0, -0.5, -1e-3, 1e-3, 0.5, 3.0]:
        above = value + curvature * (2 * residual * step + step**2)
        below = loss.values(raw + step, y, scale)
        exact = (raw - y).abs() > KINK * scale if isinstance(loss, Pinball) else raw == raw
        assert (below <= above + 1e-12)[exact].all()


@pytest.mark.parametrize("loss", [Poisson(), Gamma()], ids=names)
def test_steps_of_log_links_are_bounded(loss):
    y = torch.tensor([[1e-9, 1e-3, 1.0, 1e3, 1e9]], dtype=DOUBLE)
    for raw in (-5.0, 0.0, 5.0):
        raw = torch.full_like(y, raw)
        residual, curvature = loss.working(raw, y, torch.ones(1, 1))
        assert (residual.abs() <= 2).all()
        assert (curvature > 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("loss", [*LOSSES, Pinball(quantiles=(0.05, 0.95))], ids=names)
@pytest.mark.parametrize("seed", range(5))
def test_scaled_targets_have_the_best_constant_0_and_the_loss_1_there(loss, seed):
    _, y, weights = drawn(seed)
    table, each = y.T.numpy(), weights.numpy()
    if loss.log_link:
        scaled = torch.tensor(table / np.exp(Scaling.of_logarithms(table, each).mean)).T
    elif loss.centers is None:
        scaled = torch.tensor(Scaling.of(table, each).apply(table)).T
    else:
        scaled = torch.tensor(Scaling.of_quantiles(table, each, loss.centers).apply(table)).T
    fitted = loss.fitted_to(scaled, weights, 1.0)

    def of_constant(value, output):
        raw = torch.full_like(scaled, value)
        values = fitted.values(raw, scaled, fitted.scale(raw, scaled, weights))
        return float((values / fitted.unit(raw) @ weights)[output])

    for output in range(2):
        assert of_constant(0.0, output) == pytest.approx(1)
        best = minimize_scalar(lambda v, o=output: of_constant(v, o), bracket=(-0.1, 0.1)).fun
        # Huber's location is near the median, not at it.
        assert best == pytest.approx(1, abs=0.05 if isinstance(loss, Huber) else 1e-9)


def test_the_scale_of_huber_minimises_its_loss():
    raw, y, weights = drawn(0)
    loss = Huber()
    scale = loss.scale(raw, y, weights)
    inside = ((raw - y).abs() / scale).clamp_max(HUBER_THRESHOLD).square()
    torch.testing.assert_close(inside @ weights, torch.ones(2, dtype=DOUBLE), rtol=1e-6, atol=0)
    least = loss.values(raw, y, scale) @ weights
    for factor in (0.9, 0.99, 1.01, 1.1):
        assert (loss.values(raw, y, scale * factor) @ weights > least).all()


@given(
    values=st.lists(st.integers(-5, 5), min_size=1, max_size=20),
    level=st.sampled_from([0.05, 0.25, 0.5, 0.75, 0.9]),
)
@settings(deadline=None)
def test_weighted_quantiles_are_those_of_repeated_rows(values, level):
    repeats = 1 + np.arange(len(values)) % 3
    column = np.array(values, float)[:, None]
    repeated = np.repeat(column[:, 0], repeats)
    expected = np.quantile(repeated, level, method="inverted_cdf")
    assert weighted_quantiles(column, repeats / repeats.sum(), [level])[0] == expected


@pytest.mark.slow
@pytest.mark.parametrize("loss", [SquaredError(), Huber(), Poisson(), Gamma()], ids=names)
@pytest.mark.parametrize("n", [30, 300])
def test_the_joint_equations_have_the_gradient_of_the_loss(loss, n):
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(2, n, generator=generator, dtype=DOUBLE)
    y = 0.1 + torch.rand(2, n, generator=generator, dtype=DOUBLE)
    training = torch.rand(3, n, generator=generator, dtype=DOUBLE)
    training /= training.sum(-1, keepdim=True)
    loss = loss.fitted_to(y, training[0], n)
    rows = Rows(X, y, training, None, n, loss)
    model = TriangleModel(TriangleNetwork(2, 3, 3), 2)
    theta = model.triangles.random(3, X, generator)
    coef = 0.3 * torch.randn(3, 6, 2, generator=generator, dtype=DOUBLE)
    both = model.pack(theta, coef, theta[:, :0])
    starts = torch.arange(3)
    problem = JointProblem(model, rows, alpha=0.0)
    equations = problem.linearize(problem.evaluate(both, starts), starts, None)[0]
    if problem.dual:
        gradient = (equations.jacobian @ equations.residual[..., None])[..., 0]
        gradient = gradient * equations.scale.sqrt()
    else:
        gradient = equations.gradient
    for i in range(model.n_parameters):
        step = 1e-6 * torch.eye(model.n_parameters, dtype=DOUBLE)[i]
        up, down = (problem.evaluate(both + s * step, starts).loss for s in (1, -1))
        # The loss is a mean over two outputs, the equations are sums, and of half the slopes.
        torch.testing.assert_close(gradient[:, i], (up - down) / 2e-6, rtol=1e-4, atol=1e-6)


def test_the_squared_error_of_working_rows_is_the_loss_itself():
    generator = torch.Generator().manual_seed(0)
    X, y = (torch.randn(k, 9, generator=generator, dtype=DOUBLE) for k in (2, 1))
    rows = Rows(X, y, torch.full((1, 9), 1 / 9, dtype=DOUBLE), None, 9, SQUARED_ERROR)
    torch.testing.assert_close(working_rows(rows).y, y)


def linear_table(n=400):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 3))
    return X, X @ [0.5, -0.3, 0.1], rng


ORACLES = {
    "absolute_error": (QuantileRegressor(quantile=0.5, alpha=0), mean_pinball_loss),
    "quantile": (QuantileRegressor(quantile=0.8, alpha=0), None),
    "poisson": (PoissonRegressor(alpha=0), mean_poisson_deviance),
    "gamma": (GammaRegressor(alpha=0), mean_gamma_deviance),
}


@pytest.mark.slow
@pytest.mark.parametrize("loss", ORACLES)
def test_the_training_loss_is_below_that_of_the_linear_model(loss):
    X, f, rng = linear_table()
    y = {"poisson": rng.poisson(np.exp(f)), "gamma": np.exp(f) * rng.gamma(3, 1 / 3, 400)}
    y = y.get(loss, f + rng.standard_t(2, size=400)).astype(float)
    oracle, score = ORACLES[loss]
    quantile = 0.8 if loss == "quantile" else None
    score = score or (lambda a, b: mean_pinball_loss(a, b, alpha=0.8))
    model = ExponentialReLURegressor(
        loss=loss, quantile=quantile, early_stopping=False, alpha=0.0, **SMALL
    )
    bound = score(y, oracle.fit(X, y).predict(X))
    loss_of_model = score(y, model.fit(X, y).predict(X))
    assert 0.7 * bound < loss_of_model < 0.99 * bound


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["absolute_error", "huber"])
@pytest.mark.parametrize("solver", ["lm", "adam"])
def test_robust_losses_do_not_follow_outliers(loss, solver):
    X, f, rng = linear_table()
    y = f + 0.1 * rng.normal(size=400)
    y[:40] += 50
    errors = {}
    for name in (loss, "squared_error"):
        model = ExponentialReLURegressor(
            loss=name, solver=solver, max_iter=150, n_levels=1, **SMALL
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            errors[name] = np.abs(model.fit(X, y).predict(X) - f).mean()
    assert errors[loss] < 0.2
    assert errors["squared_error"] > 1
    if loss == "huber" and solver == "lm":
        oracle = HuberRegressor().fit(X, y)
        assert errors[loss] < np.abs(oracle.predict(X) - f).mean() + 0.1


@pytest.mark.long
@pytest.mark.slow
def test_adam_comes_to_what_levenberg_marquardt_comes_to():
    X, f, rng = linear_table()
    y = rng.poisson(np.exp(f + 1)).astype(float)
    losses = []
    for solver in ("lm", "adam"):
        model = ExponentialReLURegressor(
            loss="poisson", solver=solver, early_stopping=False, learning_rate=0.01, max_iter=150,
            refine=False, tol=1e-5, **SMALL,
        )  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            losses.append(mean_poisson_deviance(y, model.fit(X, y).predict(X)))
    assert losses[1] == pytest.approx(losses[0], rel=0.1)


def heteroscedastic(n, seed):
    rng = np.random.default_rng(seed)
    X = rng.uniform(-1, 1, size=(n, 2))
    return X, np.sin(3 * X[:, 0]) + (0.2 + 0.3 * (X[:, 1] + 1)) * rng.gumbel(size=n)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_prediction_intervals_hold_as_many_targets_as_they_say(seed):
    X, y = heteroscedastic(1000, seed)
    model = ExponentialReLURegressor(
        loss="quantile", quantile=[0.05, 0.5, 0.95], n_subnetworks=8, random_state=0
    )
    model.fit(X, y)
    X_new, y_new = heteroscedastic(4000, 100 + seed)
    low, middle, high = model.predict(X_new).T
    inside = (low <= y_new) & (y_new <= high)
    # 4000 targets alone spread by 0.5 %, 1000 training rows by twice as much.
    assert inside.mean() == pytest.approx(0.9, abs=0.03)
    assert (y_new <= middle).mean() == pytest.approx(0.5, abs=0.05)
    # Where there is more noise, intervals are wider; a constant width would be wrong there.
    noisy = X_new[:, 1] > 0.5
    quiet = X_new[:, 1] < -0.5
    assert (high - low)[noisy].mean() > 2 * (high - low)[quiet].mean()
    assert inside[noisy].mean() == pytest.approx(0.9, abs=0.06)
    assert inside[quiet].mean() == pytest.approx(0.9, abs=0.06)


@pytest.mark.long
@pytest.mark.slow
def test_quantiles_do_not_cross_anywhere():
    X, y = heteroscedastic(60, 0)
    levels = [0.1, 0.3, 0.5, 0.7, 0.9]
    model = ExponentialReLURegressor(
        loss="quantile", quantile=levels, extrapolation="linear", early_stopping=False, **SMALL
    ).fit(X, y)
    far = 10 * np.random.default_rng(0).normal(size=(5000, 2))
    predicted = model.predict(far)
    assert predicted.shape == (5000, 5)
    assert (np.diff(predicted) >= 0).all()
    # There is something to sort: the outputs of the network itself do cross.
    stored = model._stored()
    unordered = replace(stored, ordered=False)
    raw = unordered.predict(far, torch.device("cpu"))
    assert (np.diff(raw) < 0).any()
    np.testing.assert_allclose(np.sort(raw), predicted, rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("extrapolation", ["linear", "constant"])
@pytest.mark.parametrize("loss", [*NAMES, "quantile"])
def test_the_torch_network_is_the_same_function(loss, extrapolation):
    X, y = heteroscedastic(80, 1)
    y = np.exp(y) if loss in ("poisson", "gamma") else y
    quantile = [0.1, 0.4, 0.6, 0.9] if loss == "quantile" else None
    model = ExponentialReLURegressor(
        loss=loss, quantile=quantile, extrapolation=extrapolation, **SMALL
    ).fit(X, y)
    points = 2 * np.random.default_rng(0).normal(size=(500, 2))
    predicted = model.predict(points)
    network = model.to_torch()
    outputs = network(torch.tensor(points)).detach().numpy().reshape(predicted.shape)
    np.testing.assert_allclose(outputs, predicted, rtol=1e-9, atol=1e-9)
    jacobian = torch.func.vmap(torch.func.jacrev(network))(torch.tensor(points)).detach().numpy()
    gradient = model.predict_gradient(points)
    scale = np.abs(jacobian).max()
    np.testing.assert_allclose(gradient.reshape(jacobian.shape), jacobian, atol=1e-9 * scale)
    if extrapolation == "constant":
        assert (y.min() <= predicted).all()
        assert (predicted <= y.max() * (1 + 1e-12)).all()
        inside = model.predict(np.clip(points, X.min(0), X.max(0)))
        np.testing.assert_array_equal(predicted, inside)


@pytest.mark.slow
@pytest.mark.parametrize("loss", [*NAMES, "quantile"])
def test_a_weight_of_2_is_a_row_given_twice(loss):
    X, y = heteroscedastic(60, 2)
    y = np.exp(y)
    quantile = [0.2, 0.8] if loss == "quantile" else None
    model = ExponentialReLURegressor(loss=loss, quantile=quantile, **SMALL)
    weights = 1 + np.arange(60) % 3
    weighted = model.fit(X, y, sample_weight=weights).predict(X)
    repeated = model.fit(np.repeat(X, weights, 0), np.repeat(y, weights)).predict(X)
    np.testing.assert_array_equal(weighted, repeated)


@pytest.mark.slow
@pytest.mark.parametrize("loss", [*NAMES, "quantile"])
def test_constant_targets_are_predicted(loss):
    quantile = [0.2, 0.8] if loss == "quantile" else None
    X = np.random.default_rng(0).normal(size=(30, 2))
    model = ExponentialReLURegressor(loss=loss, quantile=quantile, **SMALL).fit(X, np.full(30, 3.0))
    np.testing.assert_allclose(model.predict(X), 3, rtol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["absolute_error", "huber", "poisson", "gamma"])
def test_several_outputs_share_subnetworks(loss):
    X, y = heteroscedastic(80, 3)
    y = np.stack([np.exp(3 * X[:, 0]), 100 * np.exp(X[:, 1] - X[:, 0])], -1)
    model = ExponentialReLURegressor(loss=loss, **SMALL).fit(X, y)
    deviation = np.abs(y - np.median(y, 0)).mean(0)
    assert (np.abs(model.predict(X) - y).mean(0) < 0.2 * deviation).all()


@pytest.mark.slow
def test_warm_starts_go_on_with_a_loss():
    X, y = heteroscedastic(80, 4)
    model = ExponentialReLURegressor(
        loss="absolute_error", warm_start=True, max_iter=5, refine=False, early_stopping=False,
        **SMALL,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        losses = [np.abs(model.fit(X, y).predict(X) - y).mean() for _ in range(6)]
    assert losses[-1] < 0.97 * losses[0]


@pytest.mark.parametrize(
    ("parameters", "match"),
    [
        ({"loss": "quantile"}, "needs a quantile"),
        ({"quantile": 0.5}, "is for loss='quantile'"),
        ({"loss": "quantile", "quantile": [0.9, 0.1]}, "several that increase"),
        ({"loss": "quantile", "quantile": [0.5, 0.5]}, "several that increase"),
        ({"loss": "quantile", "quantile": [0.0, 0.5]}, r"a number in \(0, 1\)"),
        ({"loss": "quantile", "quantile": []}, r"a number in \(0, 1\)"),
        ({"loss": "quantile", "quantile": ["a"]}, r"a number in \(0, 1\)"),
        ({"loss": "poisson"}, "needs y >= 0"),
        ({"loss": "gamma"}, "needs y > 0"),
    ],
)
def test_messages(parameters, match):
    X = np.arange(40.0).reshape(20, 2)
    with pytest.raises(ValueError, match=match):
        ExponentialReLURegressor(**parameters).fit(X, X[:, 0] - 5)


def test_predictions_follow_from_the_fit_not_from_later_parameters():
    X, y = heteroscedastic(60, 0)
    model = ExponentialReLURegressor(loss="quantile", quantile=[0.1, 0.5, 0.9], **SMALL).fit(X, y)
    predicted = model.predict(5 * X)
    model.set_params(loss="gamma", quantile=None)
    np.testing.assert_array_equal(model.predict(5 * X), predicted)


@pytest.mark.long
@pytest.mark.slow
def test_the_score_of_several_quantiles_is_the_mean_of_theirs():
    X, y = heteroscedastic(80, 0)
    levels = [0.2, 0.7]
    model = ExponentialReLURegressor(loss="quantile", quantile=levels, **SMALL).fit(X, y)
    weights = np.random.default_rng(0).random(80)
    scores = [
        d2_pinball_score(y, predicted, alpha=level, sample_weight=weights)
        for predicted, level in zip(model.predict(X).T, levels, strict=True)
    ]
    assert model.score(X, y[:, None], weights) == pytest.approx(np.mean(scores))
    search = GridSearchCV(model, {"alpha": [1e-3, 1e-1]}, cv=2).fit(X, y)
    assert np.isfinite(search.best_score_)


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["huber", "poisson", "quantile"])
def test_scales_may_be_free(loss):
    X = np.random.default_rng(0).uniform(-1, 1, size=(200, 2))
    y = np.exp(X[:, 0] - X[:, 1] ** 2)
    quantile = [0.4, 0.6] if loss == "quantile" else None
    model = ExponentialReLURegressor(
        loss=loss, quantile=quantile, smooth=False, n_init=2, random_state=0
    )
    assert model.fit(X, y).score(X, y) > 0.8


def test_rows_without_weight_do_not_matter_to_checks_of_targets():
    X, y = heteroscedastic(40, 0)
    y = np.exp(y)
    y[:5], weights = 0, np.r_[np.zeros(5), np.ones(35)]
    model = ExponentialReLURegressor(loss="gamma", **SMALL)
    weighted = model.fit(X, y, sample_weight=weights).predict(X)
    np.testing.assert_array_equal(weighted, model.fit(X[5:], y[5:]).predict(X))
    some = np.r_[np.ones(5), np.zeros(35)]
    with pytest.raises(ValueError, match="needs some y > 0 in each output"):
        ExponentialReLURegressor(loss="poisson").fit(X, some, sample_weight=weights)
    assert model.__sklearn_tags__().target_tags.positive_only


@pytest.mark.slow
def test_several_quantiles_are_of_one_target():
    X = np.arange(40.0).reshape(20, 2)
    model = ExponentialReLURegressor(loss="quantile", quantile=[0.1, 0.9])
    with pytest.raises(ValueError, match="several quantiles are of one target"):
        model.fit(X, X)
    with pytest.raises(ValueError, match="needs y_val >= 0"):
        ExponentialReLURegressor(loss="poisson").fit(X, X[:, 0], X_val=X, y_val=-X[:, 0])
    single = ExponentialReLURegressor(loss="quantile", quantile=[0.3], **SMALL).fit(X, X[:, 0])
    assert single.predict(X).shape == (20, 1)
