"""The picture of losses by stage."""

import numpy as np
import pytest
from matplotlib import pyplot as plt
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skrelu import ExponentialReLUClassifier, ExponentialReLURegressor
from skrelu.inspection import LossCurveDisplay
from tests.paths import SMALL, make_table

X, y = make_table()
FEW = {**SMALL, "n_levels": 1}
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def test_lines_are_the_losses_of_the_stages():
    model = ExponentialReLURegressor(**FEW, refine_max_iter=3).fit(X, y)
    display = LossCurveDisplay.from_estimator(model)
    assert [stage["name"] for stage in model.stages_] == ["pretraining", "refinement"]
    training, held = display.lines_[::2], display.lines_[1::2]
    drawn = np.concatenate([line.get_ydata() for line in training])
    np.testing.assert_array_equal(drawn, model.loss_curve_)
    drawn = np.concatenate([line.get_ydata() for line in held])
    np.testing.assert_allclose(1 - drawn, model.validation_score_)
    places = np.concatenate([line.get_xdata() for line in training])
    np.testing.assert_array_equal(places, np.arange(len(model.loss_curve_)))
    assert [text.get_text() for text in display.ax_.texts] == ["pretraining", "refinement"]
    labels = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert labels == ["training rows", "held-out rows"]
    assert display.figure_ is display.ax_.figure


def test_without_held_out_rows_there_is_one_line_a_stage():
    few = {**FEW, "refine": False, "early_stopping": False}
    display = LossCurveDisplay.from_estimator(ExponentialReLUClassifier(**few).fit(X, y > 1))
    assert len(display.lines_) == 1
    assert display.ax_.get_legend().get_texts()[0].get_text() == "training rows"


@pytest.mark.parametrize(("low", "scale"), [(0.5, "linear"), (0.01, "log"), (0.0, "linear")])
def test_losses_of_different_sizes_have_a_logarithmic_axis(low, scale):
    stages = [{"name": "one", "loss": [1.0, low], "validation_loss": []}]
    assert LossCurveDisplay(stages).plot().ax_.get_yscale() == scale


def test_it_looks_into_pipelines_and_searches_and_draws_on_given_axes():
    model = ExponentialReLURegressor(**FEW, refine=False)
    pipeline = make_pipeline(StandardScaler(), GridSearchCV(model, {"depth": [1]}, cv=2))
    _, ax = plt.subplots()
    display = LossCurveDisplay.from_estimator(pipeline.fit(X, y), ax=ax)
    assert display.ax_ is ax
    inner = pipeline[-1].best_estimator_
    np.testing.assert_array_equal(display.lines_[0].get_ydata(), inner.loss_curve_)


def test_streams_have_the_loss_of_each_call():
    model = ExponentialReLURegressor(**FEW, solver="adam")
    for _ in range(3):
        model.partial_fit(X, y)
    [line] = LossCurveDisplay.from_estimator(model).lines_
    np.testing.assert_array_equal(line.get_ydata(), model.loss_curve_)


def test_messages_say_what_to_do():
    with pytest.raises(TypeError, match="ax is a str, but has to be a matplotlib Axes"):
        LossCurveDisplay([{"name": "one", "loss": [1.0], "validation_loss": []}]).plot("axes")
    with pytest.raises(TypeError, match="Cannot draw a LinearRegression"):
        LossCurveDisplay.from_estimator(LinearRegression().fit(X, y))
    with pytest.raises(ValueError, match="not fitted"):
        LossCurveDisplay.from_estimator(ExponentialReLURegressor())
    linear = ExponentialReLURegressor().fit(np.eye(4), np.arange(4.0))
    with pytest.raises(ValueError, match="least squares without any"):
        LossCurveDisplay.from_estimator(linear)
    del linear.stages_
    with pytest.raises(ValueError, match="fit it again"):
        LossCurveDisplay.from_estimator(linear)
    stage = {"name": "one", "loss": [1.0, 0.5], "validation_loss": [1.0]}
    with pytest.raises(ValueError, match="'one' has 2 losses of training rows and 1 of held-out"):
        LossCurveDisplay([stage])
