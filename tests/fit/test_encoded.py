"""Default fits of tables: networks on encoded columns, alone and beside waves on plain features."""

import numpy as np
import pytest
import torch
from sklearn.callback import ScoringMonitor
from sklearn.metrics import get_scorer

from skrelu import ExponentialReLUClassifier, ExponentialReLURegressor
from skrelu._fit import tuning
from tests import paths


def irregular(n=600, seed=0):
    """Return a table whose target depends on codes and hours as no smooth function does."""
    rng = np.random.default_rng(seed)
    hours, codes, x = rng.integers(0, 24, n), rng.integers(0, 12, n), rng.uniform(size=(n, 2))
    by_hour, by_code = np.random.default_rng(5).normal(size=(2, 24))
    y = by_hour[hours] + by_code[codes] * (x[:, 0] > 0.5) + 0.3 * rng.normal(size=n)
    return np.column_stack([hours, codes, x]), y


@pytest.fixture(scope="module")
def model():
    return ExponentialReLURegressor(random_state=0).fit(*irregular())


@pytest.fixture(scope="module")
def small():
    with paths.few_waves():
        return ExponentialReLURegressor(random_state=0).fit(*irregular(200))


def test_irregular_columns_are_followed(model):
    X, y = irregular(seed=1)
    plain = ExponentialReLURegressor(random_state=0, n_levels=1).fit(*irregular())
    assert model.score(X, y) > plain.score(X, y) + 0.1
    assert model.kinds_["encoded"] + model.kinds_["residual"] > 0.6
    assert sum(model.kinds_.values()) == pytest.approx(1)
    assert model.best_validation_score_ == pytest.approx(model.score(X, y), abs=0.07)


def test_the_average_is_one_network(small):
    X, y = irregular(200)
    predictions = small.predict(X)
    assert predictions.mean() == pytest.approx(y.mean(), abs=1e-9)
    with torch.no_grad():
        outputs = small.to_torch()(torch.tensor(X))[:, 0].numpy()
    np.testing.assert_allclose(outputs, predictions, rtol=0, atol=1e-11)
    np.testing.assert_allclose(small.predict_contributions(X).sum(1), predictions, atol=1e-11)
    assert small.n_parameters_ > small._earlier["network"]["n_subnetworks"]


def test_slopes_are_those_of_predictions(small):
    X = irregular(seed=2)[0] + np.random.default_rng(0).uniform(0.1, 0.4, size=(600, 4))
    X = np.clip(X, small.X_limits_[0] + 1e-3, small.X_limits_[1] - 1e-3)
    step = 1e-6
    for j in range(4):
        difference = (small.predict(X + step * np.eye(4)[j]) - small.predict(X)) / step
        apart = np.abs(small.predict_gradient(X)[:, j] - difference)
        assert (apart > 1e-3 * np.abs(difference).max()).mean() < 0.05  # kinks are crossed


def test_repeated_rows_are_weights_and_the_order_of_rows_does_not_matter(few_waves):
    X, y = irregular(200)
    weights = np.ones(200)
    weights[:50] = 2
    weighted = ExponentialReLURegressor(random_state=0).fit(X, y, weights).predict(X)
    order = np.random.default_rng(0).permutation(250)
    twice = np.r_[np.arange(200), np.arange(50)][order]
    repeated = ExponentialReLURegressor(random_state=0).fit(X[twice], y[twice]).predict(X)
    np.testing.assert_array_equal(weighted, repeated)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    "settings",
    [
        {"n_levels": 1},
        {"n_subnetworks": 4},
        {"n_init": 2},
        {"solver": "lm"},
        {"early_stopping": False},
        {"monotonic_cst": [0, 0, 1, 0]},
    ],
    ids=str,
)
def test_parameters_force_waves_on_plain_features(settings):
    model = ExponentialReLURegressor(random_state=0, max_iter=4, **settings)
    model.fit(*irregular(80))
    assert model.kinds_ == {}


