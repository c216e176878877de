"""Composed sub-networks: derivatives, exact lowering, evidence, the estimator's levels."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import BayesianRidge
from sklearn.metrics import log_loss

from skrelu import ExponentialReLUClassifier, ExponentialReLURegressor
from skrelu._fit import composed as fitting_module
from skrelu._fit import tuning
from skrelu._fit.averaging import noise_of, shares_by
from skrelu._networks.composed_network import ComposedNetwork
from skrelu._networks.plain_layers import dense_layers
from skrelu._networks.relu_network import ReLUNetwork, average
from skrelu._networks.shapes import Shape
from skrelu._solvers.evidence import EvidenceProblem, Precisions, fit_by_evidence
from skrelu._solvers.progress import Options, Status
from skrelu._solvers.rows import Rows

DOUBLE = torch.float64


def drawn(network, n_starts=2, n_samples=40, seed=0):
    generator = torch.Generator().manual_seed(seed)
    X = torch.randn(network.n_features, n_samples, generator=generator, dtype=DOUBLE)
    if isinstance(network, ComposedNetwork):
        return network.random(n_starts, generator), X
    return torch.randn(n_starts, network.n_parameters, generator=generator, dtype=DOUBLE), X


@given(seed=st.integers(0, 10**6), n_levels=st.integers(1, 3))
@settings(deadline=None, max_examples=20)
def test_lowering_is_exact_but_for_a_factor_of_nine_a_layer(seed, n_levels):
    network = ComposedNetwork(2, 3 * n_levels, n_levels, 1)
    theta, X = drawn(network, seed=seed)
    X = torch.cat([X, 100 * X], -1)  # beyond all windows, too
    errors = []
    for depth in (6, 7, 10):
        relu, lowered = network.to_relu(theta, depth)
        assert relu == ReLUNetwork(2, 3 * n_levels, 2 * depth, 1, n_levels)
        difference = relu.forward(lowered, X) - network.forward(theta, X)
        errors.append(difference.square().mean().sqrt())
    assert errors[1] < errors[0] / 5
    assert errors[2] < 4 * 9**-4 * errors[0]


def test_one_lowered_wave_is_smooth_with_straight_ends():
    network = ComposedNetwork(1, 1, 1, 1)
    theta = torch.tensor([[1.0, 0.0, 0.0, 1.0, 0.0]], dtype=DOUBLE)  # h(x)
    z = torch.linspace(-3, 3, 60_001, dtype=DOUBLE)
    exact = torch.where(z.abs() <= 1, 1.5 * z**2 - 0.25 * z**4, 2 * z.abs() - 0.75)
    torch.testing.assert_close(network.forward(theta, z[None])[0, 0], exact)
    inside = z.abs() <= 1
    for depth in (1, 2, 3, 4):
        relu, lowered = network.to_relu(theta, depth)
        error = relu.forward(lowered, z[None])[0, 0] - exact
        # The best line on a piece of width w of a parabola is off by w^4 / 180 in the mean
        # square; the first parabola is seen with the slope of the second.
        first = min(depth + 1, 2 * depth - 1)
        second = 2 * depth - first
        expected = (1.8 * 81.0 ** (1 - first) + 81.0**-second / 16) / 180
        assert error[inside].square().mean() == pytest.approx(expected, rel=0.3)
        assert error[~inside].abs().max() < 3 * expected**0.5


def test_lowering_takes_as_many_layers_as_lose_nothing():
    network = ComposedNetwork(2, 4, 4, 1)
    theta, X = drawn(network, n_starts=2)
    weights = network.unpack(theta)
    for later in weights.directions[1:]:
        later *= 30  # what is missing in a level grows in the next
    rows = rows_of(X.T.numpy(), X[0].numpy())
    expected = network.forward(theta, X)
    layers = []
    for error in (1e3, 1e-4, 1e-8):
        relu, lowered = fitting_module.lowered_closely(
            network, theta, 2, rows, torch.full((2,), error, dtype=DOUBLE)
        )
        difference = relu.forward(lowered, X) - expected
        assert difference.square().mean((-1, -2)).max() <= 0.05 * error
        layers.append(relu.depth)
    assert 4 <= layers[0] < layers[1] < layers[2] <= 20


@pytest.mark.parametrize("n_levels", [1, 2, 3])
def test_averages_and_dense_layers_are_the_same_function(n_levels):
    network = ReLUNetwork(3, 2 * n_levels, 2, 2, n_levels)
    theta, X = drawn(network, n_starts=3)
    shares = torch.tensor([[0.2, 0.0], [0.3, 0.6], [0.5, 0.1]], dtype=DOUBLE)
    expected = (shares[..., None] * network.forward(theta, X)).sum(0)
    whole, merged = average(network, theta, shares)
    assert whole == ReLUNetwork(3, 6 * n_levels, 2, 2, n_levels)
    torch.testing.assert_close(whole.forward(merged, X), expected, rtol=1e-12, atol=1e-12)
    layers = dense_layers(whole, whole.unpack(merged))
    assert len(layers) == 2 * n_levels + 1
    h = X.T
    for matrix, bias in layers[:-1]:
        h = (h @ matrix.T + bias).relu()
    matrix, bias = layers[-1]
    torch.testing.assert_close((h @ matrix.T + bias).T, expected, rtol=1e-12, atol=1e-12)


def rows_of(X, y):
    n = len(y)
    X, y = torch.tensor(X.T), torch.tensor(y)[None]
    return Rows(X, y, torch.full((1, n), 1 / n, dtype=DOUBLE), None, n)


def evidence_options(max_iter=100):
    generator = torch.Generator().manual_seed(0)
    return Options("lm", max_iter, 1e-4, 20, 1e-3, 200, generator)


@pytest.mark.parametrize("noise", [0.1, 0.5])
def test_the_estimated_error_is_that_on_other_rows(noise):
    rng = np.random.default_rng(0)
    X = rng.uniform(-2, 2, size=(2400, 3))
    clean = X[:, 0] * X[:, 1] + np.sin(2 * X[:, 2])
    y = clean + noise * rng.normal(size=len(X))
    network = ComposedNetwork(3, 8, 2, 1)
    start = network.random(1, torch.Generator().manual_seed(0))
    result = fit_by_evidence(network, start, rows_of(X[:400], y[:400]), evidence_options())
    prediction = network.forward(result.theta, torch.tensor(X[400:].T))[0, 0].numpy()
    test = np.mean((prediction - y[400:]) ** 2)
    assert 0.7 * test < float(result.error) < 1.3 * test
    assert float(result.loss) < noise**2 < test
    # Ridge and all, most of the noise stays out of the fit.
    assert np.mean((prediction - clean[400:]) ** 2) < 0.4 * noise**2


def test_products_are_computed_where_starts_have_moved(monkeypatch):
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, size=(60, 2))
    rows = rows_of(X, np.sin(3 * X[:, 0]))
    rows = replace(rows, training=rows.training.repeat(3, 1))
    network, every = ComposedNetwork(2, 4, 2, 1), torch.arange(3)
    theta = network.random(3, torch.Generator().manual_seed(0))
    moved = theta.clone()
    moved[1] *= 1.1
    counts, jacobian = [], ComposedNetwork.jacobian

    def counted(self, theta, X, cotangent):
        counts.append(len(theta))
        return jacobian(self, theta, X, cotangent)

    monkeypatch.setattr(ComposedNetwork, "jacobian", counted)
    problem = EvidenceProblem(network, rows)
    problem.linearize(problem.evaluate(theta, every), every, None)
    found, _ = problem.linearize(problem.evaluate(moved, every), every, None)
    assert counts == [3, 1]
    again, _ = problem.linearize(problem.evaluate(moved[1:], every[1:]), every[1:], None)
    assert counts == [3, 1]
    fresh = EvidenceProblem(network, rows)
    expected, _ = fresh.linearize(fresh.evaluate(moved, every), every, None)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(again.gram, expected.gram[1:])


@pytest.mark.parametrize("hold_out", [False, True])
def test_what_a_callback_sees_last_is_what_is_returned(hold_out):
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, size=(120, 2))
    rows = rows_of(X, np.sin(3 * X[:, 0]) * X[:, 1] + 0.3 * rng.normal(size=120))
    if hold_out:
        held = torch.zeros_like(rows.training)
        held[:, ::5] = 1 / 24
        training = torch.full_like(held, 1 / 96).masked_fill(held > 0, 0)
        rows = replace(rows, training=training, validation=held)
    seen = []

    def report(progress):
        seen.append(progress.result(Status.MAX_ITER).theta.clone())
        return False

    network = ComposedNetwork(2, 6, 2, 1)
    start = network.random(1, torch.Generator().manual_seed(0))
    options = replace(evidence_options(), report=report)
    result = fit_by_evidence(network, start, rows, options)
    assert result.n_iter == len(seen) - 1
    assert torch.equal(result.theta, seen[-1])
    assert not torch.equal(result.theta, start)


@pytest.mark.parametrize("shape", [None, Shape((1, 0, -1), (0, 1, 0))])
def test_a_wider_network_is_the_same_function(shape):
    network = ComposedNetwork(3, 6, 3, 2, shape)
    theta, X = drawn(network, n_starts=2)
    wider, more = network.widened(theta, 2, torch.Generator().manual_seed(1))
    assert (wider.n_subnetworks, wider.n_levels) == (12, 3)
    torch.testing.assert_close(wider.forward(more, X), network.forward(theta, X))
    if shape is not None:
        low, high = wider.bounds(more)
        assert ((low <= more) & (more <= high)).all()
    # New sub-networks learn: something depends on each weight that leads away from them.
    _, pullback = wider.curvature(more, torch.zeros_like(more), X)
    gradient = pullback(torch.ones(2, 2, X.shape[1], dtype=DOUBLE))
    assert (wider.unpack(gradient).output != 0).all()


def test_a_fit_goes_on_where_it_has_ended():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, size=(300, 2))
    rows = rows_of(X, np.sin(2 * X[:, 0]) * X[:, 1])
    network = ComposedNetwork(2, 6, 2, 1)
    start = network.random(1, torch.Generator().manual_seed(0))
    result = fit_by_evidence(network, start, rows, evidence_options(80))
    assert result.error < 1e-6

    def highest(resumed):
        again = fit_by_evidence(network, result.theta, rows, evidence_options(3), resumed=resumed)
        return max(again.loss_curve) / result.loss

    assert highest(1e-3) <= 1.01
    assert highest(1.0) <= 1.01
    assert highest(None) > 1.1  # as from a random point


def test_features_of_no_use_lose_their_weights():
    network = ComposedNetwork(4, 6, 3, 1)
    groups = network.groups(by_feature=True)
    assert groups[-1] == -1
    assert sorted(set(groups.tolist())) == list(range(-1, 4 + 2 + 3 + 2))  # no earlier level in one
    by_level = network.groups(by_feature=False)
    assert sorted(set(by_level.tolist())) == list(range(-1, 3 + 3 + 1))
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, size=(200, 4))
    y = np.sin(2 * X[:, 0]) * X[:, 1] + 0.1 * rng.normal(size=200)
    start = network.random(1, torch.Generator().manual_seed(0))
    result = fit_by_evidence(network, start, rows_of(X, y), evidence_options(60))
    sizes = sum(part[0].square().sum(0)[:4] for part in network.unpack(result.theta).directions)
    assert sizes[2:].max() < 0.02 * sizes[:2].min()


def test_precisions_of_a_linear_model_are_those_of_bayesian_ridge():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 5))
    y = X @ [1.0, 0.5, 0, 0, 0] + 0.3 * rng.normal(size=60)
    # scikit-learn's priors on the precisions are almost flat, too.
    oracle = BayesianRidge(fit_intercept=False, max_iter=1000, tol=1e-12).fit(X, y)
    design, target = torch.tensor(X), torch.tensor(y)
    gram = (design.T @ design)[None]
    one = torch.ones(1, dtype=DOUBLE)
    precisions = Precisions(torch.ones(1, 5, dtype=DOUBLE), 60 * one)
    for _ in range(200):
        matrix = precisions.of_noise * gram[0] + precisions.of_weights * torch.eye(5)
        theta = torch.linalg.solve(matrix, precisions.of_noise * design.T @ target)[None]
        loss = (design @ theta[0] - target).square().mean()[None]
        precisions.estimate(gram, theta, loss, torch.arange(1))
    assert float(precisions.of_weights) == pytest.approx(oracle.lambda_, rel=1e-3)
    assert float(precisions.of_noise) == pytest.approx(oracle.alpha_, rel=1e-3)
    np.testing.assert_allclose(theta[0], oracle.coef_, rtol=1e-4, atol=1e-6)


def product(n_samples, seed):
    X = np.random.default_rng(seed).uniform(-1, 1, (n_samples, 4))
    return X, X[:, 0] * X[:, 1] * (1 + X[:, 2]) + X[:, 3]


def relative_error(model, X, y):
    return np.sqrt(np.mean((model.predict(X) - y) ** 2)) / y.std()


@pytest.mark.slow
@pytest.mark.long
def test_products_of_three_inputs_need_levels():
    X, y = product(500, 0)
    others = product(2000, 1)
    composed = ExponentialReLURegressor(random_state=0).fit(X, y)
    assert composed.n_levels_ == 6
    assert composed.n_subnetworks_ % 6 == 0
    assert composed.n_iter_ == composed.n_iter_pretrain_
    assert composed.validation_score_ is None
    one_level = ExponentialReLURegressor(n_levels=1, random_state=0).fit(X, y)
    assert one_level.n_levels_ == 1
    assert relative_error(composed, *others) < 0.5 * relative_error(one_level, *others)


@pytest.mark.slow
def test_noisy_tables_are_stacked():
    X, y = product(300, 0)
    y = y + y.std() * np.random.default_rng(1).normal(size=300)
    assert ExponentialReLURegressor(random_state=0).fit(X, y).kinds_
    model = ExponentialReLURegressor(n_levels=2, random_state=0).fit(X, y)
    assert model.n_levels_ == 2
    assert not model.kinds_


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("refine_max_iter", ["auto", 3])
def test_a_composed_model_is_a_plain_network_that_can_go_on(refine_max_iter):
    X, y = product(200, 0)
    X, Y = X * [1, 100, 1e-3, 1] + [0, 5, 0, 0], np.c_[y, 1e3 * X[:, 0] ** 2]
    model = ExponentialReLURegressor(
        n_levels=2, n_subnetworks=6, n_init=2, max_iter=20, refine_max_iter=refine_max_iter,
        warm_start=True, random_state=0,
    ).fit(X, Y)  # fmt: skip
    assert model.directions_.shape == (6 * model.n_starts_, 4)
    assert model.offsets_.shape == (6 * model.n_starts_,)
    assert model.peaks_ is model.scales_ is None
    n_weights = ComposedNetwork(4, 6, 2, 2).n_parameters
    assert model.n_parameters_pretrain_ == model.n_starts_ * n_weights
    assert len(model.hidden_weights_) >= 2 * 8
    network = pickle.loads(pickle.dumps(model)).to_torch()
    assert {type(layer) for layer in network} == {torch.nn.Linear, torch.nn.ReLU}
    for inputs in (X, 1e4 * X):
        with torch.no_grad():
            exported = network(torch.tensor(inputs)).numpy()
        prediction = model.predict(inputs)
        assert (np.abs(exported - prediction) / np.abs(prediction).max(0)).max() < 1e-9

    # Other rows bring another standardization, which must not move the network.
    def losses():
        return np.mean((model.predict(X[:-1]) - Y[:-1]) ** 2 / Y[:-1].var(0), 0)

    before, loss = losses(), model.loss_curve_[-1]
    if refine_max_iter != "auto":  # then the best start is the model, else an average
        loss = before.mean()
    model.fit(X[:-1], Y[:-1])
    assert model.loss_curve_[0] == pytest.approx(
        loss, rel=0.2 if refine_max_iter == "auto" else 1e-6
    )
    if refine_max_iter == "auto":  # the product falls: outputs have precisions of their own
        assert losses().prod() <= before.prod()
    else:
        assert model.loss_curve_[-1] <= model.loss_curve_[0]
    assert model.n_levels_ == 2
    with pytest.raises(ValueError, match=r"n_levels=2, .* but now there are .*n_levels=1"):
        model.set_params(n_levels=1).fit(X, Y)


@pytest.mark.slow
@pytest.mark.parametrize("n_levels", [pytest.param(1, marks=pytest.mark.long), 3])
@pytest.mark.parametrize(
    "loss", ["squared_error", "huber", "absolute_error", "quantile", "poisson"]
)
def test_every_loss_is_fitted_on_any_number_of_levels(loss, n_levels):
    X, y = product(300, 0)
    target = y
    if loss == "poisson":
        target = np.exp(y)
    quantile = 0.5 if loss == "quantile" else None
    model = ExponentialReLURegressor(
        loss=loss, quantile=quantile, n_levels=n_levels, n_init=1, random_state=0
    ).fit(X, target)
    assert model.n_levels_ == n_levels
    others, truth = product(500, 1)
    predicted = model.predict(others)
    error = np.abs((np.log(predicted) if loss == "poisson" else predicted) - truth).mean()
    assert error < 0.25 * np.abs(truth - np.median(truth)).mean()


@pytest.mark.slow
@pytest.mark.long
def test_levels_tell_classes_apart_that_products_make():
    X, y = product(1500, 0)
    y = np.digitize(y, np.quantile(y, [1 / 3, 2 / 3]))
    models = [
        ExponentialReLUClassifier(n_levels=n_levels, random_state=0).fit(X[:1000], y[:1000])
        for n_levels in (1, 2, "auto")
    ]
    assert [model.n_levels_ for model in models] == [1, 2, 2]
    one, two, default = (log_loss(y[1000:], model.predict_proba(X[1000:])) for model in models)
    assert two < 0.75 * one  # 0.5 to 0.7 for three seeds
    assert default < 1.2 * two
    assert models[2].kinds_["waves"] > 0.5
    few = ExponentialReLUClassifier(random_state=0).fit(X[:900], y[:900])
    assert few.n_levels_ == 1


@pytest.mark.long
@pytest.mark.slow
def test_outputs_and_weights_go_with_levels_and_losses():
    X, y = product(120, 0)
    Y = np.column_stack([y, X[:, 0] ** 2])
    weights = np.random.default_rng(1).integers(1, 4, 120)
    parameters = {"loss": "huber", "n_levels": 2, "n_subnetworks": 4, "random_state": 0}
    weighted = ExponentialReLURegressor(**parameters).fit(X, Y, sample_weight=weights)
    repeated = np.repeat(np.arange(120), weights)
    again = ExponentialReLURegressor(**parameters).fit(X[repeated], Y[repeated])
    np.testing.assert_array_equal(weighted.predict(X), again.predict(X))
    assert weighted.predict(X).shape == (120, 2)


@pytest.mark.slow
@pytest.mark.parametrize("convexity", [None, {0: "convex", 1: "concave"}])
def test_shapes_hold_on_levels_and_levels_help(convexity):
    X = np.random.default_rng(0).uniform(0, 1, (300, 3))
    y = X[:, 0] ** 2 + np.sqrt(X[:, 1]) - X[:, 2] * (2 if convexity else X[:, 0])
    monotonic = [1, 1, -1] if convexity else [0, 1, -1]
    model = ExponentialReLURegressor(
        n_levels=3, monotonic_cst=monotonic, convexity=convexity, random_state=0
    ).fit(X, y)
    assert model.n_levels_ == 3
    assert model.score(X, y) > 0.95
    lines = np.random.default_rng(1).uniform(-1, 2, (20, 3))
    for j, rise in enumerate(monotonic):
        Z = np.repeat(lines[:, None], 400, 1)
        Z[..., j] = np.linspace(-1, 2, 400)
        values = model.predict(Z.reshape(-1, 3)).reshape(20, 400)
        size = 1e-9 * np.abs(values).max()
        assert (rise * np.diff(values) >= -size).all()
        if convexity and j in convexity:
            sign = 1 if convexity[j] == "convex" else -1
            assert (sign * np.diff(values, 2) >= -size).all()


@pytest.mark.slow
def test_held_out_rows_choose_the_iteration():
    X, y = product(200, 0)
    model = ExponentialReLURegressor(n_levels=2, early_stopping=True, random_state=0).fit(X, y)
    assert model.best_validation_score_ == pytest.approx(max(model.validation_score_))
    model.fit(X[:150], y[:150], X_val=X[150:], y_val=y[150:])
    assert model.best_validation_score_ == pytest.approx(model.score(X[150:], y[150:]), abs=1e-3)


@pytest.mark.slow
def test_large_tables_are_fitted_on_a_part_of_the_rows_first(monkeypatch):
    n_rows = []

    def recorded(network, theta, rows, options, **more):
        n_rows.append((len(theta), rows.n_trained))
        return fit_by_evidence(network, theta, rows, options, **more)

    monkeypatch.setattr(fitting_module, "fit_by_evidence", recorded)
    monkeypatch.setattr(tuning, "COMPOSED_ROWS", 800)
    monkeypatch.setattr(tuning, "COMPOSED_WORK", 0)
    X, y = product(1000, 0)
    model = ExponentialReLURegressor(n_levels=2, n_subnetworks=8, random_state=0).fit(X, y)
    n_weights = ComposedNetwork(4, 8, 2, 1).n_parameters
    assert n_rows == [(6, 3 * n_weights), (1, 3 * n_weights), (1, 800)]
    assert model.score(X, y) > 0.99


@pytest.mark.slow
@pytest.mark.long
def test_many_rows_without_noise_get_wider_networks():
    X, y = product(2000, 0)
    y = np.sin(3 * (y - X[:, 3])) + X[:, 3]  # the product alone is learned exactly
    models = [ExponentialReLURegressor(random_state=0).fit(X[:n], y[:n]) for n in (500, 2000)]
    assert models[0].n_subnetworks_ == 18
    assert models[1].n_subnetworks_ > 18
    rng = np.random.default_rng(1)
    noisy = ExponentialReLURegressor(random_state=0).fit(X, y + 0.3 * rng.normal(size=2000))
    assert noisy.n_subnetworks_ <= 18 * noisy.n_starts_ or noisy.n_levels_ == 1


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_levels": 3, "n_subnetworks": 8}, "n_subnetworks=8 is not a multiple of n_levels=3"),
        ({"n_levels": 2, "smooth": False}, "smooth=False is for n_levels=1, but n_levels=2"),
        ({"n_levels": 2, "n_subnetworks": 1000}, "take fewer sub-networks"),
    ],
)
def test_impossible_levels_are_refused(parameters, message):
    X, y = product(60, 0)
    with pytest.raises(ValueError, match=message):
        ExponentialReLURegressor(**parameters).fit(X, y)


def test_shares_go_with_the_inverse_of_errors():
    found = shares_by(torch.tensor([1.0, 2.0, 100.0], dtype=DOUBLE))
    np.testing.assert_allclose(found, [2 / 3, 1 / 3, 0])  # the last has gone wrong
    unknown = torch.full((2,), torch.inf, dtype=DOUBLE)  # no start has taken a step
    np.testing.assert_allclose(shares_by(unknown), [0.5, 0.5])


def test_noise_is_common_to_all_starts_and_does_not_count_in_shares():
    loss = torch.tensor([0.98, 1.1, 3.0], dtype=DOUBLE)
    error = torch.tensor([1.02, 1.3, 3.1], dtype=DOUBLE)
    noise = noise_of(loss, error)
    assert noise == pytest.approx(np.sqrt(0.98 * 1.02))
    beyond = error.numpy() - noise
    expected = (1 / beyond) / (1 / beyond).sum()
    np.testing.assert_allclose(shares_by(error, noise=noise), expected)
    assert expected[0] > 0.9  # and not 0.5
    unknown = torch.tensor([torch.inf, 1.0, torch.nan], dtype=DOUBLE)
    assert noise_of(torch.tensor([0.0, 0.9, 1.0], dtype=DOUBLE), unknown) == pytest.approx(0.9**0.5)


def test_a_start_that_missed_the_function_hardly_counts_beside_noise(monkeypatch):
    starts, blend = [], fitting_module.blended

    def spy(job, fitted, rows, raw):
        starts.append((fitted.pretraining.error.numpy(), fitted.shares))
        return blend(job, fitted, rows, raw)

    monkeypatch.setattr(fitting_module, "blended", spy)
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, size=(1000, 2))

    def clean(X):
        return np.linalg.norm(X, axis=1) ** 3

    y = clean(X) + 0.1 * clean(X).std() * rng.normal(size=len(X))
    ExponentialReLURegressor(n_levels=2, n_subnetworks=6, random_state=0).fit(X, y)
    ((errors, shares),) = starts
    missed = errors > 1.2 * errors.min()
    assert missed.any()
    assert shares[missed].max() < 0.3 * shares.max()


def test_noise_gets_the_smallest_network_up_to_which_errors_fall():
    rng = np.random.default_rng(0)
    X, unseen = rng.uniform(-1, 1, size=(2, 1100, 2))
    y = X[:, 0] * X[:, 1] + 0.03 * rng.normal(size=len(X))
    model = ExponentialReLURegressor(random_state=0).fit(X, y)
    assert model.n_levels_ == 2
    assert model.n_subnetworks_ <= 4 * model.n_starts_
    four = ExponentialReLURegressor(n_levels=2, n_subnetworks=8, random_state=0).fit(X, y)
    truth = unseen[:, 0] * unseen[:, 1]
    errors = [np.mean((one.predict(unseen) - truth) ** 2) for one in (model, four)]
    assert errors[0] < 0.7 * errors[1]


@pytest.mark.parametrize("n_levels", [1, 2, 3])
@pytest.mark.parametrize("depth", [1, 3])
def test_a_given_depth_is_the_number_of_layers(n_levels, depth):
    X, y = product(200, 0)
    size = {"n_levels": n_levels, "n_subnetworks": 2 * n_levels, "n_init": 1, "tol": 0.5}
    model = ExponentialReLURegressor(depth=depth, **size, refine=False, random_state=0).fit(X, y)
    assert len(model.hidden_weights_) == n_levels * depth
    # What a sub-network of the first level adds along its own direction has 2 ** depth slopes.
    direction = model.directions_[0]
    position = np.linspace(-1, 2, 4001)[:, None] - model.offsets_[0]
    points = position * direction / (direction @ direction)
    h = ((points - model.X_mean_) / model.X_scale_).T
    layers = zip(model.hidden_weights_[:depth], model.hidden_biases_[:depth], strict=True)
    for matrix, bias in layers:
        h = np.maximum(matrix[0] @ h + bias[0][:, None], 0)
    slopes = np.diff(model.output_weights_[0, :, 0] @ h)
    same = np.abs(np.diff(slopes)) <= 1e-9 * np.abs(slopes).max()
    runs = np.flatnonzero(same[1:] & ~same[:-1]).size + int(same[0])
    assert runs == 2**depth


@pytest.mark.slow
@pytest.mark.parametrize(
    ("depths", "factor"),
    [((1, 3, 5), 0.02), pytest.param((2, 4, "auto"), 1.0, marks=pytest.mark.long)],
)
@pytest.mark.long
def test_depth_counts_on_several_levels(depths, factor):
    X, y = product(500, 0)
    new, truth = product(2000, 1)
    errors = []
    for depth in depths:
        model = ExponentialReLURegressor(depth=depth, random_state=0).fit(X, y)
        errors.append(1 - model.score(new, truth))
    # A layer more finds a worse minimum now and then, two more do not.
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < factor * errors[0]


def test_a_network_of_another_size_has_no_more_than_so_many_parameters():
    network = ComposedNetwork(10, 18, 6, 1)
    other = network.resized(2, 4, network.n_parameters)
    assert (other.n_levels, other.n_subnetworks) == (2, 8)
    assert other.n_parameters < network.n_parameters
    tiny = ComposedNetwork(10, 2, 2, 1)
    assert tiny.resized(2, 4, tiny.n_parameters) == tiny
    one = ComposedNetwork(10, 1, 1, 1)
    assert one.resized(2, 4, one.n_parameters) == one
    deeper = network.resized(8, 3, 530)
    assert (deeper.n_levels, deeper.n_subnetworks) == (8, 16)


@pytest.mark.slow
@pytest.mark.long
def test_noise_gets_fewer_subnetworks_that_follow_less_of_it(monkeypatch):
    monkeypatch.setattr(tuning, "PROCESS_ROWS", (0, 0))  # nothing else learns so many rows
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, size=(400, 3))
    unseen = rng.uniform(-1, 1, size=(2000, 3))

    def clean(X):
        return np.sin(3 * X[:, 0]) * X[:, 1] + X[:, 2] ** 2

    y = clean(X) + 0.1 * clean(X).std() * rng.normal(size=len(X))
    model = ExponentialReLURegressor(random_state=0).fit(X, y)
    assert model.n_levels_ == 2
    six = ExponentialReLURegressor(n_levels=6, random_state=0).fit(X, y)
    errors = [np.mean((m.predict(unseen) - clean(unseen)) ** 2) for m in (model, six)]
    assert errors[0] < 0.8 * errors[1]


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.0, pytest.param(0.01, marks=pytest.mark.long)])
def test_a_deeper_network_is_taken_where_the_default_one_has_not_learned_all(noise, monkeypatch):
    monkeypatch.setattr(tuning, "PROCESS_ROWS", (0, 0))  # nothing else learns so many rows
    rng = np.random.default_rng(0)
    low, high = (0.1, 0.1, 0), (1, 1, 2 * np.pi)
    X = rng.uniform(low, high, size=(500, 3))
    unseen = rng.uniform(low, high, size=(2000, 3))

    def clean(X):
        a, b, c = X.T
        return a + b + 2 * np.sqrt(a * b) * np.cos(c)

    y = clean(X) + noise * clean(X).std() * rng.normal(size=len(X))
    deeper = ExponentialReLURegressor(random_state=0).fit(X, y)
    monkeypatch.setattr(tuning, "LEARNED", 1.0)  # no other size
    model = ExponentialReLURegressor(random_state=0).fit(X, y)
    errors = [np.mean((m.predict(unseen) - clean(unseen)) ** 2) for m in (deeper, model)]
    assert model.n_levels_ == 6
    if noise:
        assert deeper.n_levels_ != 8
        assert errors[0] <= errors[1]
    else:
        assert deeper.n_levels_ == 8
        assert errors[0] < 0.5 * errors[1]
