"""The two stages against oracles, and the rules of a fit."""

import warnings

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares
from sklearn.exceptions import ConvergenceWarning

from skrelu import ExponentialReLURegressor
from skrelu._data.table import canonical_rows
from skrelu._fit.blend import raw_values
from skrelu._fit.plan import Settings, make_plan
from skrelu._fit.pretraining import coefficient_variances, pretrain
from skrelu._fit.refinement import released_penalty
from skrelu._networks.triangle_model import TriangleModel
from skrelu._networks.triangle_network import TriangleNetwork
from skrelu._solvers.levenberg_marquardt import (
    Damping,
    DualEquations,
    NormalEquations,
    levenberg_marquardt,
    without_held,
)
from skrelu._solvers.losses import SQUARED_ERROR
from skrelu._solvers.progress import Evaluation, Options, Progress, Status
from skrelu._solvers.regression import LossProblem
from skrelu._solvers.rows import Rows
from skrelu._solvers.variable_projection import SeparableProblem

DOUBLE = torch.float64
STARTS = torch.arange(2)


def options(**changes):
    defaults = {
        "solver": "lm",
        "max_iter": 100,
        "tol": 1e-6,
        "patience": 10,
        "learning_rate": 1e-3,
        "batch_size": 50,
        "generator": torch.Generator().manual_seed(0),
    }
    return Options(**{**defaults, **changes})


def random_rows(n_samples=70, n_features=2, n_outputs=2, n_starts=2, held_out=True):
    generator = torch.Generator().manual_seed(1)
    X = torch.randn(n_features, n_samples, generator=generator, dtype=DOUBLE)
    y = torch.stack([X[0] ** 2 + X[1], (X[0] - X[1]).abs()])[:n_outputs]
    y = (y - y.mean(-1, keepdim=True)) / y.std(-1, keepdim=True)
    training = torch.rand(n_starts, n_samples, generator=generator, dtype=DOUBLE)
    fold = torch.zeros(n_starts, n_samples, dtype=torch.bool)
    for start in range(n_starts):
        fold[start, start::7] = True
    validation = None
    if held_out:
        validation = torch.where(fold, training, 0)
        validation /= validation.sum(-1, keepdim=True)
        training = torch.where(fold, 0, training)
    return Rows(X, y, training / training.sum(-1, keepdim=True), validation, n_samples)


class Residuals:
    """A plain least-squares problem with two starts, for the solver alone."""

    damping, estimates = Damping(), False

    def __init__(self, residual, bounds=None):
        self.residual, self.bounds = residual, bounds

    def evaluate(self, theta, starts):
        theta = theta if self.bounds is None else theta.clamp(*self.bounds)
        cost = torch.stack([self.residual(t).square().sum() for t in theta])
        return Evaluation(theta, cost, cost, torch.full_like(cost, torch.nan), cost)

    def linearize(self, at, starts, earlier):
        J = torch.stack([torch.autograd.functional.jacobian(self.residual, t) for t in at.theta])
        r = torch.stack([self.residual(t) for t in at.theta])
        diagonal = J.square().sum(-2) + 1e-12
        equations = NormalEquations(J.mT @ J, (J.mT @ r[..., None])[..., 0], diagonal)
        if self.bounds is not None:
            equations = without_held(equations, at.theta, self.bounds)
        return equations, at

    def step(self, equations, at, starts, damping):
        return equations.step(damping)


def with_no_coefficients(model, theta):
    """Return a point of a model from its nonlinear parameters."""
    _, n_coef, n_shifts = model.sizes
    return torch.nn.functional.pad(theta, (0, n_coef + n_shifts))


@pytest.mark.parametrize(
    ("residual", "start"),
    [
        (lambda t: torch.stack([10 * (t[1] - t[0] ** 2), 1 - t[0]]), [-1.2, 1.0]),
        (lambda t: torch.exp(t[0] * torch.arange(6) / 5) * t[1] - torch.arange(6) ** 2, [0.1, 1.0]),
    ],
    ids=["Rosenbrock", "exponential"],
)
def test_levenberg_marquardt_finds_the_minimum_that_scipy_finds(residual, start):
    expected = least_squares(lambda t: np.asarray(residual(torch.tensor(t))), start, xtol=1e-15)
    theta = torch.tensor(start, dtype=DOUBLE) + torch.tensor([[0.0], [0.1]], dtype=DOUBLE)
    result = levenberg_marquardt(Residuals(residual), theta, options(tol=1e-9))
    np.testing.assert_allclose(result.theta, np.tile(expected.x, (2, 1)), rtol=1e-5)
    assert result.status is Status.CONVERGED
    assert np.all(np.diff(result.loss_curve) <= 0)


