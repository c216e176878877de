"""Standard deviations, covariances, draws, intervals and sets of classes."""

import pickle
from functools import cache

import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skrelu import ExponentialReLUClassifier, ExponentialReLURegressor, compress
from skrelu._fit import tuning
from skrelu._fit.conformal import score_limits, scores_of
from skrelu._solvers.losses import Gamma, Huber, Pinball, Poisson, SquaredError

Z = np.sqrt(2) * 1.1630871536766743  # half of a gaussian's 90 % interval, in standard deviations


def inputs(n, seed):
    return np.random.default_rng(seed).uniform(-1, 1, size=(n, 3))


def smooth(X):
    return np.sin(2 * X[:, 0] + X[:, 1]) * X[:, 2]


def with_noise(X, seed, size=0.2):
    return smooth(X) + size * np.random.default_rng(seed + 1).normal(size=len(X))


X, TEST = inputs(300, 0), inputs(2000, 1)
Y, Y_TEST = with_noise(X, 0), with_noise(TEST, 1)

MODELS = {
    "without noise": (smooth, {}),
    "with noise": (lambda X: with_noise(X, 0), {}),
    "composed": (lambda X: with_noise(X, 0), {"n_levels": 2, "n_subnetworks": 6, "n_init": 2}),
    "depth": (lambda X: with_noise(X, 0), {"n_levels": 2, "n_subnetworks": 6, "depth": 3}),
    "one level": (lambda X: with_noise(X, 0), {"n_levels": 1, "n_init": 4}),
    "one input": (lambda X: with_noise(X, 0, 0.1), {}),
    "two outputs": (lambda X: np.c_[with_noise(X, 0), 5 * smooth(X[:, ::-1])], {}),
}


@cache
def fitted(name):
    targets, parameters = MODELS[name]
    rows = X[:, :1] if name == "one input" else X
    y = targets(X)
    if name == "one input":
        y = np.sin(3 * rows[:, 0]) + 0.1 * np.random.default_rng(5).normal(size=len(rows))
    model = ExponentialReLURegressor(random_state=0, **parameters).fit(rows, y)
    return model, TEST[:, : rows.shape[1]]


def of_model(model, rows):
    """Standard deviations of the model alone, without noise."""
    _, deviations = model.predict(rows, return_std=True)
    return np.sqrt(np.clip(deviations**2 - model.noise_**2, 0, None))


@pytest.mark.parametrize("name", MODELS)
def test_predictions_are_the_same_with_deviations_and_covariances(name):
    model, rows = fitted(name)
    rows = rows[:30]
    mean, deviations = model.predict(rows, return_std=True)
    again, covariances = model.predict(rows, return_cov=True)
    np.testing.assert_array_equal(mean, model.predict(rows))
    np.testing.assert_array_equal(again, mean)
    assert deviations.shape == mean.shape
    assert covariances.shape == (30, 30, *mean.shape[1:])
    diagonal = np.diagonal(covariances).T if mean.ndim > 1 else np.diagonal(covariances)
    np.testing.assert_allclose(diagonal, deviations**2, rtol=1e-6)
    np.testing.assert_allclose(covariances, np.swapaxes(covariances, 0, 1), rtol=1e-9)


QUICK = ["composed", "one input"]
LONG = [
    pytest.param(name, marks=[pytest.mark.slow, pytest.mark.long])
    for name in ("without noise", "two outputs")
]
SLOW = [
    pytest.param(name, marks=pytest.mark.slow)
    for name in MODELS
    if name not in (*QUICK, "without noise", "two outputs")
]