def test_depth_is_that_of_all_waves(small, few_waves):
    assert small._encoded["sizes"]["depth"] == 1
    deep = ExponentialReLURegressor(depth=3, random_state=0).fit(*irregular(200))
    assert deep._encoded["sizes"]["depth"] == 3
    assert len(deep.hidden_weights_) % 3 == 0


@pytest.mark.slow
@pytest.mark.long
def test_smooth_targets_are_fitted_by_composed_waves_alone():
    X = np.random.default_rng(0).uniform(size=(300, 3))
    model = ExponentialReLURegressor(random_state=0).fit(X, np.sin(3 * X[:, 0]) * X[:, 1])
    assert model.kinds_ == {}
    assert model.n_levels_ == 6


@pytest.mark.parametrize("loss", ["absolute_error", "huber", "poisson", "gamma"])
def test_other_losses_are_stacked(loss):
    X, y = irregular(300)
    y = np.exp(y / 2)
    model = ExponentialReLURegressor(loss=loss, random_state=0).fit(X, y)
    assert set(model.kinds_) == {"waves", "encoded"}
    assert model.score(X, y) > 0.6
    if loss in ("poisson", "gamma"):
        assert model.predict(X).mean() == pytest.approx(y.mean(), rel=1e-6)


def test_quantiles_are_calibrated_on_rows_that_were_left_out():
    X, y = irregular(800)
    model = ExponentialReLURegressor(loss="quantile", quantile=[0.1, 0.9], random_state=0)
    lower, upper = model.fit(X, y).predict(irregular(2000, seed=3)[0]).T
    y = irregular(2000, seed=3)[1]
    assert (y < lower).mean() == pytest.approx(0.1, abs=0.04)
    assert (y < upper).mean() == pytest.approx(0.9, abs=0.04)


def test_several_outputs_share_the_rows():
    X, y = irregular(300)
    Y = np.column_stack([y, -2 * y + X[:, 2]])
    model = ExponentialReLURegressor(random_state=0).fit(X, Y)
    assert model.predict(X).shape == (300, 2)
    np.testing.assert_allclose(model.predict(X).mean(0), Y.mean(0), atol=1e-9)
    assert model.predict_gradient(X).shape == (300, 2, 4)
    assert model.score(X, Y) > 0.7


@pytest.mark.slow
@pytest.mark.long
def test_many_outputs_of_many_features_have_no_curves(few_waves, monkeypatch):
    monkeypatch.setattr(tuning, "MOST_CURVES", 20)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 7))
    Y = np.abs(X[:, :3]) + 0.3 * rng.normal(size=(80, 3))
    model = ExponentialReLURegressor(random_state=0).fit(X, Y)
    assert "residual" not in model.kinds_
    assert model.predict_gradient(X[:5]).shape == (5, 3, 7)
    with torch.no_grad():
        outputs = model.to_torch()(torch.tensor(X)).numpy()
    np.testing.assert_allclose(outputs, model.predict(X), rtol=0, atol=1e-11)


@pytest.mark.parametrize("n_constant", [0, 2])
def test_features_of_two_values_have_no_ramps(n_constant, few_waves):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 2, size=(200, 5)) * [1, 1, 1, 5, 1e-3]
    y = X[:, 0] + 2.0 * (X[:, 1] == X[:, 2]) + 0.3 * rng.normal(size=200)
    X = np.column_stack([X, np.ones((200, n_constant))])
    model = ExponentialReLURegressor(random_state=0).fit(X, y)
    assert set(model.kinds_) == {"waves", "encoded", "residual"}
    assert model.score(X, y) > 0.85
    with torch.no_grad():
        outputs = model.to_torch()(torch.tensor(X))[:, 0].numpy()
    np.testing.assert_allclose(outputs, model.predict(X), rtol=0, atol=1e-10)
    assert model.predict_gradient(X).shape == X.shape


def test_classes_are_stacked_and_their_mean_probabilities_are_the_frequencies():
    X, y = irregular(400)
    for labels in (y > 0, np.digitize(y, [-1, 1])):
        model = ExponentialReLUClassifier(random_state=0).fit(X, labels)
        assert set(model.kinds_) == {"waves", "encoded"}
        frequencies = np.bincount(labels.astype(int)) / len(y)
        np.testing.assert_allclose(model.predict_proba(X).mean(0), frequencies, atol=1e-4)
        assert model.score(X, labels) > 0.8