def test_normal_and_dual_equations_give_the_same_steps():
    generator = torch.Generator().manual_seed(0)
    J = torch.randn(2, 5, 7, generator=generator, dtype=DOUBLE)  # (starts, parameters, residuals)
    r = torch.randn(2, 7, generator=generator, dtype=DOUBLE)
    scale = torch.rand(2, 5, generator=generator, dtype=DOUBLE) + 0.5
    scaled = J / scale.sqrt()[..., None]
    normal = NormalEquations(J @ J.mT, (J @ r[..., None])[..., 0], scale)
    dual = DualEquations(scaled, scaled.mT @ scaled, r, scale)
    damping = torch.tensor([[1e-3, 1.0], [0.1, 10.0]], dtype=DOUBLE)
    torch.testing.assert_close(normal.step(damping), dual.step(damping))


def test_variable_projection_solves_the_ridge_regression_and_its_gradient():
    rows, network = random_rows(), TriangleNetwork(2, 3, 3)
    model = TriangleModel(network, 2)
    inner = network.random(2, rows.X, torch.Generator().manual_seed(0))
    theta = with_no_coefficients(model, inner)
    problem = SeparableProblem(model, rows, alpha=0.0)
    evaluation = problem.evaluate(theta, STARTS)
    _, coef, _ = model.unpack(evaluation.theta)
    for start in range(2):
        phi = problem._columns(inner, rows.X)[start].T
        root = rows.training[start].sqrt()[:, None]
        oracle = np.linalg.lstsq((root * phi).numpy(), (root * rows.y.T).numpy())[0]
        np.testing.assert_allclose(coef[start], oracle, rtol=1e-6, atol=1e-8)
    # The gradient of the reduced cost, by finite differences.
    gradient = problem.linearize(evaluation, STARTS, None)[0].gradient
    step = 1e-6 * torch.eye(model.n_parameters, dtype=DOUBLE)
    for i in range(network.n_parameters):
        up, down = (problem.evaluate(theta + s * step[i], STARTS).cost for s in (1, -1))
        slope = (up - down) / 2e-6
        # The cost is a mean over two outputs, the equations are sums without a factor 2.
        torch.testing.assert_close(gradient[:, i], slope, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [0.0, 0.3])
@pytest.mark.parametrize("smooth", [True, False])
@pytest.mark.parametrize("solver", ["lm", "adam"])
def test_neither_loss_nor_cost_moves_at_the_switch_of_stages(alpha, smooth, solver):
    rows, model = random_rows(), TriangleModel(TriangleNetwork(2, 3, 4, smooth), 2)
    result = pretrain(model, rows, None, alpha, options(solver=solver, max_iter=25))
    variance = coefficient_variances(model, result.theta, rows)
    # Some start must be past its best iteration, or the test could not see a mix-up.
    (_, coef), (relu, lowered) = model.to_waves(result.theta), model.to_relu(result.theta)
    penalty = released_penalty(relu, lowered, coef, variance)
    after = LossProblem(relu, rows, alpha, penalty).evaluate(lowered, STARTS)
    torch.testing.assert_close(after.loss, result.loss, rtol=1e-11, atol=0)
    torch.testing.assert_close(after.validation_loss, result.validation_loss, rtol=1e-11, atol=0)
    norm = (variance * coef.square().mean(-1)).sum(-1)
    torch.testing.assert_close(after.cost, result.loss * (1 + alpha * norm), rtol=1e-11, atol=0)
    if solver == "lm":
        assert (result.validation_loss < result.validation_curve[-1]).any()