@pytest.mark.parametrize("name", [*QUICK, *SLOW, *LONG])
def test_draws_have_the_mean_and_the_covariance_of_the_model(name):
    model, rows = fitted(name)
    rows = rows[:40]
    draws = model.sample_y(rows, 100, random_state=0)
    assert draws.shape == (*model.predict(rows).shape, 100)
    sizes = of_model(model, rows)
    apart = (draws.mean(-1) - model.predict(rows)) / sizes
    # 100 draws: 0.1. A draw may have more layers, and leave out the errors of lowering.
    assert np.sqrt(np.mean(apart**2)) < 0.35
    np.testing.assert_allclose(np.mean(draws.std(-1) / sizes), 1, atol=0.15)
    if draws.ndim == 2:
        _, covariance = model.predict(rows, return_cov=True)
        np.fill_diagonal(covariance, sizes**2)
        expected = covariance / np.outer(sizes, sizes)
        found = np.cov((draws - draws.mean(-1, keepdims=True)) / sizes[:, None])
        assert np.sqrt(np.mean((found - expected) ** 2)) < 0.3


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [*LONG[:1], "with noise", pytest.param("one input", marks=pytest.mark.long)]
)
def test_a_draw_is_a_network_like_any_other(name):
    model, rows = fitted(name)
    draw = model.sample_network(random_state=3)
    np.testing.assert_array_equal(draw.predict(rows), model.sample_y(rows, 1, random_state=3)[:, 0])
    assert not np.array_equal(draw.predict(rows), model.predict(rows))
    rows = rows[:20].astype(float)
    size = np.abs(draw.predict(rows)).max()
    torch_network = draw.to_torch()
    values = torch_network(torch.tensor(rows)).detach().numpy()[:, 0]
    np.testing.assert_allclose(values, draw.predict(rows), atol=1e-7 * size)
    parts = draw.predict_contributions(rows)
    np.testing.assert_allclose(parts.sum(1), draw.predict(rows), atol=1e-7 * size)
    assert len(draw.directions_) == draw.n_subnetworks_
    with pytest.raises(ValueError, match="it is a draw"):
        draw.predict(rows, return_std=True)


@pytest.mark.parametrize("name", ["without noise", "with noise", "composed", "one input"])
def test_deviations_grow_outside_of_the_data(name):
    model, rows = fitted(name)
    _, inside = model.predict(0.9 * rows, return_std=True)
    _, outside = model.predict(3 * np.sign(rows), return_std=True)
    _, far = model.predict(30 * np.sign(rows), return_std=True)
    assert np.median(inside) < np.median(outside) < np.median(far)


@pytest.mark.parametrize("name", ["with noise", "composed", "depth", "one level"])
def test_deviations_have_the_size_of_errors(name):
    model, rows = fitted(name)
    mean, deviations = model.predict(rows, return_std=True)
    held = np.mean(np.abs(Y_TEST - mean) < Z * deviations)
    assert abs(held - 0.9) < 0.06  # twice the standard error of noise estimated from 120 rows


def test_the_noise_is_what_targets_at_a_point_do_not_share():
    model, rows = fitted("with noise")
    _, covariance = model.predict(rows[[0, 0]], return_cov=True)
    np.testing.assert_allclose(covariance[0, 0] - covariance[0, 1], model.noise_**2, rtol=1e-6)
    assert 0.15 < model.noise_[0] < 0.25  # 0.2 was added
    assert interval_model("gamma").noise_ is None


def test_deviations_without_noise_have_the_size_of_errors():
    model, rows = fitted("without noise")
    mean, deviations = model.predict(rows, return_std=True)
    assert deviations.mean() < 0.01
    assert np.mean(np.abs(smooth(rows) - mean) < Z * deviations) > 0.85
    assert deviations.mean() < 3 * np.sqrt(np.mean((smooth(rows) - mean) ** 2))


def losses():
    means = np.exp(smooth(X)), np.exp(smooth(TEST))
    counts = [np.random.default_rng(7).poisson(5 * mean).astype(float) for mean in means]
    sizes = [np.random.default_rng(8).gamma(4, mean / 4) for mean in means]
    return {
        "squared_error": (Y, Y_TEST),
        "absolute_error": (Y, Y_TEST),
        "huber": (Y, Y_TEST),
        "poisson": counts,
        "gamma": sizes,
    }


