"""Callbacks of scikit-learn see the fit and may end its stages."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.callback import ScoringMonitor
from sklearn.model_selection import GridSearchCV

from skrelu import ExponentialReLURegressor

X = np.random.default_rng(0).uniform(size=(120, 2))
y = np.sin(4 * X[:, 0]) * X[:, 1]
SMALL = {"n_subnetworks": 4, "n_init": 2, "max_iter": 30, "random_state": 0}
WAYS = [
    {**SMALL, "n_levels": 1, "refine_max_iter": 9},
    {**SMALL, "n_levels": 1, "refine_max_iter": 9, "smooth": False},
    {**SMALL, "n_levels": 2, "refine_max_iter": 3},
    {**SMALL, "solver": "adam", "refine_max_iter": 9},
    {"max_iter": 30, "random_state": 0},
]


class Recorder:
    """Scores of the model as it is at the begin and end of tasks."""

    def __init__(self, stop_after=None):
        self.begun, self.ended, self.stop_after = [], [], stop_after

    def setup(self, estimator, context):
        self.begun.clear()

    def teardown(self, estimator, context):
        self.done = True

    def on_fit_task_begin(self, estimator, context, *, X, fitted_estimator):
        score = None if fitted_estimator is None else fitted_estimator.score(X, y)
        self.begun.append((context.task_name, score))

    def on_fit_task_end(self, estimator, context, *, X, fitted_estimator):
        score = None if fitted_estimator is None else fitted_estimator.score(X, y)
        self.ended.append((context.task_name, score))
        return context.task_name == "iteration" and context.task_id == self.stop_after


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("parameters", WAYS)
def test_callbacks_see_the_model_as_it_is(parameters):
    recorder, estimator = Recorder(), ExponentialReLURegressor(**parameters)
    model = clone(estimator).set_callbacks(recorder).fit(X, y)
    assert recorder.done
    assert not hasattr(model, "_callback_fit_ctx")
    # Watching changes nothing.
    np.testing.assert_array_equal(model.predict(X), estimator.fit(X, y).predict(X))
    assert [name for name, _ in recorder.begun].count("iteration") == model.n_iter_
    assert recorder.ended[-1] == ("fit", model.score(X, y))
    before = next(score for name, score in recorder.begun if score is not None)
    seen = [score for name, score in recorder.ended[:-1] if score is not None]
    assert before < seen[-1]
    # The loss does not move at the switch from pretraining to refinement: the first
    # model of refinement is the last one of pretraining.
    if parameters.get("solver") == "adam":
        switch = [name for name, _ in recorder.begun].index("refinement")
        last = [score for name, score in recorder.ended if name == "iteration"]
        n = [name for name, _ in recorder.begun[:switch]].count("iteration")
        assert recorder.begun[switch][1] == pytest.approx(max(last[:n]), abs=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("parameters", WAYS)
def test_a_callback_ends_stages(parameters):
    recorder = Recorder(stop_after=2)
    model = ExponentialReLURegressor(**parameters).set_callbacks(recorder).fit(X, y)
    stages = [name for name, _ in recorder.begun if name not in ("fit", "iteration")]
    assert model.n_iter_ <= 3 * len(stages) + 20  # the branches of the limit are one stage
    assert np.isfinite(model.predict(X)).all()


class Interrupt(Recorder):
    def on_fit_task_end(self, estimator, context):
        if context.task_name == "iteration" and context.task_id == 4:
            raise KeyboardInterrupt


@pytest.mark.parametrize(
    "parameters",
    [{"n_levels": 1, "solver": "lm"}, {"n_levels": 1, "solver": "adam"}, {"n_levels": 6}, {}],
)
def test_an_interrupt_keeps_the_best_so_far(parameters):
    model = ExponentialReLURegressor(**parameters, random_state=0).set_callbacks(Interrupt())
    with pytest.warns(UserWarning, match="interrupted"):
        model.fit(X, y)
    if parameters:  # else windows side by side were there before
        assert model.n_iter_ == 5
        assert model.n_levels_ == parameters["n_levels"]
    assert model.score(X, y) > 0.8


class Clock(Recorder):
    """The seconds left at the begin and end of tasks, by the task's name."""

    def on_fit_task_begin(self, estimator, context):
        self.begun.append((context.task_name, context.seconds_left, context.stage_seconds_left))

    def on_fit_task_end(self, estimator, context):
        self.ended.append((context.task_name, context.seconds_left, context.stage_seconds_left))
        return context.task_name == "iteration" and context.task_id == self.stop_after


def clocked(stop_after=None, **parameters):
    clock = Clock(stop_after)
    ExponentialReLURegressor(**SMALL, n_levels=1, **parameters).set_callbacks(clock).fit(X, y)
    return clock


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_contexts_have_the_time_left(capsys):
    clock = clocked(refine_max_iter=3, verbose=2)
    assert clock.begun[:2] == [("fit", None, None), ("pretraining", None, None)]
    names = [name for name, *_ in clock.ended]
    end = names.index("pretraining")
    first, last = clock.ended[:end], clock.ended[end + 1 : -2]
    assert all(fit is None and stage >= 0 for _, fit, stage in first)  # refinement may follow
    assert all(fit == stage >= 0 for _, fit, stage in last)
    assert clock.ended[end] == ("pretraining", None, 0.0)
    assert clock.ended[-2:] == [("refinement", 0.0, 0.0), ("fit", 0.0, None)]
    lines = [line for line in capsys.readouterr().out.splitlines() if " s of iter" in line]
    whole = [fit for name, fit, _ in clock.ended if name == "iteration"]
    assert ["in this stage" in line for line in lines] == [fit is None for fit in whole]
    assert last[-1] == ("iteration", 0.0, 0.0)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_nothing_is_left_of_a_stage_that_a_callback_ended():
    clock = clocked(stop_after=1, refine=False)
    assert [name for name, *_ in clock.ended].count("iteration") == 2
    assert clock.ended[-2:] == [("pretraining", 0.0, 0.0), ("fit", 0.0, None)]


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The fit leaves")  # so few sub-networks do
def test_scores_are_monitored_in_a_grid_search():
    monitor = ScoringMonitor(scoring="r2")
    search = GridSearchCV(
        ExponentialReLURegressor(
            n_subnetworks=2, n_init=1, n_levels=1, refine=False, random_state=0
        ),
        {"depth": [1, 2]}, cv=2,
    )  # fmt: skip
    search.estimator.set_callbacks(monitor)
    search.fit(X, y)
    scores = [row["r2"] for row in monitor.get_logs().data if "r2" in row]
    assert len(scores) > 5
    assert max(scores) == pytest.approx(search.score(X, y), abs=0.2)