@pytest.mark.parametrize("n_samples", [30, 300])
def test_refinement_has_the_gradient_of_its_cost(n_samples):
    rows, network = random_rows(n_samples), TriangleNetwork(2, 2, 2)
    model = TriangleModel(network, 2)
    theta = network.random(2, rows.X, torch.Generator().manual_seed(0))
    problem = SeparableProblem(model, rows, 0.1)
    first = problem.evaluate(with_no_coefficients(model, theta), STARTS)
    _, coef, _ = model.unpack(first.theta)
    variance = first.state[0]
    relu, lowered = model.to_relu(first.theta)
    problem = LossProblem(relu, rows, 0.1, released_penalty(relu, lowered, coef, variance))
    assert problem.dual == (n_samples == 30)
    evaluation = problem.evaluate(lowered, STARTS)
    equations, _ = problem.linearize(evaluation, STARTS, None)
    # Infinite damping: a step down the scaled gradient.
    step = equations.step(torch.full((2, 1), 1e9, dtype=DOUBLE))[:, 0] * equations.scale * 1e9
    cost = lowered.clone().requires_grad_()
    (expected,) = torch.autograd.grad(_log_cost(problem, cost, rows).sum(), cost)
    # d log(cost) = 2 gradient / (n_outputs loss)
    torch.testing.assert_close(
        -2 * step / (2 * evaluation.loss[:, None]), expected, rtol=1e-6, atol=1e-6
    )


def _log_cost(problem, theta, rows):
    squares = (problem.network.forward(theta, rows.X) - rows.y).square().mean(-2)
    loss = (rows.training * squares).sum(-1)
    return loss.log() + (1 + problem.alpha * (problem.penalty * theta**2).sum(-1)).log()


def test_results_do_not_depend_on_the_size_of_chunks():
    rows, model = random_rows(200), TriangleModel(TriangleNetwork(2, 3, 3), 2)
    theta = model.triangles.random(2, rows.X, torch.Generator().manual_seed(0))
    theta = with_no_coefficients(model, theta)
    whole, parts = (SeparableProblem(model, rows, 0.01) for _ in range(2))
    parts.chunk = 64
    a, b = whole.evaluate(theta, STARTS), parts.evaluate(theta, STARTS)
    torch.testing.assert_close(a.cost, b.cost)
    for x, y in zip(
        whole.linearize(a, STARTS, None)[0],
        parts.linearize(b, STARTS, None)[0],
        strict=True,
    ):
        torch.testing.assert_close(x, y)


def test_the_best_iteration_by_validation_is_kept():
    losses = [[1.0, 1.0], [0.5, 1.2], [0.7, 0.4]]
    theta = torch.arange(3, dtype=DOUBLE)[:, None, None].expand(3, 2, 1)
    nothing = torch.zeros(2, dtype=DOUBLE)

    def evaluation(i):
        held_out = torch.tensor(losses[i], dtype=DOUBLE)
        return Evaluation(theta[i], nothing, nothing + 1, held_out, held_out)

    progress = Progress(evaluation(0), options(patience=2, tol=0.1))
    for i in (1, 2):
        progress.update(evaluation(i), STARTS)
    assert progress.result(Status.MAX_ITER).theta[:, 0].tolist() == [1.0, 2.0]
    assert progress.active().tolist() == [0, 1]