@pytest.mark.parametrize("loss", losses())
@pytest.mark.parametrize("coverage", [0.5, 0.9])
def test_intervals_hold_what_they_say(loss, coverage):
    _, y_test = losses()[loss]
    low, high = interval_model(loss).predict_interval(TEST, coverage).T
    assert (low < high).all()
    # 1.6 standard errors of as many left-out rows, and the dependence of these on the fit.
    assert abs(np.mean((low <= y_test) & (y_test <= high)) - coverage) < 0.08
    if loss in ("poisson", "gamma"):
        assert low.min() >= 0


@cache
def interval_model(loss):
    return ExponentialReLURegressor(loss=loss, n_init=4, random_state=0).fit(X, losses()[loss][0])


def test_intervals_of_several_quantiles_are_calibrated():
    model = ExponentialReLURegressor(
        loss="quantile", quantile=[0.2, 0.5, 0.8], n_init=4, random_state=0
    ).fit(X, Y)
    low, high = model.predict_interval(TEST).T
    quantiles = model.predict(TEST)
    assert abs(np.mean((low <= Y_TEST) & (high >= Y_TEST)) - 0.9) < 0.08
    # They widen the quantiles by one number.
    np.testing.assert_allclose(quantiles[:, 0] - low, (quantiles[:, 0] - low)[0], rtol=1e-5)
    np.testing.assert_allclose(high - quantiles[:, 2], (quantiles[:, 0] - low)[0], rtol=1e-5)


def test_intervals_follow_skewed_noise():
    y = smooth(X) + np.random.default_rng(0).exponential(0.3, size=len(X))
    model = ExponentialReLURegressor(n_init=4, random_state=0).fit(X, y)
    low, high = model.predict_interval(TEST).T
    mean = model.predict(TEST)
    assert np.mean(high - mean) > 1.25 * np.mean(mean - low)  # of the noise alone: 2.1


def rough(X, seed):
    noise = 0.5 * np.random.default_rng(seed).normal(size=len(X))
    return np.sign(X[:, 0]) + np.round(2 * X[:, 1]) * (X[:, 2] > 0) + noise


@pytest.mark.long
@pytest.mark.slow
def test_left_out_rows_that_have_chosen_weights_are_too_sure():
    held, inside = [], []
    for seed in range(5):
        rows, y = inputs(60, seed), rough(TEST, 100 + seed)
        model = ExponentialReLURegressor(random_state=seed).fit(rows, rough(rows, seed))
        mean, deviations = model.predict(TEST, return_std=True)
        held.append(np.mean(np.abs(y - mean) <= Z * deviations))
        low, high = model.predict_interval(TEST).T
        inside.append(np.mean((low <= y) & (y <= high)))
    # Without the factor both would be 0.82. The standard error of as many rows is 0.017.
    assert 0.86 < np.mean(held) < 0.94
    assert 0.86 < np.mean(inside) < 0.94


def test_optimism_is_a_factor_on_errors():
    y = torch.linspace(0.5, 3, 50).double()[None]
    raw, deviation = torch.full_like(y, 0.4), 0.5

    def scores(loss, factor, values=raw):
        targets = y.expand_as(values)
        variance = torch.full_like(targets, deviation**2)
        return scores_of(loss, values, targets, variance, factor)

    for loss in (SquaredError(), Huber(), Pinball()):
        torch.testing.assert_close(scores(loss, 1.5), 1.5 * (y - raw) / deviation)
    torch.testing.assert_close(scores(Poisson(), 1.5), 1.5 * scores(Poisson(), 1.0))
    torch.testing.assert_close(scores(Gamma(), 1.5).log(), 1.5 * (y.log() - raw))
    # The interval between quantiles becomes 1.5 times as wide.
    quantiles, levels = torch.cat([raw - 0.2, raw, raw + 0.6]), Pinball(quantiles=(0.1, 0.5, 0.9))
    wider = scores(levels, 1.5, quantiles) - scores(levels, 1.0, quantiles)
    torch.testing.assert_close(wider, torch.full_like(y, 0.5 * 0.8 / 2))