@pytest.mark.parametrize("classes", [2, *(pytest.param(n, marks=pytest.mark.slow) for n in (0, 3))])
def test_callbacks_see_the_average_so_far(classes, monkeypatch):
    """The last model that they see of encoded networks alone is that of the fit."""
    monkeypatch.setattr(tuning, "PLAIN_ROWS", 0)
    X, y = irregular(500)
    y = np.digitize(y, [-1, 1]) if classes == 3 else y > 0 if classes else y
    model = (ExponentialReLUClassifier if classes else ExponentialReLURegressor)(random_state=0)
    unseen = model.fit(X, y).predict(X)
    scoring = "neg_log_loss" if classes else "r2"
    monitor = ScoringMonitor(scoring=scoring)
    model.set_callbacks(monitor).fit(X, y)
    np.testing.assert_array_equal(model.predict(X), unseen)  # watching changes nothing
    assert "waves" not in model.kinds_
    assert model.stages_[-1]["name"] == "encoded columns"
    number, n = len(model.stages_) - 1, model.n_iter_
    rows = monitor.get_logs().data
    scores = [row[scoring] for row in rows if row["parent_task_id_path"] == (0, number)]
    assert len(scores) == n == len(model.stages_[-1]["loss"]) - 1
    assert scores[-1] == get_scorer(scoring)(model, X, y) > scores[0]


def test_validation_rows_choose_the_weights():
    X, y = irregular(300)
    model = ExponentialReLURegressor(random_state=0)
    model.fit(X[:200], y[:200], X_val=X[200:], y_val=y[200:])
    assert set(model.kinds_) == {"waves", "encoded", "residual"}
    error = np.square(model.predict(X[200:]) - y[200:]).mean() / y[:200].var()
    assert model.best_validation_score_ == pytest.approx(1 - error, abs=0.01)


def test_few_held_out_rows_leave_the_weights_at_the_prior():
    X, y = irregular(120)
    model = ExponentialReLURegressor(validation_fraction=0.01, random_state=0).fit(X, y)
    assert model.kinds_["waves"] == pytest.approx(0.5, abs=0.1)
    assert np.isfinite(model.predict(X)).all()


def test_warm_starts_stack_again(few_waves):
    X, y = irregular(120)
    model = ExponentialReLURegressor(warm_start=True, random_state=0).fit(X, y)
    first, kinds = model.score(X, y), set(model.kinds_)
    assert model.fit(X, y).score(X, y) > first - 0.05
    assert set(model.kinds_) == kinds
    assert model.fit(10 * X + 3, 5 * y - 2).score(10 * X + 3, 5 * y - 2) > first - 0.1


def test_many_rows_learn_what_an_additive_model_leaves(monkeypatch):
    size = tuning.encoded_size(200_000)
    assert size.kinds == ("residual",)
    monkeypatch.setattr(tuning, "encoded_size", lambda n: size._replace(n_steps=60, batch=128))
    monkeypatch.setattr(tuning, "PLAIN_ROWS", 0)
    X, y = irregular(1000)
    model = ExponentialReLURegressor(random_state=0).fit(X, y)
    assert model.kinds_ == {"residual": 1.0}
    assert model.solver_ == "adam"
    assert model.score(X, y) > 0.4


def test_users_end_a_fit_and_keep_the_best(monkeypatch):
    import skrelu._solvers.adamw as module

    def interrupted(data, *arguments, drawn=module._drawn):
        for step, batch in enumerate(drawn(data, *arguments)):
            if step == 100:
                raise KeyboardInterrupt
            yield batch

    monkeypatch.setattr(module, "_drawn", interrupted)
    X, y = irregular(300)
    with pytest.warns(UserWarning, match="interrupted by user"):
        model = ExponentialReLURegressor(random_state=0).fit(X, y)
    assert model.score(X, y) > 0.2