def test_canonical_rows_merge_sort_and_drop():
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 3, (50, 2)).astype(float), rng.integers(0, 2, (50, 1)).astype(float)
    weights = rng.integers(0, 3, 50).astype(float)
    merged = canonical_rows(X, y, weights)
    repeated = np.repeat(np.arange(50), weights.astype(int))
    again = canonical_rows(X[repeated][::-1], y[repeated][::-1], np.ones(len(repeated)))
    for a, b in zip(merged, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert len(np.unique(np.c_[merged[0], merged[1]], axis=0)) == len(merged[0])
    negative_zero = canonical_rows(np.array([[0.0], [-0.0]]), np.zeros((2, 1)), np.ones(2))
    assert negative_zero[2].tolist() == [2.0]


def plan(n_samples, n_features, **changes):
    parameters = {**ExponentialReLURegressor(depth=4).get_params(), **changes}
    parameters |= {"encoded_depth": 1, "exact_depth": True}
    names = Settings.__dataclass_fields__.keys() - {"loss", "shape"}
    settings = Settings(**{k: parameters[k] for k in names}, loss=SQUARED_ERROR, shape=None)
    return make_plan(settings, n_samples, n_features, 1)


def test_the_plan_follows_the_size_of_the_data():
    assert plan(1000, 8).solver == "lm"
    assert plan(10**7, 50).solver == "adam"
    assert plan(64, 8).triangles.n_subnetworks == 2
    assert not plan(500, 1, depth=5, n_subnetworks=1, n_init=1).early_stopping
    assert plan(10**4, 3, n_init=2, n_subnetworks=1).early_stopping
    assert plan(500, 1).early_stopping
    assert plan(500, 1, depth=5, n_subnetworks=1, n_init=1).max_refinement > 200
    assert plan(10**4, 20).max_refinement == 0
    assert plan(10**4, 20, refine_max_iter=7).max_refinement == 7
    assert plan(1000, 8).n_starts > plan(10**5, 8).n_starts >= 1
    assert plan(500, 1, refine=False).max_refinement == 0
    assert plan(500, 1, n_subnetworks=1, n_init=1).triangles.n_free_peaks == 1
    assert plan(50, 1, n_subnetworks=1, n_init=1).triangles.n_free_peaks == 3
    assert not plan(500, 1, n_subnetworks=1, n_init=1, smooth=False).in_limit
    assert not plan(500, 1, n_subnetworks=1, n_init=1, depth=1).in_limit
    assert not plan(500, 1, solver="adam").in_limit
    assert plan(1000, 5).composed.levels == [3] * 6
    assert plan(10**6, 50).composed.n_parameters <= 800
    assert plan(300, 5).composed.n_parameters <= 150
    for changes in ({"n_init": 2}, {"n_subnetworks": 8}, {"solver": "adam"}, {"smooth": False}):
        assert plan(1000, 5, **changes).composed is None
    assert plan(40, 5).composed is plan(1000, 300).composed is None
    assert plan(60, 5, n_levels=3, n_init=2).composed.levels == [1, 1, 1]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("refine", [True, False])
def test_a_warm_start_goes_on_where_the_last_fit_ended(refine):
    X = np.random.default_rng(0).normal(size=(300, 2)) * [1, 50] + [3, 0]
    y = np.c_[np.sin(2 * X[:, 0]), 1e3 * X[:, 1]]
    model = ExponentialReLURegressor(
        n_subnetworks=2, n_init=2, early_stopping=False, warm_start=True, refine=refine,
        max_iter=5, refine_max_iter=5, random_state=0,
    )  # fmt: skip
    losses = [model.fit(X, y).loss_curve_[-1]]
    prediction = model.predict(X)
    # Other rows bring another standardization, which must not move the network.
    model.fit(X[100:], y[100:])
    start = np.mean((prediction[100:] - y[100:]) ** 2 / y[100:].var(0))
    if refine:
        np.testing.assert_allclose(model.loss_curve_[0], start, rtol=1e-9)
    else:
        assert model.loss_curve_[0] <= start
    for _ in range(3):
        losses.append(model.fit(X, y).loss_curve_[-1])
    assert np.all(np.diff(losses) < 0)


@pytest.mark.slow
def test_explicit_validation_data_weighs_the_starts():
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(200, 2))
    y = np.sin(5 * X[:, 0]) * X[:, 1]
    model = ExponentialReLURegressor(n_subnetworks=3, n_init=4, random_state=0)
    model.fit(X[:150], y[:150], X_val=X[150:], y_val=y[150:])
    assert 1 <= model.n_starts_ <= 4
    assert model.n_subnetworks_ == 3 * model.n_starts_
    assert model.score(X[150:], y[150:]) > model.best_validation_score_ - 1e-3
    # A weight of zero is no row.
    weights = np.r_[np.ones(50), np.zeros(50)]
    other = ExponentialReLURegressor(n_subnetworks=3, n_init=4, random_state=0).fit(
        X[:150],
        y[:150],
        X_val=np.r_[X[150:], X[:50]],
        y_val=np.r_[y[150:], y[:50] + 9],
        sample_weight_val=weights,
    )
    np.testing.assert_array_equal(other.predict(X), model.predict(X))


def test_ending_by_max_iter_warns_and_says_what_to_change():
    X = np.random.default_rng(0).uniform(size=(200, 3))
    model = ExponentialReLURegressor(max_iter=2, random_state=0)
    with pytest.warns(ConvergenceWarning, match=r"max_iter=2.*[Rr]aise max_iter"):
        model.fit(X, np.sin(9 * X[:, 0]) * X[:, 1])