def test_limits_of_scores_leave_a_new_row_its_place():
    scores, ones = np.arange(19.0)[None], np.ones(19)
    assert [limit[0] for limit in score_limits(scores, ones, 0.9, two_sided=True)] == [0, 18]
    assert score_limits(scores, ones, 0.9, two_sided=False)[1][0] == 17
    # A weight of 2 is a row twice.
    one = score_limits(scores, np.arange(19) % 3 + 1.0, 0.8, two_sided=True)
    other = score_limits(np.repeat(scores, np.arange(19) % 3 + 1, 1), np.ones(37), 0.8, True)
    assert one == other
    with pytest.raises(ValueError, match="needs at least 39 rows"):
        score_limits(scores, ones, 0.95, two_sided=True)


@pytest.mark.slow
def test_sample_weights_are_rows_given_several_times():
    weights = np.random.default_rng(1).integers(0, 3, len(X))
    parameters = {"n_init": 2, "random_state": 0}
    one = ExponentialReLURegressor(**parameters).fit(X, Y, sample_weight=weights)
    other = ExponentialReLURegressor(**parameters).fit(
        np.repeat(X, weights, 0), np.repeat(Y, weights)
    )
    for ask in ({"return_std": True}, {"return_cov": True}):
        np.testing.assert_array_equal(
            one.predict(TEST[:50], **ask)[1], other.predict(TEST[:50], **ask)[1]
        )
    np.testing.assert_array_equal(one.predict_interval(TEST), other.predict_interval(TEST))


@pytest.mark.slow
def test_units_do_not_matter():
    model = ExponentialReLURegressor(n_init=2, random_state=0)
    _, one = model.fit(X, Y).predict(TEST, return_std=True)
    interval = model.predict_interval(TEST)
    _, other = model.fit(1024 * X, 4096 * Y).predict(1024 * TEST, return_std=True)
    np.testing.assert_allclose(other / 4096, one, rtol=1e-3)
    np.testing.assert_allclose(
        model.predict_interval(1024 * TEST) / 4096, interval, atol=1e-4 * np.ptp(Y)
    )


@pytest.mark.slow
def test_encoded_columns_have_error_bars():
    table = np.c_[X, np.random.default_rng(3).integers(0, 4, len(X))]
    y = Y + 0.5 * table[:, 3]
    table[::17, 0] = np.nan
    model = ExponentialReLURegressor(categorical_features=[3], random_state=0).fit(table, y)
    assert {"encoded", "residual"} & set(model.kinds_)
    rows = table[:40]
    mean, deviations = model.predict(rows, return_std=True)
    assert 0.8 < np.mean(np.abs(y[:40] - mean) < Z * deviations) <= 1
    low, high = model.predict_interval(rows).T
    assert ((low < mean) & (mean < high)).all()
    draws = model.sample_y(rows, 100, random_state=0)
    np.testing.assert_allclose(np.mean(draws.std(-1) / of_model(model, rows)), 1, atol=0.25)


def test_exact_and_constant_targets_have_no_width():
    for y in (np.ones(len(X)), 3 * X[:, 0] - X[:, 1]):
        model = ExponentialReLURegressor(random_state=0).fit(X, y)
        _, deviations = model.predict(X, return_std=True)
        assert deviations.max() < 1e-12
        low, high = model.predict_interval(X).T
        assert (high - low).max() < 1e-12


