"""The simplest model that fits wins, structure is followed, and the mean is right."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeCV
from sklearn.metrics import log_loss

from skrelu import ExponentialReLUClassifier, ExponentialReLURegressor
from skrelu._data.neighbours import noise_by_neighbours
from skrelu._fit.folds import folds_of
from skrelu._networks.windows import windows_side_by_side


@pytest.mark.slow
@pytest.mark.parametrize("p", [1, 2, 5])
@pytest.mark.parametrize("n", [8, 40, 300])
def test_a_line_is_a_line_everywhere(n, p):
    rng = np.random.default_rng(0)
    X = rng.uniform(10, 20, size=(n, p))
    slopes = rng.normal(size=(p, 2))
    model = ExponentialReLURegressor(random_state=0).fit(X, X @ slopes + 7)
    far = 15 + 10 * (X - 15)
    expected = far @ slopes + 7
    assert np.abs(model.predict(far) - expected).max() < 1e-9 * np.abs(expected).max()


@pytest.mark.slow
@pytest.mark.parametrize(
    "shape", [(60, 62), (40, 39), pytest.param((200, 60), marks=pytest.mark.long), (30, 3)]
)
def test_predictions_are_not_worse_than_those_of_a_ridge(shape):
    n, p = shape
    errors = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        X, others = rng.normal(size=(n, p)), rng.normal(size=(1000, p))
        slopes = rng.normal(size=p)
        y = X @ slopes + 0.5 * rng.normal(size=n) * np.linalg.norm(slopes)
        truth = others @ slopes
        models = ExponentialReLURegressor(random_state=0), RidgeCV(np.logspace(-3, 5, 30))
        predictions = [model.fit(X, y).predict(others) for model in models]
        errors.append([np.mean((p - truth) ** 2) / truth.var() for p in predictions])
    ours, theirs = np.mean(errors, axis=0)
    assert ours < 1.25 * theirs + 0.03


@pytest.mark.slow
@pytest.mark.parametrize(
    ("function", "noise", "least"),
    [
        (lambda x: np.sin(100 * np.pi * x), 0.0, 0.99),
        pytest.param(lambda x: np.sign(np.sin(20 * np.pi * x)), 0.0, 0.9, marks=pytest.mark.long),
        (lambda x: np.sin(20 * np.pi * x), 0.5, 0.63),
    ],
)
def test_many_periods_are_followed(function, noise, least):
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(5000, 1))
    y = function(x[:, 0]) + noise * rng.normal(size=5000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = ExponentialReLURegressor(random_state=0).fit(x[:1000], y[:1000])
    assert model.score(x[1000:], y[1000:]) > least
    assert model.solver_ == "ridge"
    with torch.no_grad():
        network = model.to_torch()(torch.tensor(x[:50])).numpy()[:, 0]
    np.testing.assert_allclose(network, model.predict(x[:50]), atol=1e-8)


@pytest.mark.slow
def test_waves_of_two_features_are_followed_too():
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(4500, 2))
    y = np.sin(20 * X[:, 0]) * np.sin(20 * X[:, 1])
    model = ExponentialReLURegressor(random_state=0).fit(X[:1500], y[:1500])
    assert model.score(X[1500:], y[1500:]) > 0.98


@pytest.mark.long
@pytest.mark.slow
def test_labels_of_many_intervals_are_told_apart():
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(3000, 1))
    labels = np.sin(40 * np.pi * x[:, 0]) > 0
    model = ExponentialReLUClassifier(random_state=0).fit(x[:1000], labels[:1000])
    assert model.score(x[1000:], labels[1000:]) > 0.93


@pytest.mark.slow
def test_smooth_functions_keep_to_few_subnetworks():
    x = np.linspace(-1, 1, 300)[:, None]
    model = ExponentialReLURegressor(random_state=0).fit(x, x[:, 0] ** 3)
    assert model.solver_ == "lm"
    assert model.n_subnetworks_ <= 200
    assert 1 - model.score(x, x[:, 0] ** 3) < 1e-8


@pytest.mark.slow
def test_what_is_left_unexplained_is_said():
    x = np.random.default_rng(0).uniform(size=(500, 1))
    y = np.sin(60 * x[:, 0])
    few = {"n_subnetworks": 2, "n_init": 2, "random_state": 0}
    for model, targets in (
        (ExponentialReLURegressor(**few), y),
        (ExponentialReLUClassifier(**few), y > 0),
    ):
        with pytest.warns(ConvergenceWarning, match=r"leaves .*% .*noise.*Raise n_subnetworks=2"):
            model.fit(x, targets)


def test_neighbours_tell_noise_from_structure():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(2000, 1))
    for p in (1, 2):
        X = rng.uniform(-1, 1, size=(2000, p))
        smooth = np.sin(5 * X.sum(1, keepdims=True))
        assert noise_by_neighbours(X, smooth) < 0.01
        y = smooth + 0.5 * noise
        share = 0.25 * noise.var() / y.var()
        assert noise_by_neighbours(X, y) == pytest.approx(share, rel=0.15)
    assert noise_by_neighbours(rng.normal(size=(99, 3)), noise[:99]) is None
    assert noise_by_neighbours(X[:9], noise[:9]) is None


def test_windows_lie_side_by_side():
    x = torch.rand(1, 500, dtype=torch.float64) * 7 - 3
    directions, offsets, widths = windows_side_by_side(x, 1, 32)
    begins, ends = -offsets / directions[:, 0], (1 - offsets) / directions[:, 0]
    torch.testing.assert_close(begins[1:], ends[:-1])
    torch.testing.assert_close(torch.stack([begins[0], ends[-1]]), torch.stack([x.min(), x.max()]))
    assert float(widths.sum()) == pytest.approx(1)
    assert 16 <= len(widths) <= 32


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_rare_class_has_its_share(seed):
    rng = np.random.default_rng(seed)
    y = np.arange(2000) < 10
    X = rng.normal(size=(2000, 4)) + 1.5 * y[:, None]
    model = ExponentialReLUClassifier(random_state=0).fit(X, y)
    p = model.predict_proba(X)
    assert p[:, 1].mean() == pytest.approx(0.005, rel=1e-3)
    assert log_loss(y, p) < log_loss(y, np.full((2000, 2), [0.995, 0.005]))
    fresh = np.arange(20000) < 100
    others = rng.normal(size=(20000, 4)) + 1.5 * fresh[:, None]
    linear = LogisticRegression().fit(X, y).predict_proba(others)
    assert log_loss(fresh, model.predict_proba(others)) < 1.35 * log_loss(fresh, linear)


@pytest.mark.slow
@pytest.mark.parametrize("n_classes", [3, 6])
def test_every_class_has_its_share(n_classes):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 3))
    y = np.minimum(rng.geometric(0.5, size=400), n_classes) + (X[:, 0] > 1)
    model = ExponentialReLUClassifier(random_state=0).fit(X, y)
    shares = [np.mean(y == label) for label in model.classes_]
    np.testing.assert_allclose(model.predict_proba(X).mean(0), shares, rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["poisson", "gamma"])
def test_totals_of_the_training_rows_are_right(loss):
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 2, size=(2000, 3))
    y = rng.poisson(0.005 * x[:, 0]).astype(float)
    y = y if loss == "poisson" else rng.gamma(0.5, np.exp(x[:, 0] * x[:, 1])) + 1e-9
    model = ExponentialReLURegressor(loss=loss, random_state=0).fit(x, y)
    assert model.predict(x).sum() == pytest.approx(y.sum(), rel=0.02)


def test_rows_held_out_have_the_targets_of_all():
    generator = torch.Generator().manual_seed(0)
    y = (np.arange(200) < 10).astype(float)[:, None]
    folds = folds_of(y, 10, 0.1, generator)
    assert (folds.sum(0) == 1).all()  # disjoint
    assert (folds @ y == 1).all()  # each holds out one of the ten
    y = np.random.default_rng(0).lognormal(size=(500, 1))
    means = np.array([np.log(y[fold]).mean() for fold in folds_of(y, 12, 0.1, generator)])
    assert means.std() < 0.04  # 0.14 at random


@pytest.mark.slow
def test_a_warm_start_survives_a_change_of_units():
    rng = np.random.default_rng(0)
    X = rng.uniform(size=(200, 3))
    y = np.sin(4 * X[:, 0]) + X[:, 1] * X[:, 2]
    for scale, size in ((1e6, 1.0), (1e300, 1.0), (1.0, 1e-300), (1e-5, 1e9)):
        model = ExponentialReLURegressor(
            n_levels=1, n_init=2, refine=False, warm_start=True, random_state=0
        )
        before = 1 - model.fit(X, y).score(X, y)
        model.fit(X * scale, y * size)
        error = np.mean((model.predict(X * scale) / size - y) ** 2) / y.var()
        assert error < 1.1 * before + 1e-12


def test_fits_are_linear_where_there_are_no_fewer_features_than_rows():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, 30))
    model = ExponentialReLURegressor(random_state=0).fit(X, X[:, 0])
    slopes = model.predict_gradient(X)
    np.testing.assert_allclose(slopes, np.broadcast_to(slopes[0], slopes.shape), atol=1e-12)
    assert model.solver_ == "ridge"
    assert np.isfinite(model.best_validation_score_)
    assert model.score(X, X[:, 0]) >= LinearRegression().fit(X, X[:, 0]).score(X, X[:, 0]) - 1


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("seed", range(6))
def test_networks_that_diverged_are_not_kept(seed):
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(36, 1)), rng.integers(0, 3, 36)
    model = ExponentialReLUClassifier(
        depth=3, n_subnetworks=3, n_init=2, max_iter=5, solver="adam", learning_rate=10,
        validation_fraction=0.01, random_state=0,
    ).fit(X, y)  # fmt: skip
    shares = np.bincount(y) / len(y)
    assert log_loss(y, model.predict_proba(X)) <= log_loss(y, np.tile(shares, (36, 1))) + 1e-9


def test_columns_that_add_up_need_no_more_digits_than_single_precision_has():
    rng = np.random.default_rng(1)
    codes = rng.integers(0, 30, 200)
    one_hot = np.eye(30)[codes]
    X = np.c_[one_hot, one_hot[:, :2].sum(1), rng.normal(size=(200, 45))]
    model = ExponentialReLURegressor(random_state=0, max_iter=20).fit(X, codes + X[:, -1])
    assert np.isfinite(model.loss_curve_).all()