def test_the_fit_leaves_threads_and_seeds_alone():
    X = np.linspace(0, 1, 50)[:, None]
    threads, seed = torch.get_num_threads(), torch.initial_seed()
    state = torch.get_rng_state()
    ExponentialReLURegressor(n_init=1, random_state=0).fit(X, X[:, 0])
    assert (torch.get_num_threads(), torch.initial_seed()) == (threads, seed)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("solver", ["lm", "adam"])
def test_the_exported_network_is_the_prediction(solver):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(150, 3)) * [1, 100, 1e-3] + [5, 0, 0]
    y = np.c_[X[:, 0] ** 2, X[:, 1]]
    model = ExponentialReLURegressor(
        solver=solver, max_iter=30, refine_max_iter=5, tol=0.5, random_state=0
    ).fit(X, y)
    network = model.to_torch()
    assert {type(layer) for layer in network} == {torch.nn.Linear, torch.nn.ReLU}
    for inputs in (X, 1e4 * X):
        with torch.no_grad():
            exported = network(torch.tensor(inputs)).numpy()
        prediction = model.predict(inputs)
        assert (np.abs(exported - prediction) / np.abs(prediction).max(0)).max() < 1e-10


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["x^11", *(pytest.param(n, marks=pytest.mark.long) for n in ("x^3", "sin", "tanh"))]
)
@pytest.mark.long
def test_one_narrow_network_comes_close_to_the_best_spline(name):
    function = {
        "x^3": lambda x: x**3,
        "x^11": lambda x: x**11,
        "sin": lambda x: np.sin(np.pi * x / 2),
        "tanh": lambda x: np.tanh(3 * x),
    }[name]
    X = np.linspace(0, 1, 500)[:, None]
    y = function(X[:, 0])
    errors = []
    for seed in range(5):
        model = ExponentialReLURegressor(depth=5, n_subnetworks=1, n_init=1, random_state=seed)
        errors.append(np.mean((model.fit(X, y).predict(X) - y) ** 2))
    spline = {"x^3": 8.9e-9, "x^11": 7.8e-9, "sin": 2.6e-9, "tanh": 7.0e-9}[name]  # 32 pieces
    assert min(errors) < spline
    assert max(errors) < 10 * spline


@pytest.mark.slow
def test_adam_trains_through_both_stages():
    X = np.linspace(-1, 1, 200)[:, None]
    y = X[:, 0] ** 3 - X[:, 0]
    model = ExponentialReLURegressor(
        solver="adam", n_subnetworks=2, n_init=2, max_iter=100, tol=0, random_state=0
    )
    with pytest.warns(ConvergenceWarning):
        model.fit(X, y)
    assert model.solver_ == "adam"
    assert model.loss_curve_[-1] < 0.5 * model.loss_curve_[0]
    assert model.score(X, y) > 0.99


@pytest.mark.slow
@pytest.mark.parametrize("change", ["cancel", "infinite", "undefined"])
def test_networks_that_are_mostly_rounding_count_for_nothing(monkeypatch, change):
    """Each start's output weights are spoilt before it is weighed against a line."""

    def spoilt(network, theta, rows):
        weights = network.unpack(theta)
        output = weights.output
        if change == "cancel":
            output[:, 0, 0] += 1e17
            output[:, 0, 1] -= 1e17
        else:
            output[:, 0, 0] = torch.inf if change == "infinite" else torch.nan
        return raw_values(network, theta, rows)

    monkeypatch.setattr("skrelu._fit.one_level.raw_values", spoilt)
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(80, 2))
    y = X[:, 0] + 0.1 * rng.normal(size=80)
    model = ExponentialReLURegressor(depth=3, n_subnetworks=2, n_init=2, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(X, y)
    slopes = model.predict_gradient(X)
    np.testing.assert_allclose(slopes, slopes[:1].repeat(80, 0))
    assert model.score(X, y) > 0.8


def test_many_rows_of_a_line_leave_no_ridge():
    X = np.random.default_rng(0).normal(size=(230, 1))
    model = ExponentialReLURegressor(random_state=0).fit(X, 3 * X[:, 0] - 1)
    np.testing.assert_allclose(model.predict(100 * X), 300 * X[:, 0] - 1, atol=1e-8)
