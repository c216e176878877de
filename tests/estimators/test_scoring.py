"""A scorer of scikit-learn in place of the loss chooses the best iteration."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.metrics import get_scorer, mean_pinball_loss

from skrelu import ExponentialReLUClassifier, ExponentialReLURegressor
from tests.estimators.test_callbacks import Recorder

rng = np.random.default_rng(0)
X = rng.uniform(size=(160, 3))
y = np.sin(4 * X[:, 0]) * X[:, 1] + 0.2 * rng.normal(size=160)
LABELS = np.array(["a", "b", "c"])[np.digitize(y, [0.0, 0.4])]
ADAM = {"solver": "adam", "n_subnetworks": 3, "n_init": 1, "learning_rate": 0.05, "random_state": 0}
FEW = {**ADAM, "max_iter": 12, "refine": False}
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
HELD = {"X_val": X[100:], "y_val": y[100:]}


class Scores(Recorder):
    """Scores of validation rows by the model as it is after each iteration."""

    def __init__(self, name, y):
        super().__init__()
        self.scorer, self.y, self.seen = get_scorer(name), y, []

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context, *, fitted_estimator):
        if context.task_name == "iteration":
            self.seen.append(self.scorer(fitted_estimator, X[100:], self.y[100:]))


@pytest.mark.parametrize("levels", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("estimator", "name", "y"),
    [
        (ExponentialReLURegressor(**FEW), "neg_mean_absolute_error", y),
        (ExponentialReLURegressor(**FEW), None, np.column_stack([y, X[:, 2]])),
        (ExponentialReLURegressor(**FEW, loss="poisson"), "r2", y - y.min()),
        (ExponentialReLUClassifier(**FEW), "roc_auc", LABELS == "b"),
        (ExponentialReLUClassifier(**FEW), None, LABELS),
        (ExponentialReLUClassifier(**FEW), "neg_log_loss", LABELS),
    ],
)
def test_scores_are_those_of_the_scorer_and_the_best_iteration_is_kept(estimator, name, y, levels):
    n_subnetworks = 4 if levels == 2 else 3
    model = clone(estimator).set_params(
        scoring=name, n_levels=levels, n_subnetworks=n_subnetworks, extrapolation="linear"
    )
    monitor = Scores(name or ("r2" if "Reg" in str(estimator) else "accuracy"), y)
    model.set_callbacks(monitor).fit(X[:100], y[:100], X_val=X[100:], y_val=y[100:])
    assert len(model.validation_score_) == model.n_iter_ + 1
    # Callbacks see the best iteration so far. Lowering from two levels changes it a little.
    best = np.maximum.accumulate(model.validation_score_)[1:]
    np.testing.assert_allclose(monitor.seen, best, atol=0.02 if levels == 2 else 1e-6)
    assert model.best_validation_score_ == max(model.validation_score_)


def test_another_scorer_may_choose_another_iteration():
    """A scorer that likes one iteration gets that one."""

    def chosen(k):
        calls = []

        def scorer(estimator, X, y, sample_weight=None):
            calls.append((X, estimator.predict(X)))
            return float(len(calls) == k)

        model = ExponentialReLURegressor(**FEW, scoring=scorer, n_iter_no_change=99)
        model.fit(X[:100], y[:100], **HELD)
        assert model.best_validation_score_ == 1
        assert len(calls) == model.n_iter_ + 1
        rows, seen = calls[k - 1]
        return seen, model.predict(rows)

    # The blend with a linear model changes predictions a little, alike for both.
    first, last = chosen(2), chosen(13)
    assert np.abs(first[0] - last[0]).mean() > 0.05
    for seen, returned in (first, last):
        others = last[0] if seen is first[0] else first[0]
        assert np.abs(seen - returned).mean() < np.abs(others - returned).mean()


def test_a_fit_ends_when_the_score_stops_rising():
    calls = []

    def scorer(estimator, X, y, sample_weight=None):
        calls.append(len(y))
        return min(len(calls), 4) * 0.01

    few = {**FEW, "scoring": scorer, "n_iter_no_change": 3, "max_iter": 40}
    model = ExponentialReLURegressor(**few, tol=0.001).fit(X, y)
    assert model.n_iter_ == 3 + 3  # the fourth call is of iteration 3
    assert set(calls) == {16}  # "auto" holds rows out
    # Rises below tol do not count, whatever the score is.
    calls.clear()
    assert model.set_params(tol=0.5).fit(X, y).n_iter_ == 3


def test_the_loss_is_the_default_and_decides_as_before():
    one = ExponentialReLURegressor(**FEW).fit(X, y)
    two = ExponentialReLURegressor(**FEW, scoring="loss").fit(X, y)
    np.testing.assert_array_equal(one.predict(X), two.predict(X))


def test_several_quantiles_are_scored_as_they_are_predicted():
    def scorer(estimator, X, y, sample_weight=None):
        low, high = estimator.predict(X).T
        assert (low <= high).all()
        return -mean_pinball_loss(y, low, alpha=0.1) - mean_pinball_loss(y, high, alpha=0.9)

    few = {**FEW, "loss": "quantile", "quantile": [0.1, 0.9], "scoring": scorer}
    model = ExponentialReLURegressor(**few).fit(X, y)
    assert -1 < model.best_validation_score_ < 0


def test_weights_reach_the_scorer_and_are_needed():
    given = []

    def scorer(estimator, X, y, sample_weight=None):
        given.append(sample_weight)
        return 0.0

    weights = np.ones(60)
    ExponentialReLURegressor(**FEW, scoring=scorer).fit(
        X[:100], y[:100], **HELD, sample_weight_val=weights
    )
    assert given[0] is None
    weights[7] = 3
    model = ExponentialReLURegressor(**FEW, scoring=scorer)
    model.fit(X[:100], y[:100], **HELD, sample_weight_val=weights)
    np.testing.assert_allclose(np.sort(given[-1]), np.sort(weights))
    model.set_params(scoring=lambda estimator, X, y: 0.0)
    with pytest.raises(ValueError, match="has no argument sample_weight"):
        model.fit(X[:100], y[:100], **HELD, sample_weight_val=weights)


@pytest.mark.parametrize("solver", ["auto", "lm"])
def test_solvers_that_compare_losses_say_so(solver):
    model = ExponentialReLURegressor(solver=solver, scoring="r2")
    with pytest.raises(ValueError, match=f"needs solver='adam', but solver='{solver}'"):
        model.fit(X, y)


def test_scores_need_held_out_rows():
    model = ExponentialReLURegressor(**FEW, scoring="r2", early_stopping=False)
    with pytest.raises(ValueError, match="needs held-out rows, but early_stopping=False"):
        model.fit(X, y)
    model.fit(X[:100], y[:100], **HELD)
    with pytest.raises(ValueError, match="'scoring' parameter"):
        model.set_params(scoring="r3").fit(X, y)