def test_error_bars_outlive_a_pickle_and_work_in_pipelines():
    model, rows = fitted("with noise")
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(
        again.predict(rows, return_std=True)[1], model.predict(rows, return_std=True)[1]
    )
    pipeline = make_pipeline(StandardScaler(), ExponentialReLURegressor(n_init=2, random_state=0))
    mean, deviations = pipeline.fit(X, Y).predict(TEST, return_std=True)
    assert mean.shape == deviations.shape == (len(TEST),)


def test_stored_error_bars_are_small():
    model, _ = fitted("with noise")
    numbers = [np.size(part) for part in model._error_bars["roots"]]
    numbers += [np.size(model._error_bars[name]) for name in ("scores", "weights")]
    n = model.n_parameters_pretrain_ / model.n_starts_
    assert sum(numbers) < model.n_starts_ * (n + 1) * (n / 2 + 1) + 2 * len(X)


def test_asking_for_what_is_not_there_says_why():
    model, rows = fitted("with noise")
    with pytest.raises(NotFittedError):
        ExponentialReLURegressor().predict_interval(rows)
    with pytest.raises(ValueError, match="not both"):
        model.predict(rows, return_std=True, return_cov=True)
    with pytest.raises(ValueError, match="probability: pass a number between 0 and 1"):
        model.predict_interval(rows, coverage=90)
    with pytest.raises(ValueError, match=r"coverage='0\.9' is a probability"):
        model.predict_interval(rows, coverage="0.9")
    for n_samples in (0, 2.5, None):
        with pytest.raises(ValueError, match="must be an integer of at least 1"):
            model.sample_y(rows, n_samples)
    with pytest.raises(ValueError, match="loss='poisson': use predict_interval"):
        interval_model("poisson").predict(rows, return_std=True)
    few = ExponentialReLURegressor(random_state=0).fit(X[:12], Y[:12])
    with pytest.raises(ValueError, match="but there are 12: lower coverage, or fit more rows"):
        few.predict_interval(rows)
    none = ExponentialReLURegressor(n_levels=1, n_init=1, early_stopping=False, tol=0.9)
    with pytest.raises(ValueError, match="early_stopping='auto' or True"):
        none.set_params(random_state=0).fit(X, Y).predict(rows, return_std=True)
    rising = ExponentialReLURegressor(monotonic_cst=[1, 0, 0], n_init=2, random_state=0)
    rising.fit(X, Y + 3 * X[:, 0])
    assert rising.predict(rows, return_std=True)[1].min() > 0.1
    with pytest.raises(ValueError, match="would not keep the shape"):
        rising.sample_y(rows)


@pytest.mark.slow
def test_compressed_models_say_that_they_have_none(monkeypatch):
    for name in ("START_ITER", "RELEASE_ITER", "PRUNED_ITER", "LAST_ITER"):
        monkeypatch.setattr(tuning, f"COMPRESSION_{name}", 4)
    model, rows = fitted("composed")
    with pytest.raises(ValueError, match="ask the model that was compressed"):
        compress(model, X, n_parameters=60).predict(rows, return_std=True)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_sets_hold_the_class_as_often_as_they_say(n_classes):
    rng = np.random.default_rng(0)

    def classes(rows):
        logits = np.c_[2 * smooth(rows), rows[:, 0], 0 * rows[:, 0]][:, :n_classes]
        return (logits + rng.gumbel(size=logits.shape)).argmax(1)

    rows, test = inputs(500, 2), inputs(3000, 3)
    model = ExponentialReLUClassifier(n_init=3, random_state=0).fit(rows, classes(rows))
    y = classes(test)
    for coverage in (0.6, 0.9):
        sets = model.predict_set(test, coverage)
        assert sets.shape == (3000, n_classes)
        assert sets[np.arange(3000), model.predict(test)].all()
        assert sets[np.arange(3000), y].mean() > coverage - 0.05
    assert (model.predict_set(test, 0.9) >= model.predict_set(test, 0.6)).all()
    # The sets are not the trivial ones.
    assert sets.mean() < 0.97
